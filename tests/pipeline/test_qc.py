"""Quality control of real brains, three of them spoiled, from the sources to the page and back through exclusions."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml

from brainage_ray.config import load_experiment
from brainage_ray.data import TestLedger, read_exclusions, read_ledger
from brainage_ray.data.ledger import QUALITY_CONTROL
from brainage_ray.errors import ConfigError, DataError, MetadataError
from brainage_ray.pipeline import run_experiment
from brainage_ray.pipeline.exclusions import Where, exclude_images, include_images
from brainage_ray.pipeline.plan import count_data
from brainage_ray.pipeline.qc import write_quality_page
from brainage_ray.report.qc_page import THUMBNAILS

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.shared_data]

SPOILED = {"half empty": 2, "noisy": 5, "wrong size": 9}
PEOPLE = 14


def spoil(path: Path, out: Path, what: str) -> None:
    image = nib.load(path)
    voxels, affine = np.asarray(image.dataobj, np.float32), image.affine.copy()
    inside = voxels != 0
    if what == "half empty":
        voxels[:, :, : voxels.shape[2] // 2] = 0
    elif what == "noisy":
        noise = np.random.default_rng(0).normal(0, 0.2 * voxels[inside].mean(), voxels.shape)
        voxels = np.where(inside, voxels + noise, 0).astype(np.float32)
    else:
        affine[:3, :3] *= 0.75
    nib.save(nib.Nifti1Image(voxels, affine), out)


@pytest.fixture(scope="module")
def file(tmp_path_factory, shared_data):
    """An experiment on 14 brains of IXI, whose image ids are their paths."""
    folder = tmp_path_factory.mktemp("qc")
    with (shared_data / "ixi" / "participants.csv").open() as opened:
        rows = list(csv.DictReader(opened))[:PEOPLE]
    for i, row in enumerate(rows):
        source, row["image"] = shared_data / "ixi" / row["image"], f"{row['subject']}.nii.gz"
        what = next((what for what, place in SPOILED.items() if place == i), None)
        spoil(source, folder / row["image"], what) if what else shutil.copy(source, folder / row["image"])
    pd.DataFrame(rows).to_csv(folder / "people.csv", index=False)
    experiment = {
        "name": "brains",
        "data": {
            "sources": [{"kind": "table", "table": "people.csv", "cohort": "IXI"}],
            "preprocessing": {"voxel_mm": 3.0, "slice_origin": "brain_top", "slice_range_mm": [30.0, 78.0],
                              "slice_step_mm": 6.0, "slice_shape": [64, 56]},
            "split": {"fractions": {"train": 0.5, "validation": 0.25, "test": 0.25}},
            "exclusions": "qc.csv",
        },
        "arms": {"unet": {"backbone": {"kind": "unet", "width": 0.25, "depth": 4}}},
        "search": {"space": {"parameters": {"training.optimizer.lr": {"type": "float", "low": 1.0e-4, "high": 0.01}}}},
    }  # fmt: skip
    (folder / "brains.yaml").write_text(yaml.safe_dump(experiment))
    return folder / "brains.yaml"


@pytest.fixture(scope="module")
def workspace(file):
    return file.parent / "runs"


@pytest.fixture(scope="module")
def people(file):
    return list(pd.read_csv(file.parent / "people.csv")["image"])


@pytest.fixture(scope="module")
def made(file, workspace, cluster):
    """The first page, before anything is excluded."""
    return write_quality_page(load_experiment(file), workspace)


@pytest.fixture
def clean(file, made):
    """A file of exclusions as the first page left it, before and after."""
    (file.parent / "qc.csv").write_text("cohort,image,reason,who,when\n")
    yield
    (file.parent / "qc.csv").write_text("cohort,image,reason,who,when\n")


def openings(workspace):
    return TestLedger(workspace / "brains" / "test_ledger.jsonl").entries()


def newest_ledger(workspace):
    files = (workspace / "brains" / "store").glob("*/ledger.parquet")
    return read_ledger(max(files, key=lambda path: path.stat().st_mtime_ns)).set_index("image")


def test_the_spoiled_scans_come_first(made, people):
    bad = {people[place] for place in SPOILED.values()}
    assert set(made.scans["image"][:3]) == bad
    assert set(made.scans["image"][made.scans["outlier"]]) == bad
    named = made.scans.set_index("image")["worst"]
    assert named[people[SPOILED["noisy"]]] == "snr"
    assert named[people[SPOILED["half empty"]]] == named[people[SPOILED["wrong size"]]] == "brain_volume_ml"


def test_every_scan_has_its_picture_and_its_row(made, people, workspace):
    assert made.page == workspace / "brains" / "qc" / "index.html"
    assert sorted(made.scans["image"]) == sorted(people)
    pictures = [made.page.parent / THUMBNAILS / name for name in made.scans["thumbnail"]]
    assert all(path.stat().st_size > 1000 for path in pictures)
    assert len({path.read_bytes() for path in pictures}) == PEOPLE
    assert len(pd.read_csv(made.page.parent / "scans.csv")) == PEOPLE


def test_looking_at_test_scans_is_on_the_record_once(file, made, workspace, clean):
    first = openings(workspace)
    assert [line["model"] for line in first] == [QUALITY_CONTROL]
    times = {path.name: path.stat().st_mtime_ns for path in (made.page.parent / THUMBNAILS).iterdir()}
    write_quality_page(load_experiment(file), workspace)
    assert openings(workspace) == first, "what is drawn already is not read again"
    assert times == {path.name: path.stat().st_mtime_ns for path in (made.page.parent / THUMBNAILS).iterdir()}


def test_the_test_split_can_stay_shut(file, made, workspace, tmp_path, clean):
    before = openings(workspace)
    page = write_quality_page(load_experiment(file), workspace, tmp_path / "page", test_images=False)
    assert openings(workspace) == before
    closed = page.scans["split"] == "test"
    assert closed.any()
    assert ((page.scans["thumbnail"] == "") == closed).all()
    assert page.scans["snr"].notna().all()


def test_an_exclusion_is_in_the_ledger_and_moves_nobody_else(file, made, people, workspace, clean):
    bad = people[SPOILED["half empty"]]
    (change,) = exclude_images([bad], "left half missing", Where(workspace))
    assert (change.file, change.cohort, change.before, change.openings) == (file.parent / "qc.csv", "IXI", None, 0)
    cached = {path: path.stat().st_mtime_ns for path in (workspace / "cache").rglob("*") if path.is_file()}
    page = write_quality_page(load_experiment(file), workspace)
    assert cached == {path: path.stat().st_mtime_ns for path in (workspace / "cache").rglob("*") if path.is_file()}
    row = newest_ledger(workspace).loc[bad]
    assert (row["status"], row["reason"]) == ("excluded", "quality control: left half missing")
    splits = page.scans.set_index("image")["split"]
    assert sorted(splits.index) == sorted(set(people) - {bad})
    before = made.scans.set_index("image")["split"]
    assert (splits == before[splits.index]).all()
    assert "brainage qc include" in page.page.read_text()
    counts = count_data(load_experiment(file), workspace)
    assert sum(counts.scans.values()) == PEOPLE - 1


def test_the_way_back_leads_to_the_first_store(file, made, people, workspace, clean):
    stores = {path.name for path in (workspace / "brains" / "store").iterdir()}
    exclude_images(people[:2], "motion", Where(workspace, experiment="brains"))
    write_quality_page(load_experiment(file), workspace)
    more = {path.name for path in (workspace / "brains" / "store").iterdir()}
    assert more > stores
    assert [change.before.reason for change in include_images(people[:2], Where(workspace))] == ["motion"] * 2
    page = write_quality_page(load_experiment(file), workspace)
    assert {path.name for path in (workspace / "brains" / "store").iterdir()} == more
    columns = ["image", "split", "snr", "brain_volume_ml"]
    pd.testing.assert_frame_equal(page.scans[columns], made.scans[columns])


def test_an_image_that_there_is_not_is_refused_with_the_nearest(file, made, people, workspace, clean):
    with pytest.raises(ConfigError, match=rf'no image "{people[3][:-1]}".*Did you mean.*{people[3]}'):
        exclude_images([people[0], people[3][:-1]], "motion", Where(workspace))
    assert read_exclusions(file.parent / "qc.csv") == (), "all or none"


def test_a_line_of_no_scan_stops_the_run_and_can_be_taken_out(file, made, workspace, clean):
    with (file.parent / "qc.csv").open("a") as opened:
        opened.write("IXI,IXI9999.nii.gz,motion,,\n")
    with pytest.raises(MetadataError, match=r"excludes IXI IXI9999\.nii\.gz.*Did you mean"):
        run_experiment(load_experiment(file), workspace, until="prepare")
    assert include_images(["IXI9999.nii.gz"], Where(workspace))[0].before is not None
    run_experiment(load_experiment(file), workspace, until="prepare")


def test_a_file_that_is_gone_stops_the_run_until_qc_makes_it(file, made, workspace, clean):
    (file.parent / "qc.csv").unlink()
    with pytest.raises(MetadataError, match=r"no file .*qc\.csv.*brainage qc EXPERIMENT makes"):
        run_experiment(load_experiment(file), workspace, until="prepare")
    write_quality_page(load_experiment(file), workspace)
    run_experiment(load_experiment(file), workspace, until="prepare")


def test_a_split_that_exclusions_empty_is_said(file, made, workspace, clean):
    tested = list(made.scans["image"][made.scans["split"] == "test"])
    exclude_images(tested, "all bad", Where(workspace))
    with pytest.raises(DataError, match="The test split has no scan"):
        run_experiment(load_experiment(file), workspace, until="prepare")


def test_excluding_after_models_were_tested_is_said(made, people, workspace, clean, monkeypatch):
    ledger = TestLedger(workspace / "brains" / "test_ledger.jsonl")
    before = ledger.path.read_bytes()
    ledger.record("unet seed 0", "hash")
    (change,) = exclude_images(people[:1], "motion", Where(workspace))
    assert change.openings == 1, "quality control is not counted"
    ledger.path.write_bytes(before)


def test_where_the_experiment_names_no_file_one_can_be_named(file, made, people, workspace, tmp_path, clean):
    without = tmp_path / "without.yaml"
    experiment = yaml.safe_load(file.read_text())
    del experiment["data"]["exclusions"]
    experiment["data"]["sources"][0]["table"] = str(file.parent / "people.csv")
    without.write_text(yaml.safe_dump(experiment))
    with pytest.raises(ConfigError, match=r"names no file of exclusions\. Write exclusions: qc\.csv under data"):
        exclude_images(people[:1], "motion", Where(workspace, experiment=str(without)))
    given = Where(workspace, experiment=str(without), file=tmp_path / "mine.csv")
    exclude_images(people[:1], "motion", given)
    assert [one.id for one in read_exclusions(tmp_path / "mine.csv")] == [("IXI", people[0])]
    assert include_images(people[:1], given)[0].before.reason == "motion"


def test_two_experiments_with_files_of_their_own_must_be_told_apart(file, made, people, workspace, tmp_path, clean):
    other = tmp_path / "other.yaml"
    experiment = yaml.safe_load(file.read_text()) | {"name": "other"}
    experiment["data"]["sources"][0]["table"] = str(file.parent / "people.csv")
    other.write_text(yaml.safe_dump(experiment))
    (workspace / "other").mkdir()
    (workspace / "other" / "experiment.json").write_text(load_experiment(other).model_dump_json())
    try:
        with pytest.raises(ConfigError, match=r"in more than one place.*--experiment"):
            exclude_images(people[:1], "motion", Where(workspace))
        exclude_images(people[:1], "motion", Where(workspace, experiment="other"))
        assert len(read_exclusions(tmp_path / "qc.csv")) == 1
        assert read_exclusions(file.parent / "qc.csv") == ()
    finally:
        shutil.rmtree(workspace / "other")
