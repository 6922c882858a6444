from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from training_stores import age_store, make_run

from brainage_ray.data import SliceStore
from brainage_ray.errors import DataError, LeakageError, StoreError
from brainage_ray.training.selection import open_slices, select_scans

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> SliceStore:
    """Six training and three validation scans, CN, MCI and AD in turn."""
    folder = tmp_path_factory.mktemp("mixed") / "store"
    ages = {"train": [51.0, 52, 53, 54, 55, 56], "validation": [61.0, 62, 63]}
    return age_store(folder, ages, ("CN", "MCI", "AD"))


def test_a_run_takes_the_scans_of_its_diagnoses(mixed: SliceStore, tmp_path: Path):
    healthy = select_scans(make_run(mixed, tmp_path), ["train"])
    assert healthy.scans["age_years"].tolist() == [51, 54]
    both = select_scans(make_run(mixed, tmp_path, {"diagnoses": ["CN", "AD"]}), ["train"])
    assert both.scans["age_years"].tolist() == [51, 53, 54, 56]


def test_splits_are_joined_with_their_slices(mixed: SliceStore, tmp_path: Path):
    run = make_run(mixed, tmp_path, {"diagnoses": ["MCI"]})
    parts = [select_scans(run, [name]) for name in ("train", "validation")]
    joined = select_scans(run, ["train", "validation"])
    assert joined.scans["age_years"].tolist() == [52, 55, 62]
    assert joined.slice_scan.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert np.array_equal(joined.images(), np.concatenate([part.images() for part in parts]))
    assert len(joined.slice_position) == 12


def test_a_split_without_a_wanted_scan_adds_nothing_to_the_others(tmp_path: Path):
    store = age_store(tmp_path / "store", {"train": [50.0, 60, 70], "validation": [55.0]}, ("MCI", "CN", "AD"))
    joined = select_scans(make_run(store, tmp_path), ["train", "validation"])
    assert joined.scans["age_years"].tolist() == [60]
    assert joined.slice_scan.tolist() == [0] * 4


def test_an_empty_selection_says_what_is_there(mixed: SliceStore, tmp_path: Path):
    run = make_run(mixed, tmp_path, cohorts=("ADNI",))
    with pytest.raises(
        DataError, match=r"train of .* has no scan with cohorts \['ADNI'\], diagnoses \['CN'\]"
    ) as error:
        select_scans(run, ["train"])
    assert "it has 2 Toy AD, 2 Toy CN, 2 Toy MCI" in error.value.problem


def test_a_split_without_scans_says_so(tmp_path: Path):
    store = age_store(tmp_path / "store", {"train": [50.0, 60]})
    with pytest.raises(DataError, match=r"validation of .* it has none at all"):
        select_scans(make_run(store, tmp_path), ["validation"])


def test_segmentation_knows_no_diagnoses(tumours: SliceStore, tmp_path: Path):
    assert len(select_scans(make_run(tumours, tmp_path, cohorts=("Rings",)), ["train"]).scans) == 8
    with pytest.raises(DataError, match=r"no scan with cohorts \['BraTS'\]; it has 8 Rings"):
        select_scans(make_run(tumours, tmp_path, cohorts=("BraTS",)), ["train"])


def test_the_test_split_stays_shut(mixed: SliceStore, tmp_path: Path):
    with pytest.raises(LeakageError):
        select_scans(make_run(mixed, tmp_path, train_splits=("train", "test")), ["train", "test"])


def test_another_store_is_refused(mixed: SliceStore, tumours: SliceStore, tmp_path: Path):
    with pytest.raises(StoreError, match="was made for 0123"):
        select_scans(make_run(mixed, tmp_path, store_hash="0123"), ["train"])
    with pytest.raises(StoreError, match="the segmentation store"):
        select_scans(make_run(tumours, tmp_path, task="age"), ["train"])


def test_a_scan_without_age_is_named(tmp_path: Path):
    store = age_store(tmp_path / "store", {"train": [50.0, 60.0, float("nan")]})
    with pytest.raises(DataError, match=r"1 scans in .* have no age, the first is Toy train2"):
        select_scans(make_run(store, tmp_path), ["train"])


def test_runs_on_the_same_scans_share_one_copy_while_it_is_used(mixed: SliceStore, tmp_path: Path):
    first = open_slices(make_run(mixed, tmp_path), ["train"], CPU)
    assert open_slices(make_run(mixed, tmp_path / "other", seed=1), ["train"], CPU) is first
    assert open_slices(make_run(mixed, tmp_path, {"diagnoses": ["AD"]}), ["train"], CPU) is not first
    assert open_slices(make_run(mixed, tmp_path), ["validation"], CPU) is not first
    assert isinstance(first.split.scans, pd.DataFrame)
