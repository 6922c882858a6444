"""A store of which any file is spoilt in any way is refused as damaged, or is sound: nothing else may come of it."""

from __future__ import annotations

import json
from random import Random

import pandas as pd
import pytest

from brainage_ray.data.files import sha256_of
from brainage_ray.data.ledger import read_ledger
from brainage_ray.data.store import SliceStore
from brainage_ray.errors import DataError, StoreError, UnsafeFileError

FILES = ("store.json", "manifest.parquet", "train/slices-00000.npy", "train/positions-00000.npy",
         "validation/slices-00000.npy")  # fmt: skip


def flip(content: bytes, rng: Random) -> bytes:
    data = bytearray(content)
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


OTHER_VALUES = [
    (key, value)
    for key in ("kind", "content_hash", "preprocessing", "files", "schema_version")
    for value in (None, 3, "x", [], {}, {"a": 1}, [["manifest.parquet", 1]])
    if (key, value) not in (("preprocessing", {}), ("content_hash", "x"))  # which a store may say
]
SPOILS = {
    "empty": lambda content, rng: b"",
    "one byte": lambda content, rng: content[:1],
    "half": lambda content, rng: content[: len(content) // 2],
    "without its last byte": lambda content, rng: content[:-1],
    "longer": lambda content, rng: content + b"\0",
    "zeros": lambda content, rng: bytes(len(content)),
    "text": lambda content, rng: (b"no store " * len(content))[: len(content)],
    "mirrored": lambda content, rng: content[::-1],
    **{f"one bit, {seed}": flip for seed in range(6)},
}


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("name", SPOILS)
def test_a_spoilt_file_is_found(store, file, name):
    path = store.folder / file
    sound = path.read_bytes()
    spoilt = SPOILS[name](sound, Random(f"{file} {name}"))
    assert spoilt != sound
    path.write_bytes(spoilt)
    if file == "store.json" and ("bit" in name or "last" in name):  # it has the checksums of all files but its own
        with_or_without_error(store)
        return
    with pytest.raises(StoreError) as error:
        SliceStore.open(store.folder).verify()
    assert str(store.folder) in str(error.value)
    assert error.value.fix


def with_or_without_error(store) -> None:
    try:
        SliceStore.open(store.folder).verify()
    except StoreError as error:
        assert error.fix  # noqa: PT017 (there need be none)


@pytest.mark.parametrize("file", FILES)
def test_a_folder_in_the_place_of_a_file(store, file):
    (store.folder / file).unlink()
    (store.folder / file).mkdir()
    with pytest.raises(StoreError):
        SliceStore.open(store.folder)


@pytest.mark.parametrize(("key", "value"), OTHER_VALUES)
def test_what_store_json_says_instead(store, key, value):
    path = store.folder / "store.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(StoreError):
        SliceStore.open(store.folder).verify()


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("content", [b"", b"PAR1", b"a,b\n1,2\n", b"\xff\xfe\0", bytes(200)])
def test_what_is_no_ledger(tmp_path, suffix, content):
    path = tmp_path / f"ledger.{suffix}"
    path.write_bytes(content)
    with pytest.raises(DataError, match="ledger"):
        read_ledger(path)


@pytest.mark.parametrize("name", ["../secret.npy", "/etc/hostname", "train/../../secret.npy", "link.npy"])
def test_a_file_outside_of_the_folder_is_not_read(store, name):
    (store.folder / "link.npy").symlink_to(store.folder.parent / "secret.npy")
    (store.folder.parent / "secret.npy").write_bytes(b"secret")
    about = json.loads((store.folder / "store.json").read_bytes())
    about["files"][name] = {"bytes": 6, "sha256": "0" * 64}
    (store.folder / "store.json").write_text(json.dumps(about))
    with pytest.raises(UnsafeFileError, match="is not in that folder"):
        SliceStore.open(store.folder)


@pytest.mark.parametrize("count", [10**12, -1, 2.5])
def test_a_manifest_that_counts_other_slices_than_there_are_fills_no_memory(store, count):
    path = store.folder / "manifest.parquet"
    manifest = pd.read_parquet(path)
    manifest["n_slices"] = manifest["n_slices"].astype(type(count))
    manifest.loc[0, "n_slices"] = count
    manifest.to_parquet(path, index=False)
    about = json.loads((store.folder / "store.json").read_bytes())
    about["files"][path.name] = {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
    (store.folder / "store.json").write_text(json.dumps(about))
    opened = SliceStore.open(store.folder)
    with pytest.raises(StoreError, match="counts other slices"):
        opened.split(str(manifest["split"][0]))
