"""What is said of settings that do nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from brainage_ray.config import inert_settings, load_experiment

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"
GRID = "search.space={parameters: {training.optimizer.lr: {type: categorical, choices: [0.001, 0.01]}}}"


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_no_experiment_of_ours_has_one(path: Path):
    assert inert_settings(load_experiment(path)) == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            [GRID, "search.sampler=grid", "search.scheduler=none", "search.trials=7"],
            "search.trials: 7 is not",
        ),
        (["search.scheduler=none", "search.grace_epochs=3"], "search.grace_epochs: 3 is not looked at"),
        (["search.grace_epochs=12", "training.max_epochs=12"], "12 is not below training.max_epochs: 12"),
        (["search.finalists=40", "search.trials=6"], "40 are more than search.trials: 6"),
        (["search.finalist_seeds=4"], "search.finalist_seeds: 4 is not looked at"),
        (["search.space={parameters: {training.batch_size: {type: constant, value: 8}}}"], "has one point"),
        (["training.optimizer.momentum=0.5"], "training.optimizer.momentum is not looked at"),
        (
            ["search.space={parameters: {training.optimizer.momentum: {type: float, low: 0.1, high: 0.9}}}"],
            "which adamw does not have",
        ),
    ],
)
def test_a_setting_that_does_nothing_is_named(settings: list[str], words: str):
    (sentence,) = inert_settings(load_experiment(EXPERIMENTS / "quickstart.yaml", settings))
    assert words in sentence


def test_momentum_of_a_searched_sgd_counts():
    space = (
        "search.space={parameters: {training.optimizer.name: {type: categorical, choices: [adam, sgd]}, "
        "training.optimizer.momentum: {type: float, low: 0.1, high: 0.9, when: {training.optimizer.name: sgd}}}}"
    )
    assert inert_settings(load_experiment(EXPERIMENTS / "quickstart.yaml", [space])) == []
