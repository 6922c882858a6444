from __future__ import annotations

import json

import pytest

from brainage_ray.data.store import SliceStore
from brainage_ray.errors import StoreError


def change_about(folder, **changes):
    path = folder / "store.json"
    about = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in about.items() if value is not None}))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"schema_version": 7}, "version 7; this program reads version 2"),
        ({"schema_version": None}, "version None"),
        ({"files": None}, "lacks files"),
        ({"preprocessing": {"atlas": "sri24"}}, "unknown preprocessing"),
    ],
)
def test_another_version_is_refused(store, changes, says):
    change_about(store.folder, **changes)
    with pytest.raises(StoreError, match=says) as caught:
        SliceStore.open(store.folder)
    assert str(store.folder) in caught.value.problem
    assert caught.value.fix


@pytest.mark.parametrize("file", ["train/slices-00000.npy", "manifest.parquet", "validation/positions-00000.npy"])
@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_a_damaged_store_is_refused(store, file, damage):
    path = store.folder / file
    content = path.read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(content[:-1])
    with pytest.raises(StoreError, match=file.rpartition("/")[2]):
        SliceStore.open(store.folder)


def test_a_changed_manifest_is_refused(store):
    path = store.folder / "manifest.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(StoreError, match="was changed"):
        SliceStore.open(store.folder)


def test_verify_finds_one_changed_bit(store):
    store.verify()
    path = store.folder / "train" / "slices-00000.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    SliceStore.open(store.folder)
    with pytest.raises(StoreError, match=r"slices-00000\.npy was changed"):
        store.verify()


def test_no_store(tmp_path):
    with pytest.raises(StoreError, match="holds no slice store"):
        SliceStore.open(tmp_path)
    (tmp_path / "store.json").write_text("[1")
    with pytest.raises(StoreError, match="cannot be read"):
        SliceStore.open(tmp_path)
