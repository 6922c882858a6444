"""What a stranger gets for a scan: an age with an interval, or what speaks against one."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from small_model import write_small_model

from brainage_ray.config import PreprocessingConfig
from brainage_ray.data.prepare_given import Given
from brainage_ray.errors import ConfigError
from brainage_ray.pipeline.given_tasks import Task, prepare_all
from brainage_ray.pipeline.judge import COLUMNS
from brainage_ray.pipeline.predict import PredictOptions, predict
from brainage_ray.pipeline.reference import read_reference

module = sys.modules["brainage_ray.pipeline.predict"]  # whose name in the package is that of its function


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The folder of a model, and people whom it never saw."""
    folder = tmp_path_factory.mktemp("small")
    new = write_small_model(folder)
    return folder / "model", [Given(scan.files["t1"], scan.subject, age_years=scan.age_years) for scan in new]


@pytest.fixture
def odd(small, tmp_path):
    """What is no T1 scan of a brain, made of one that is."""
    image = nib.load(small[1][0].image)
    brain = np.asarray(image.dataobj, dtype=np.float32)
    inside = brain > 0
    rng = np.random.default_rng(0)
    made = {
        "inverted": np.where(inside, brain.max() * 1.05 - brain, 0),
        "noise": np.where(inside, rng.normal(100, 20, brain.shape), 0),
        "empty": np.zeros_like(brain),
    }
    for name, array in made.items():
        nib.save(nib.Nifti1Image(array.astype(np.float32), image.affine), tmp_path / f"{name}.nii.gz")
    (tmp_path / "torn.nii.gz").write_bytes(Path(small[1][0].image).read_bytes()[:2000])
    return tmp_path


def test_a_scan_like_those_of_training_has_an_age_an_interval_and_a_delta(small):
    model, people = small
    table = predict(model, people)
    assert list(table.columns) == COLUMNS
    assert table["status"].tolist() == ["ok", "ok"], table["flags"].tolist()
    assert (table["low_years"] < table["brain_age_years"]).all()
    assert (table["brain_age_years"] < table["high_years"]).all()
    delta = table["brain_age_years"] - table["age_years"]
    assert table["delta_years"].to_numpy() == pytest.approx(delta.to_numpy(), abs=0.011)
    line = read_reference(model).bias
    corrected = delta - (line.slope * table["age_years"] + line.intercept)
    assert table["corrected_delta_years"].to_numpy() == pytest.approx(corrected.to_numpy(), abs=0.02)
    assert (table["distance"] < 1).all()


def test_what_is_no_t1_brain_gets_no_age_and_holds_up_nobody(small, odd):
    model, people = small
    paths = [odd / f"{name}.nii.gz" for name in ("inverted", "noise", "empty", "torn", "absent")]
    table = predict(model, [*paths, people[0]])
    assert table["status"].tolist() == ["flagged", "flagged", "failed", "failed", "failed", "ok"]
    assert table["low_years"].isna().tolist() == [True] * 5 + [False]
    assert table["brain_age_years"].isna().tolist()[1:] == [True] * 4 + [False]
    assert (table["distance"][:2] > 1).all()
    assert "no scan of the kind that the model reads, so no age" in table["flags"][1]
    assert all(name in error for name, error in zip(("empty", "torn", "absent"), table["error"][2:5], strict=True))


def test_a_person_outside_the_ages_seen_gets_an_age_without_interval(small):
    model, people = small
    old = predict(model, [Given(people[0].image, age_years=119.0)])
    assert old["status"][0] == "flagged"
    assert "age 119.0 years: the model saw" in old["flags"][0]
    assert not np.isnan(old["brain_age_years"][0])
    assert np.isnan(old["low_years"][0])


def test_what_is_done_is_not_done_again_and_the_bytes_are_the_same(small, odd, tmp_path, monkeypatch):
    model, people = small
    options = PredictOptions(cache=tmp_path / "cache", html=tmp_path / "pages")
    scans = [people[0], odd / "torn.nii.gz", people[1]]

    def pages():
        return {path.name: path.read_bytes() for path in (tmp_path / "pages").iterdir()}

    class Killed(BaseException):
        """As a signal."""

    with monkeypatch.context() as patched:
        patched.setattr(module.ScanPages, "draw", lambda self, path, split, networks: (_ for _ in ()).throw(Killed()))
        with pytest.raises(Killed):
            predict(model, scans, options)
    first = predict(model, scans, options)
    before = pages()
    with monkeypatch.context() as patched:
        patched.setattr(module, "Ensemble", None)
        again = predict(model, scans, options)
    assert again.to_csv() == first.to_csv() == predict(model, scans).to_csv()
    assert pages() == before
    assert sorted(before) == sorted(["index.html", *(f"{i:04d}-{Path(p.image).name[:-7]}.html"
                                                     for i, p in ((1, people[0]), (3, people[1])))])  # fmt: skip
    assert not (tmp_path / "cache" / "slices").exists()


def test_a_page_is_whole_by_itself(small, tmp_path):
    model, people = small
    table = predict(model, people[:1], PredictOptions(html=tmp_path))
    page = next(tmp_path.glob("0001-*.html")).read_text()
    assert f"{table['brain_age_years'][0]:.1f}" in page
    assert page.count("data:image/webp;base64,") == 2  # slices, and what made them look older
    assert page.count("<svg") == 2
    assert "http" not in page.replace("http://www.w3.org", "")
    index = (tmp_path / "index.html").read_text()
    assert next(tmp_path.glob("0001-*.html")).name in index


def test_an_older_model_says_why_nothing_is_checked(small, tmp_path):
    model, people = small
    shutil.copytree(model, tmp_path / "old")
    (tmp_path / "old" / "reference.json").unlink()
    table = predict(tmp_path / "old", people[:1])
    assert table["status"][0] == "flagged"
    assert "no reference.json" in table["flags"][0]
    assert "no interval" in table["notes"][0]
    assert not np.isnan(table["brain_age_years"][0])


def test_a_damaged_reference_is_refused(small, tmp_path):
    shutil.copytree(small[0], tmp_path / "new")
    (tmp_path / "new" / "reference.json").write_text('{"schema_version": 99}')
    with pytest.raises(ConfigError, match="schema version 99"):
        predict(tmp_path / "new", [])


def test_several_workers_come_to_the_same_table(small, odd):
    model, people = small
    scans = [people[0], odd / "inverted.nii.gz", people[1]]
    pd.testing.assert_frame_equal(predict(model, scans, PredictOptions(workers=2)), predict(model, scans))


class Deadly:
    """Ends the process that unpickles it."""

    image = Path("deadly.nii.gz")

    def __reduce__(self):
        return os._exit, (9,)


def test_a_process_that_is_killed_takes_no_other_scan_with_it(small, tmp_path):
    def task(given):
        return Task(given, PreprocessingConfig(), "auto", "model", tmp_path, tmp_path, (".json",))

    outcomes = list(prepare_all([task(Given(tmp_path / "a.nii")), task(Deadly()), task(Given(tmp_path / "b.nii"))], 2))
    assert ["There is no file" in outcome.error for outcome in outcomes] == [True, False, True]
    assert "deadly.nii.gz: the process that prepared it was killed" in outcomes[1].error
