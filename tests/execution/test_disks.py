from __future__ import annotations

from pathlib import Path

import pytest

from brainage_ray.errors import ConfigError
from brainage_ray.execution import database
from brainage_ray.execution.disks import network_type

MOUNTS = {
    Path("/"): "ext4", Path("/home"): "nfs4", Path("/home/me/local"): "xfs", Path("/scratch"): "lustre",
    Path("/gpfs"): "gpfs", Path("/share"): "cifs", Path("/far"): "fuse.sshfs", Path("/usb"): "fuseblk",
    Path("/new"): "fuse.newfs", Path("/tmp"): "tmpfs", Path("/layers"): "fuse.fuse-overlayfs", Path("/bee"): "beegfs",
}  # fmt: skip


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/studies.db", None), ("/home/me/studies.db", "nfs4"), ("/home/me/local/a/studies.db", None),
        ("/homeless/studies.db", None), ("/scratch/x/y.db", "lustre"), ("/gpfs/a", "gpfs"), ("/share/a", "cifs"),
        ("/far/a", "fuse.sshfs"), ("/usb/a", None), ("/new/a", "fuse.newfs"), ("/tmp/a", None), ("/layers/a", None),
        ("/bee/a", "beegfs"), ("/home", "nfs4"),
    ],
)  # fmt: skip
def test_a_path_is_of_the_mount_that_holds_it(path: str, kind: str | None):
    assert network_type(Path(path), MOUNTS) == kind


def test_a_link_is_followed(tmp_path: Path):
    (tmp_path / "link").symlink_to("/scratch/x")
    assert network_type(tmp_path / "link" / "studies.db", MOUNTS) == "lustre"
    assert network_type(tmp_path / "studies.db", {Path("/"): "nfs", tmp_path.resolve(): "ext4"}) is None


@pytest.mark.parametrize("folder", ["/dev/shm", "/proc"])
def test_the_machines_own_are_local(folder: str):
    if not Path(folder).is_dir():
        pytest.skip(f"needs {folder}")
    assert network_type(Path(folder) / "studies.db") is None


def test_sqlite_on_a_networks_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(database, "network_type", lambda file: network_type(file, {tmp_path.resolve(): "nfs4"}))
    with pytest.raises(ConfigError, match=r"studies.db lies on a network's disk \(nfs4\).*PostgreSQL"):
        database.parse_storage(f"sqlite:///{tmp_path / 'studies.db'}")
    assert not list(tmp_path.iterdir())
