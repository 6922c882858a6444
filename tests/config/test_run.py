from __future__ import annotations

import json
from pathlib import Path

import pytest

from brainage_ray.config import TrainingConfig, TrainingRun, UNetConfig, run
from brainage_ray.config.run import InitialWeights, most_epochs
from brainage_ray.config.space import SearchSpace

TRIAL = TrainingRun(
    task="age", backbone=UNetConfig(kind="unet"), training=TrainingConfig(), seed=0, store=Path("store"),
    store_hash="0123", folder=Path("folder"),
)  # fmt: skip
REFIT = TRIAL.model_copy(update={"train_splits": ("train", "validation"), "validation_split": None})


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"store_hash": "4567"}, {"aggregate": "mean"}, {"one_scan_per_subject": "all"}, {"team": 2},
     {"initial": InitialWeights(path=Path("a"), sha256="89ab")}],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_what_the_result_depends_on_is_in_the_key(change):
    assert TRIAL.model_copy(update=change).key != TRIAL.key


@pytest.mark.parametrize(
    "change",
    [{"store": Path("moved")}, {"folder": Path("moved")}, {"threads": 8}, {"device": "cuda:1"}, {"commit": "cdef"}],
    ids=lambda change: next(iter(change)),
)
def test_where_it_runs_is_not_in_the_key(change):
    assert TRIAL.model_copy(update=change).key == TRIAL.key


@pytest.mark.parametrize("change", [{"aggregate": "mean"}, {"one_scan_per_subject": "all"}])
def test_how_a_validation_is_scored_is_nothing_to_a_run_without_one(change):
    assert REFIT.model_copy(update=change).key == REFIT.key


def test_another_version_of_the_training_code_has_other_keys(monkeypatch):
    before = TRIAL.key
    monkeypatch.setattr(run, "TRAINING_VERSION", run.TRAINING_VERSION + 1)
    assert TRIAL.key != before


@pytest.mark.parametrize(
    ("parameter", "most"),
    [
        (None, 50),
        ({"type": "int", "low": 2, "high": 90, "step": 4}, 90),
        ({"type": "categorical", "choices": [4, 20]}, 20),
        ({"type": "constant", "value": 7}, 7),
        ({"type": "constant", "value": 7, "when": {"training.loss": "huber"}}, 50),
    ],
)
def test_a_trial_trains_as_many_epochs_as_its_space_allows(parameter, most):
    loss = {"type": "categorical", "choices": ["mse", "huber"]}
    parameters = {"training.loss": loss} | ({"training.max_epochs": parameter} if parameter else {})
    assert most_epochs(TRIAL, SearchSpace.model_validate_json(json.dumps({"parameters": parameters}))) == most
