"""What a node other than the driver's brings and sends, over a shared folder and over S3."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from stores import CONFIG, age_rows, open_rows
from stores import tested_rows as sealed_rows

from brainage_ray.config import TrainingRun, UNetConfig
from brainage_ray.config.model import TrainingConfig
from brainage_ray.data import SliceStore
from brainage_ray.data import node_files as nodes
from brainage_ray.data.mirror import Mirror
from brainage_ray.data.remote import RemoteFolder
from brainage_ray.data.store_write import write_store, write_test
from brainage_ray.errors import DataError, StoreError


@pytest.fixture(params=["file", "s3"])
def driver(request, tmp_path, monkeypatch):
    """A driver's workspace with a store, mirrored; this process is told of it as a worker is."""
    uri = (tmp_path / "shared").as_uri()
    if request.param == "s3":
        store = request.getfixturevalue("object_store")
        for name, value in store.keys.items():
            monkeypatch.setenv(name, value)
        uri = store.uri(tmp_path.name)
    rows = age_rows(tmp_path / "rows")
    root = tmp_path / "head"
    write_store(root / "store" / "age", open_rows(rows), "age", CONFIG)
    write_test(root / "store" / "test", sealed_rows(rows), CONFIG)
    mirror = Mirror(root, RemoteFolder(uri), writer="me")
    mirror.send()
    nodes.set_driver(mirror)
    for name, value in nodes.worker_environment().items():
        monkeypatch.setenv(name, value)
    yield mirror
    nodes.set_driver(None)
    nodes._find_node.cache_clear()


@pytest.fixture
def on_node(tmp_path, monkeypatch):
    """Makes this process one of a node."""

    def become(name: str) -> Path:
        monkeypatch.setenv(nodes.CACHE, str(tmp_path / name))
        nodes._find_node.cache_clear()
        return tmp_path / name

    return become


@pytest.fixture
def fetched(monkeypatch):
    """Names of the objects that were fetched."""
    names: list[str] = []
    real = RemoteFolder.fetch

    def fetch(self, name, to, sha256):
        names.append(name)
        return real(self, name, to, sha256)

    monkeypatch.setattr(RemoteFolder, "fetch", fetch)
    return names


def make_run(root: Path, **changes) -> TrainingRun:
    store = SliceStore.open(root / "store" / "age")
    return TrainingRun(
        task="age", backbone=UNetConfig(kind="unet"), training=TrainingConfig(), seed=0, store=store.folder,
        store_hash=store.content_hash, folder=root / "study" / "trials" / "000" / "seed-0",
    ).model_copy(update=changes)  # fmt: skip


def test_each_node_brings_the_open_part_once(driver, on_node, fetched):
    run = make_run(driver.root)
    for node in ("a", "b"):
        folder = on_node(node)
        fetched.clear()
        with ThreadPoolExecutor(4) as workers:
            mine = list(workers.map(nodes.bring_run, [run] * 4))
        assert sorted(fetched) == sorted({name for name in fetched if name.startswith("store/age/")})
        assert mine[0].store.is_relative_to(folder)
        assert [path.name for path in mine[0].store.parent.iterdir() if path.is_dir()] == ["age"]  # no test split
        split = SliceStore.open(mine[0].store).split("train")
        assert split.shards[0].filename is not None  # a memory map
        assert mine[0].key == run.key


def test_a_damaged_object_of_the_store_is_refused_and_named(driver, on_node):
    on_node("a")
    name = "store/age/train/slices-00000.npy"
    driver.remote.write(name, b"x" * driver.entries[name].bytes)
    with pytest.raises(DataError, match=rf"{name} is damaged: its SHA-256"):
        nodes.bring_run(make_run(driver.root))


def test_another_store_is_refused(driver, on_node):
    on_node("a")
    with pytest.raises(StoreError, match="but the run was made for other"):
        nodes.bring_run(make_run(driver.root, store_hash="other"))


def test_a_trial_goes_on_on_another_node(driver, on_node):
    run = make_run(driver.root)
    first, second = on_node("a"), None
    mine = nodes.bring_run(run)
    mine.folder.mkdir(parents=True)
    (mine.folder / "checkpoint.pt").write_text("epoch 1")
    nodes.send_run(run)
    (mine.folder / "checkpoint.pt").write_text("epoch 2, which nobody was told of")
    second = on_node("b")
    other = nodes.bring_run(run)
    assert (other.folder / "checkpoint.pt").read_text() == "epoch 1"
    (other.folder / "checkpoint.pt").write_text("epoch 2")
    nodes.send_run(run)
    on_node("a")
    assert (nodes.bring_run(run).folder / "checkpoint.pt").read_text() == "epoch 2"
    on_node("b")
    nodes.bring_run(run)
    (other.folder / "result.json").write_text("{}")
    nodes.send_run(run, done=True)
    assert not other.folder.exists()
    assert first != second
    nodes.adopt(run.folder)  # the driver
    assert (run.folder / "checkpoint.pt").read_text() == "epoch 2"
    assert (run.folder / "result.json").read_text() == "{}"


def test_the_driver_s_own_node_is_left_alone(driver, monkeypatch):
    run = make_run(driver.root)
    monkeypatch.setattr(nodes, "local_root", lambda uri: driver.root)
    (driver.root / nodes.LOCAL).write_text("me")
    nodes._find_node.cache_clear()
    assert nodes.bring_run(run) == run
    nodes.send_run(run)


def test_workers_are_told_no_keys(driver, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    told = nodes.worker_environment()
    assert "s3cret" not in json.dumps(told)
    assert told["AWS_REGION"] == "us-east-1"
