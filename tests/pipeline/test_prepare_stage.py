from __future__ import annotations

import pytest
import yaml
from sessions import session_of

from brainage_ray.config import load_experiment
from brainage_ray.errors import ConfigError, DataError
from brainage_ray.pipeline.prepare import prepare, read_scans


@pytest.fixture
def session(tmp_path):
    """Of six people in a table, whose scans nobody can read: a check that comes too late fails otherwise."""
    rows = [f"s{i},{50 + i},F,CN,s{i}.nii.gz,train" for i in range(6)]
    (tmp_path / "people.csv").write_text("\n".join(["subject,age_years,sex,diagnosis,image,split", *rows]) + "\n")
    for i in range(6):
        (tmp_path / f"s{i}.nii.gz").write_bytes(b"")
    experiment = {
        "name": "small",
        "data": {"sources": [{"kind": "table", "table": "people.csv", "cohort": "X"}], "split": {"rule": "table"}},
        "arms": {"unet": {"backbone": {"kind": "unet"}, "pretraining": ["brats"]}},
        "pretraining": {"brats": {"kind": "segmentation"}},
        "search": {"space": {"parameters": {"training.optimizer.lr": {"type": "float", "low": 1.0e-4, "high": 0.01}}}},
    }
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(experiment))
    return lambda *changes: session_of(load_experiment(path, changes), tmp_path / "runs")


def test_an_empty_split_is_said_before_anything_is_cut(session, tmp_path):
    with pytest.raises(DataError, match=r"The validation split .* train: 6 CN; validation: none"):
        prepare(session())
    assert not (tmp_path / "runs").exists()


def test_a_misspelt_cohort_is_said_before_anything_is_cut(session, tmp_path):
    with pytest.raises(ConfigError, match=r'pretraining\.brats\.cohorts has "BraTs"'):
        prepare(session('pretraining.brats.cohorts=["BraTs"]', "data.split.rule=by_subject"))
    assert not (tmp_path / "runs").exists()


def test_the_bar_of_the_phantoms_goes_when_they_are_interrupted(session, monkeypatch):
    def interrupted(source, cache, progress):
        progress(1, 5)
        raise KeyboardInterrupt

    monkeypatch.setattr("brainage_ray.pipeline.prepare.read_sources", interrupted)
    begun = session()
    with pytest.raises(KeyboardInterrupt):
        read_scans(begun)
    assert begun.progress.open == 0
