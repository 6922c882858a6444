"""A workspace at a URI, opened by drivers and readers of several machines; over a shared folder and over S3."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from brainage_ray.data import lease as leases
from brainage_ray.data.remote import RemoteFolder
from brainage_ray.errors import ConfigError, DataError, EngineError
from brainage_ray.pipeline import workspace as workspaces
from brainage_ray.pipeline.workspace import opened_workspace, read_workspace

RESULT = "exp/refit/result.json"


@pytest.fixture(params=["file", "s3"])
def uri(request, tmp_path, monkeypatch) -> str:
    monkeypatch.setattr(leases, "SETTLE_SECONDS", 0.0)
    monkeypatch.setattr(workspaces, "SEND_SECONDS", 0.05)
    if request.param == "file":
        return (tmp_path / "shared").as_uri()
    store = request.getfixturevalue("object_store")
    for name, value in store.keys.items():
        monkeypatch.setenv(name, value)
    return store.uri(tmp_path.name)


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Makes this process one of a machine with a disk of its own."""

    def become(name: str) -> None:
        monkeypatch.setenv("BRAINAGE_CACHE", str(tmp_path / name))

    become("first")
    return become


def opened(uri, notes=None):
    return opened_workspace(uri, "exp", (notes if notes is not None else []).append)


def write(root: Path, text: str, name: str = RESULT) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


def test_a_folder_stays_a_folder(tmp_path):
    with opened(tmp_path / "runs") as folder, read_workspace(str(tmp_path / "runs")) as read:
        assert folder == read == tmp_path / "runs"


def test_all_is_up_at_the_end_and_another_machine_goes_on(uri, machine):
    with opened(uri) as root:
        write(root, "one")
        write(root, "scan", "cache/scans/ab/cd.npy")
    assert {RESULT, "cache/scans/ab/cd.npy"} <= RemoteFolder(uri).list().keys()
    assert leases.LEASE not in RemoteFolder(uri).list()
    machine("second")
    notes: list[str] = []
    with opened(uri, notes) as root:
        assert (root / RESULT).read_text() == "one"
        assert not (root / "cache").exists()  # of prepared scans nothing is wanted
        write(root, "two")
    assert "Brought 1 files" in notes[0]
    machine("first")
    with opened(uri) as root:
        assert (root / RESULT).read_text() == "two"
    assert "cache/scans/ab/cd.npy" in RemoteFolder(uri).list()


def test_a_driver_that_is_killed_leaves_what_it_sent(uri, machine, tmp_path):
    code = (
        "import sys, time, pathlib\nfrom brainage_ray.pipeline.workspace import opened_workspace\n"
        "with opened_workspace(sys.argv[1], 'exp', print) as root:\n"
        f"    file = root / {RESULT!r}\n    file.parent.mkdir(parents=True)\n    file.write_text('sent')\n"
        "    time.sleep(600)\n"
    )
    driver = subprocess.Popen([sys.executable, "-c", code, uri])
    remote = RemoteFolder(uri)
    for _ in range(600):
        if remote.read(RESULT) == b"sent" and driver.poll() is None:
            break
        time.sleep(0.1)
    with pytest.raises(EngineError, match="another process of this machine works in"), opened(uri):
        pass
    driver.kill()
    driver.wait()
    machine("second")
    with opened(uri) as root:  # at once: the driver was of this machine, and is dead
        assert (root / RESULT).read_text() == "sent"


def test_a_second_driver_is_refused_and_a_lost_lease_stops_the_first(uri, machine, monkeypatch):
    monkeypatch.setattr(leases, "_LOOK_SECONDS", 0.05)
    monkeypatch.setattr(workspaces, "SIGN_SECONDS", 0.1)
    with opened(uri) as root:
        machine("second")
        monkeypatch.setattr(leases.socket, "gethostname", lambda: "elsewhere")
        with pytest.raises(EngineError, match=rf"written by process {os.getpid()} on"), opened(uri):
            pass
        write(root, "one")
    machine("third")
    with pytest.raises(EngineError, match="written by process 1 on thief"):
        _work_while_a_thief_comes(uri)


def _work_while_a_thief_comes(uri: str) -> None:
    with opened(uri):
        remote = RemoteFolder(uri)
        thief = (remote.read(leases.LEASE) or b"").replace(b'"host": "elsewhere"', b'"host": "thief"')
        thief = thief.replace(b'"id": "', b'"id": "x').replace(f'"pid": {os.getpid()}'.encode(), b'"pid": 1')
        for _ in range(200):  # a sign that was on its way may come after the first
            remote.write(leases.LEASE, thief)
            time.sleep(0.3)


def test_a_reader_brings_and_sends_nothing(uri, machine):
    with pytest.raises(EngineError, match="holds no workspace"), read_workspace(uri):
        pass
    with opened(uri) as root:
        write(root, "one")
        with read_workspace(uri) as same:  # beside a run on this machine
            assert same == root
    machine("second")
    with read_workspace(uri) as root:
        assert (root / RESULT).read_text() == "one"
        write(root, "looked at")
    assert RemoteFolder(uri).read(RESULT) == b"one"


def test_a_damaged_object_stops_a_driver_before_it_starts(uri, machine):
    with opened(uri) as root:
        write(root, "one")
    RemoteFolder(uri).write(RESULT, b"two")
    machine("second")
    with pytest.raises(DataError, match=f"{RESULT} is damaged"), opened(uri):
        pass


def test_what_cannot_be_sent_at_the_end_is_said(uri, machine, monkeypatch):
    def refuse(self: RemoteFolder, file: Path, name: str) -> None:
        raise ConfigError(f"{name}: access is refused", "Look at the keys.")

    def work() -> None:
        with opened(uri) as root:
            monkeypatch.setattr(RemoteFolder, "put", refuse)
            write(root, "one")

    with pytest.raises(ConfigError, match=rf"not everything could be sent: {RESULT}.*sends the rest"):
        work()
