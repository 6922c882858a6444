from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from brains import MODALITIES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stores import CONFIG, age_rows, case_rows, open_rows, prepared

from brainage_ray.config import PreprocessingConfig
from brainage_ray.data import store_write
from brainage_ray.data.ledger import TestLedger
from brainage_ray.data.prepare import prepare_scan
from brainage_ray.data.store import SealedTest, SliceStore
from brainage_ray.data.store_write import StoreRow, write_store, write_test
from brainage_ray.errors import DataError, LeakageError, StoreError

SCAN_COLUMNS = ["cohort", "subject", "person", "session", "image", "age_years", "sex", "diagnosis", "site", "phase"]
NUMBERS = ["brain_volume_ml", "snr", "template_dice"]
COLUMNS = [
    *SCAN_COLUMNS,
    "split",
    "shard",
    "offset",
    "n_slices",
    "sha256",
    "contents",
    *NUMBERS,
    "steps",
    "voxel_mm",
    "field_mm",
]


def bytes_of(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_slices_come_back_scan_by_scan(store, rows):
    split = store.split("train")
    images = split.images()
    assert images.dtype == np.float16
    assert images.shape == (15, 16, 16)
    assert split.label_shards == ()
    for i, row in enumerate(rows[:5]):
        mine = split.slice_scan == i
        np.testing.assert_array_equal(images[mine], np.load(row.prepared.images))
        np.testing.assert_allclose(split.slice_position[mine] * 100, row.prepared.positions_mm, rtol=1e-6)
        assert split.scans.loc[i, "subject"] == row.scan.subject
    assert split.slice_scan.dtype == np.int64
    assert split.slice_position.dtype == np.float32


def test_segmentation_has_channels_and_labels(tmp_path):
    rows = case_rows(tmp_path / "cache")
    store = write_store(tmp_path / "store", rows, "segmentation", CONFIG)
    split = store.split("train")
    assert split.images().shape == (6, len(MODALITIES), 16, 16)
    np.testing.assert_array_equal(split.labels(), np.concatenate([np.load(r.prepared.labels) for r in rows[:2]]))
    assert split.label_shards[0].dtype == np.uint8
    assert len(store.split("validation").labels()) == 3
    assert SliceStore.open(store.folder).kind == "segmentation"


def test_the_manifest_has_one_row_a_scan(store, rows):
    assert store.manifest.columns.tolist() == COLUMNS
    assert len(store.manifest) == 7
    first = store.manifest.iloc[0]
    assert (first.age_years, first.sex, first.diagnosis, first.person) == (50.0, "F", "CN", "C/S00")
    assert store.manifest["split"].value_counts().to_dict() == {"train": 5, "validation": 2}
    pd.testing.assert_frame_equal(pd.read_parquet(store.folder / "manifest.parquet"), store.manifest)


def test_shards_end_between_scans(rows, tmp_path, monkeypatch):
    whole = write_store(tmp_path / "a", open_rows(rows), "age", CONFIG).split("train")
    monkeypatch.setattr(store_write, "SLICES_PER_SHARD", 6)
    store = write_store(tmp_path / "b", open_rows(rows), "age", CONFIG)
    split = store.split("train")
    assert [len(shard) for shard in split.shards] == [4, 5, 6]
    assert split.scans["shard"].tolist() == [0, 0, 1, 2, 2]
    assert split.scans["offset"].tolist() == [0, 3, 0, 0, 2]
    np.testing.assert_array_equal(split.images(), whole.images())
    for row in split.scans.itertuples():
        mine = split.shards[row.shard][row.offset : row.offset + row.n_slices]
        np.testing.assert_array_equal(mine, split.images()[split.slice_scan == row.Index])


def test_opening_maps_and_does_not_read(store):
    split = SliceStore.open(store.folder).split("train")
    assert all(isinstance(shard, np.memmap) for shard in split.shards)
    assert not split.shards[0].flags.writeable


def test_written_twice_in_any_order_gives_the_same_bytes(rows, tmp_path):
    first = write_store(tmp_path / "a", open_rows(rows), "age", CONFIG)
    second = write_store(tmp_path / "b", open_rows(rows)[::-1], "age", CONFIG)
    assert bytes_of(first.folder) == bytes_of(second.folder)
    assert first.content_hash == second.content_hash


@pytest.mark.parametrize("what", ["voxel", "setting", "age", "split", "diagnosis"])
def test_the_hash_changes_with(what, rows, store, tmp_path):
    config = CONFIG
    if what == "voxel":
        images = np.load(rows[2].prepared.images)
        images[0, 3, 3] += 1
        np.save(rows[2].prepared.images, images)
    elif what == "setting":
        config = CONFIG.model_copy(update={"slice_step_mm": 4.0})
    elif what == "age":
        rows[2] = replace(rows[2], scan=replace(rows[2].scan, age_years=51.0))
    elif what == "split":
        rows[2] = replace(rows[2], split="validation")
    else:
        rows[2] = replace(rows[2], diagnosis="AD")
    assert write_store(tmp_path / "other", open_rows(rows), "age", config).content_hash != store.content_hash


def test_the_test_split_has_one_door(store, sealed, rows, tmp_path):
    for ask in (lambda: store.split("test"), lambda: SliceStore.open(sealed.folder)):
        with pytest.raises(LeakageError, match=r"unseal\(ledger, model\)"):
            ask()
    ledger = TestLedger(tmp_path / "test_ledger.jsonl")
    split = sealed.unseal(ledger, "unet/seed-0")
    np.testing.assert_array_equal(split.images()[:4], np.load(rows[7].prepared.images))
    (entry,) = ledger.entries()
    assert (entry["model"], entry["store"]) == ("unet/seed-0", sealed.content_hash)


def test_what_trains_and_what_tests_never_share_a_folder(store, sealed, rows, tmp_path):
    assert not [name for name in bytes_of(store.folder) if "test" in name]
    assert store.manifest["split"].isin(["train", "validation"]).all()
    assert set(sealed.manifest["image"]) == {"I7", "I8"}
    with pytest.raises(LeakageError, match="2 scans of the test split"):
        write_store(tmp_path / "mixed", rows, "age", CONFIG)
    with pytest.raises(LeakageError, match="7 scans"):
        write_test(tmp_path / "mixed", rows, CONFIG)
    with pytest.raises(StoreError, match="no test split"):
        SealedTest.open(store.folder)
    assert not (tmp_path / "mixed").exists()


def test_a_changed_test_split_is_found(sealed):
    sealed.verify()
    path = sealed.folder / "test" / "slices-00000.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(StoreError, match="was changed"):
        sealed.verify()


def test_where_the_ledger_cannot_be_written_the_door_stays_shut(sealed, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        sealed.unseal(TestLedger(tmp_path / "file" / "ledger.jsonl"), "m")


def test_an_unknown_split_is_refused(store):
    with pytest.raises(StoreError, match='no split "holdout"'):
        store.split("holdout")


@given(keep=st.lists(st.booleans(), min_size=5, max_size=5))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_take_is_the_same_as_choosing_slices(store, keep):
    whole = store.split("train")
    some = whole.take(np.array(keep))
    wanted = np.array(keep)[whole.slice_scan]
    np.testing.assert_array_equal(some.images(), whole.images()[wanted])
    np.testing.assert_array_equal(some.slice_position, whole.slice_position[wanted])
    assert some.scans["image"].tolist() == whole.scans["image"][keep].tolist()
    assert some.scans.index.tolist() == list(range(sum(keep)))
    images = some.scans["image"].to_numpy()[some.slice_scan]
    assert images.tolist() == whole.scans["image"].to_numpy()[whole.slice_scan[wanted]].tolist()
    assert all(np.shares_memory(piece, whole.shards[0]) for piece in some.shards if piece.size), "views, not copies"


def test_take_over_shards_and_labels(tmp_path, monkeypatch):
    monkeypatch.setattr(store_write, "SLICES_PER_SHARD", 3)
    split = write_store(tmp_path / "store", case_rows(tmp_path / "cache"), "segmentation", CONFIG).split("train")
    some = split.take(np.array([False, True]))
    np.testing.assert_array_equal(some.labels(), split.labels()[3:])
    assert split.take(np.array([False, False])).labels().shape == (0, 16, 16)
    with pytest.raises(ValueError, match="2 scans"):
        split.take(np.array([True]))


def test_an_empty_split_has_no_slices(tmp_path):
    rows = age_rows(tmp_path / "cache", {"train": [2]})
    split = write_store(tmp_path / "store", rows, "age", CONFIG).split("validation")
    assert split.images().shape == (0, 16, 16)
    assert len(split.scans) == len(split.slice_scan) == len(split.slice_position) == 0


def test_a_second_writing_replaces_the_first(store, rows):
    again = write_store(store.folder, rows[:3], "age", CONFIG)
    assert len(again.manifest) == 3
    assert again.content_hash != store.content_hash
    assert not list(store.folder.parent.glob(".*partial"))


def test_a_folder_of_something_else_is_not_replaced(rows, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(StoreError, match="holds other files"):
        write_store(tmp_path, open_rows(rows), "age", CONFIG)
    assert (tmp_path / "thesis.txt").exists()


def test_a_failure_leaves_the_old_store(store, rows):
    rows[3].prepared.images.write_bytes(b"broken")
    before = bytes_of(store.folder)
    with pytest.raises(DataError, match=r"images\.npy cannot be read"):
        write_store(store.folder, open_rows(rows), "age", CONFIG)
    assert bytes_of(store.folder) == before


def test_rows_that_do_not_fit_are_refused(rows, tmp_path):
    with pytest.raises(DataError, match="has the shape"):
        write_store(tmp_path / "a", open_rows(rows), "age", PreprocessingConfig(slice_shape=(32, 32)))
    with pytest.raises(DataError, match="no scan is left for the age store"):
        write_store(tmp_path / "b", [], "age", CONFIG)
    four = prepared(tmp_path / "cache", "ff", 2, (4,))
    with pytest.raises(DataError, match="has no labels"):
        write_store(tmp_path / "c", [replace(rows[0], prepared=four)], "segmentation", CONFIG)


def test_one_person_may_have_an_image_under_two_names(rows, tmp_path):
    copy = replace(rows[0], scan=replace(rows[0].scan, image="I0-again"))
    assert len(write_store(tmp_path / "store", [*open_rows(rows), copy], "age", CONFIG).manifest) == 8


def test_from_files_to_store(scan, tumour, config, tmp_path):
    row = StoreRow(scan, prepare_scan(scan, config, tmp_path / "cache"), "train", "CN")
    ages = write_store(tmp_path / "ages", [row], "age", config)
    assert ages.preprocessing == config
    assert ages.split("train").images().shape == (20, 48, 40)
    case = StoreRow(tumour, prepare_scan(tumour, config, tmp_path / "cache"), "train")
    split = write_store(tmp_path / "tumours", [case], "segmentation", config).split("train")
    assert np.isnan(split.scans["age_years"]).all()
    assert set(np.unique(split.labels())) == {0, 1, 2, 3}
