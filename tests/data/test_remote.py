"""The same cases over a shared folder and over a real S3 protocol."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from brainage_ray.data import lease as leases
from brainage_ray.data.files import sha256_of
from brainage_ray.data.lease import LEASE, Lease
from brainage_ray.data.mirror import Mirror
from brainage_ray.data.mirror_index import INDEX, bring, read_index, unit_name
from brainage_ray.data.remote import RemoteFolder
from brainage_ray.errors import BrainageError, ConfigError, DataError, EngineError


@pytest.fixture(params=["file", "s3"])
def uri(request, tmp_path, monkeypatch) -> str:
    if request.param == "file":
        return (tmp_path / "shared" / "runs").as_uri()
    store = request.getfixturevalue("object_store")
    for name, value in store.keys.items():
        monkeypatch.setenv(name, value)
    return store.uri(tmp_path.name)


@pytest.fixture
def remote(uri) -> RemoteFolder:
    return RemoteFolder(uri)


def fill(root: Path) -> Path:
    (root / "exp" / "search").mkdir(parents=True)
    (root / "exp" / "result.json").write_text("{}")
    (root / "exp" / "search" / "study.journal").write_text('{"a": 1}\n{"half')
    (root / "exp" / ".result.json.123.partial").write_text("not yet")
    (root / "services").mkdir()
    (root / "services" / "environment").write_text("PASSWORD=1")
    with closing(sqlite3.connect(root / "mlflow.db")) as database:
        database.execute("create table runs (id)")
        database.execute("insert into runs values (7)")
        database.commit()
    return root


def brought(remote: RemoteFolder, root: Path) -> Path:
    entries, _ = read_index(remote, INDEX)
    bring(remote, root, entries)
    return root


def test_objects_are_written_listed_read_and_deleted(remote):
    remote.check()
    assert remote.list() == {}
    assert remote.read("a/b") is None
    remote.write("a/b", b"one")
    remote.write("a/b", b"three")
    remote.write("c", b"x")
    assert remote.list() == {"a/b": 5, "c": 1}
    assert remote.list("a") == {"a/b": 5}
    remote.delete("a/b")
    remote.delete("a/b")
    assert remote.list() == {"c": 1}


def test_whole_files_go_up_and_come_back_elsewhere(remote, tmp_path):
    root = fill(tmp_path / "here")
    mirror = Mirror(root, remote)
    assert mirror.send() == 3
    assert mirror.send() == 0
    there = brought(remote, tmp_path / "there")
    assert (there / "exp/search/study.journal").read_text() == '{"a": 1}\n'
    assert (there / "exp/result.json").stat().st_mtime_ns == (root / "exp/result.json").stat().st_mtime_ns
    with closing(sqlite3.connect(there / "mlflow.db")) as database:
        assert database.execute("select id from runs").fetchall() == [(7,)]
    assert not (there / "services").exists()


def test_what_changes_is_sent_again_and_what_goes_is_deleted(remote, tmp_path):
    mirror = Mirror(fill(tmp_path / "here"), remote)
    mirror.send()
    (mirror.root / "exp/result.json").write_text('{"more": 1}')
    (mirror.root / "mlflow.db").unlink()
    mirror.send()
    there = brought(remote, tmp_path / "there")
    assert json.loads((there / "exp/result.json").read_text()) == {"more": 1}
    assert "mlflow.db" not in remote.list()


def test_a_damaged_object_is_refused_and_named(remote, tmp_path):
    Mirror(fill(tmp_path / "here"), remote).send()
    remote.write("exp/result.json", b"{!")
    with pytest.raises(DataError, match=r"exp/result\.json is damaged: its SHA-256"):
        brought(remote, tmp_path / "there")
    assert not (tmp_path / "there/exp/result.json").exists()


@pytest.mark.parametrize("index", [b"{", b"[]", b'{"writer": "", "files": {"../x": {}}}'])
def test_a_damaged_index_is_refused(remote, index):
    remote.write(INDEX, index)
    with pytest.raises(DataError, match=r"index\.json is damaged"):
        read_index(remote, INDEX)


def test_a_name_that_leads_out_is_refused(remote):
    entry = {"sha256": ["0" * 64], "bytes": 1, "mtime_ns": 0}
    remote.write(INDEX, json.dumps({"writer": "", "files": {"../x": entry}}).encode())
    with pytest.raises(DataError, match="outside"):
        read_index(remote, INDEX)


def test_a_kill_at_any_write_leaves_what_the_index_knows(remote, tmp_path, monkeypatch):
    root = fill(tmp_path / "here")
    Mirror(root, remote).send()
    known = {sha256_of(root / "exp/result.json")}
    for last in range(4):  # the index, two objects, the index again
        (root / "exp/result.json").write_text(f'{{"new": {last}}}')
        (root / "exp/second.json").write_text(f"{last}")
        known.add(sha256_of(root / "exp/result.json"))
        mirror, writes = Mirror(root, remote), [last]
        mirror.entries, _ = read_index(remote, INDEX)
        with monkeypatch.context() as patch:
            _die_after(patch, writes)
            with pytest.raises(KeyboardInterrupt):
                mirror.send()
        there = brought(remote, tmp_path / f"there-{last}")
        assert {f"exp/{file.name}" for file in (there / "exp").glob("*.json")} == {
            name for name in remote.list("exp") if name.endswith(".json")
        }
        assert sha256_of(there / "exp/result.json") in known


def _die_after(patch: pytest.MonkeyPatch, left: list[int]) -> None:
    real = RemoteFolder._put

    def put(self: RemoteFolder, name: str, fill: object) -> None:
        if left[0] == 0:
            raise KeyboardInterrupt
        left[0] -= 1
        real(self, name, fill)

    patch.setattr(RemoteFolder, "_put", put)


def test_what_another_node_made_is_adopted(remote, tmp_path):
    node = Mirror(fill(tmp_path / "node"), remote, unit_name("exp"), "exp")
    node.send()
    driver = Mirror(tmp_path / "driver", remote)
    driver.adopt("exp")
    assert (driver.root / "exp/result.json").read_text() == "{}"
    assert driver.send() == 0  # it lies there already
    (driver.root / "exp/result.json").unlink()
    driver.send()
    assert "exp/result.json" not in remote.list()
    Mirror(tmp_path / "other", remote).adopt()
    assert not (tmp_path / "other/exp").exists()


def test_one_driver_at_a_time(remote, tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "SETTLE_SECONDS", 0.0)
    monkeypatch.setattr(leases, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(leases, "DEAD_SECONDS", 60.0)
    notes: list[str] = []
    first = Lease(remote, tmp_path / "a", "ixi")
    first.take(notes.append)
    assert notes == []
    monkeypatch.setattr(leases.socket, "gethostname", lambda: "elsewhere")
    second = Lease(remote, tmp_path / "b", "ixi")
    sign = threading.Timer(0.2, first.renew)
    sign.start()
    with pytest.raises(EngineError, match=rf"written by process {os.getpid()} on .* \(ixi, since .*remove .*{LEASE}"):
        second.take(notes.append)
    sign.join()
    assert "waiting up to" in notes[0]
    monkeypatch.setattr(leases, "DEAD_SECONDS", 0.05)  # no sign any more
    second.take(notes.append)
    problem = first.renew()
    assert problem is not None
    assert "elsewhere" in str(problem)
    first.release()
    assert remote.read(LEASE) is not None
    second.release()
    assert remote.read(LEASE) is None


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("ftp://host/runs", "ftp://, which is not known.*s3://, gs://, file://"),
        ("s3:///runs", "names no bucket"),
        ("s3://key:secret@bucket/runs", "a name or a password in it"),
        ("s3://bucket/runs?endpont=x", "endpont"),
    ],
)
def test_a_wrong_uri_is_refused(uri, words):
    with pytest.raises(ConfigError, match=words) as refused:
        RemoteFolder(uri)
    assert "secret" not in str(refused.value)


def test_wrong_keys_a_missing_bucket_and_a_dead_endpoint_are_told_apart(object_store, monkeypatch):
    for name, value in object_store.keys.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="there is no bucket nowhere"):
        RemoteFolder(object_store.uri("runs").replace("//brainage/", "//nowhere/")).check()
    with pytest.raises(EngineError, match=r"at 127\.0\.0\.1:9 could not be reached"):
        RemoteFolder("s3://brainage/runs?endpoint_override=127.0.0.1:9&scheme=http", patience=0).check()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(ConfigError, match=r"access is refused.*AWS_ACCESS_KEY_ID"):
        RemoteFolder(object_store.uri("runs")).check()


def test_a_network_that_fails_for_a_while_is_tried_again(remote, monkeypatch):
    tries: list[int] = []

    def act() -> bytes:
        tries.append(1)
        if len(tries) < 3:
            raise OSError("AWS Error NETWORK_CONNECTION")
        return b"there"

    monkeypatch.setattr(remote, "scheme", "s3")
    assert remote._patiently("x", act) == b"there"
    remote.patience = 0
    tries.clear()
    with pytest.raises(BrainageError, match=r"/x: the server.*could not be reached"):
        remote._patiently("x", act)


def test_what_another_node_deleted_is_no_more_expected(remote, tmp_path):
    node = Mirror(fill(tmp_path / "node"), remote, unit_name("exp"), "exp")
    node.send()
    driver = Mirror(tmp_path / "driver", remote)
    driver.adopt()
    (node.root / "exp/result.json").unlink()
    node.send()
    driver.adopt()
    assert not (driver.root / "exp/result.json").exists()
    assert "exp/result.json" not in driver.entries
