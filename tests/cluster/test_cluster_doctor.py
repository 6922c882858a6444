"""What keeps a cluster from working is named, each with its fix: over a real sshd, on which no Ray runs."""

from __future__ import annotations

import getpass
import shutil
import sys
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml
from test_cluster_local import Machine, free_port, script

from brainage_ray.cluster import examine_cluster
from brainage_ray.errors import ConfigError
from brainage_ray.pipeline import Check

ROOT = Path(__file__).resolve().parent.parent.parent


def cluster(machine: Machine, folder: Path, monkeypatch: pytest.MonkeyPatch, **auth: Any) -> Path:
    """Write a cluster's file for a machine, as somebody at the laptop has it."""
    monkeypatch.setenv("PATH", f"{machine.folder}/bin", prepend=":")
    config = {
        "cluster_name": machine.name,
        "provider": {"type": "local", "head_ip": "127.0.0.1", "worker_ips": []},
        "auth": {"ssh_user": getpass.getuser(), "ssh_private_key": str(machine.folder / "sshd" / "key")} | auth,
        "max_workers": 1,
        "available_node_types": {"gpu": {"resources": {"GPU": 1}, "node_config": {}}},
    }
    file = folder / "cluster.yaml"
    file.write_text(yaml.safe_dump(config))
    return file


def last(file: Path, folder: Path) -> Check:
    checks = list(examine_cluster(file, PurePosixPath(folder)))
    assert all(check.state == "ok" for check in checks[:-1])
    assert (checks[-1].state, bool(checks[-1].fix)) == ("wrong", True)
    return checks[-1]


def test_a_key_that_the_head_does_not_take(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    other = tmp_path / "other"
    shutil.copy(machine.folder / "sshd" / "host", other)
    found = last(cluster(machine, tmp_path, monkeypatch, ssh_private_key=str(other)), tmp_path)
    assert (found.what, "ssh-copy-id" in found.fix) == ("ssh", True)


def test_a_machine_where_nobody_listens(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = cluster(machine, tmp_path, monkeypatch)
    script(tmp_path / "bin/ssh", f'exec {shutil.which("ssh", path="/usr/bin:/bin")} -o Port={free_port()} "$@"')
    monkeypatch.setenv("PATH", f"{tmp_path}/bin", prepend=":")
    found = last(file, tmp_path)
    assert (found.what, "ray up" in found.fix) == ("ssh", True)
    assert "No sshd listens" in found.found


def test_a_head_without_a_token(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    found = last(cluster(machine, tmp_path, monkeypatch), tmp_path)
    assert (found.what, "ray get-auth-token" in found.fix) == ("token", True)


def test_a_head_on_which_no_cluster_runs(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    token = machine.home / ".ray" / "auth_token"
    token.parent.mkdir(exist_ok=True)
    token.write_text("0" * 64)
    file = cluster(machine, tmp_path, monkeypatch)
    python = machine.home / "venv/bin/python"
    script(python, "echo 'python: No module named brainage_ray' >&2; exit 1")
    try:
        assert "is not installed on the head" in last(file, tmp_path).found
        script(python, f'PYTHONPATH={ROOT} exec {sys.executable} "$@"')
        checks = {check.what: check for check in examine_cluster(file, PurePosixPath(tmp_path))}
    finally:
        python.unlink()
        shutil.rmtree(token.parent)
    assert (checks["clock of the head"].state, checks["Ray"].state) == ("ok", "wrong")
    assert "ray up" in checks["Ray"].fix
    assert checks["mlflow"].state == "warning" or checks["services"].state == "warning"


def test_a_file_that_is_no_clusters_is_an_error(tmp_path: Path):
    file = tmp_path / "c.yaml"
    file.write_text("name: quickstart")
    with pytest.raises(ConfigError, match="has no provider"):
        list(examine_cluster(file, PurePosixPath("/srv")))
