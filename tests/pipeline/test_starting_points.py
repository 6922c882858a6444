"""What a search tries first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from brainage_ray.config import Experiment, load_experiment
from brainage_ray.errors import ConfigError
from brainage_ray.execution import StudyPlan
from brainage_ray.execution.study import Study
from brainage_ray.pipeline.plan_rows import template_run
from brainage_ray.pipeline.starting_points import CHOSEN_RATES, check_first_trials, first_trials

QUICKSTART = Path(__file__).parents[2] / "experiments" / "quickstart.yaml"
PAPER = Path(__file__).parents[2] / "experiments" / "bracis2023.yaml"
LR, BATCH = "training.optimizer.lr", "training.batch_size"
RECOMMENDED = QUICKSTART.parents[1] / "search_spaces" / "recommended.yaml"


def load(*overrides: str, path: Path = QUICKSTART) -> Experiment:
    return load_experiment(path, [f"search.space={RECOMMENDED}", *overrides])


def first(experiment: Experiment, arm: str) -> tuple[dict[str, object], ...]:
    run = template_run("age", experiment.arms[arm].backbone, experiment.training)
    return first_trials(experiment, arm, run)


def finished_study(folder: Path, experiment: Experiment, arm: str, rates: dict[float, float]) -> None:
    """A study whose trials have these rates and came to these values."""
    run = template_run("age", experiment.arms[arm].backbone, experiment.training)
    search = experiment.search.model_copy(update={"trials": len(rates), "scheduler": "none"})
    plan = StudyPlan(arm, run, search, folder / "search" / f"{arm}-0123456789abcdef")
    with Study(replace(plan, first=tuple({LR: rate, BATCH: 64} for rate in rates))) as study:
        for value in rates.values():
            study.report(trial := study.ask(), 1, [value])
            study.tell(trial, "complete", 1.0)


def test_nothing_is_fixed_where_nothing_is_asked_for():
    assert first(load(), "unet") == ()


@pytest.mark.parametrize("arm", CHOSEN_RATES)
def test_the_published_settings_come_first_with_the_rate_that_the_paper_chose(arm: str):
    experiment = load("search.start_from=paper", "search.sampler=tpe", "search.seeds_per_trial=1", path=PAPER)
    trials = first(experiment, arm)
    assert trials[0][LR] == CHOSEN_RATES[arm]
    assert {trial[LR] for trial in trials} == {1.0e-3, 1.0e-4, 1.0e-5}
    # no decay is published; the space's smallest is nearest
    assert all(trial[BATCH] == 64 and trial["training.optimizer.weight_decay"] == 1.0e-6 for trial in trials)


def test_equal_points_are_tried_once_and_no_more_than_the_search_has_trials():
    narrow = "search.space={parameters: {training.optimizer.lr: {type: float, low: 5.0e-4, high: 8.0e-3}}}"
    assert first(load_experiment(QUICKSTART, [narrow, "search.start_from=paper"]), "unet") == (
        {LR: 1.0e-3},
        {LR: 5.0e-4},
    )
    assert len(first(load("search.start_from=paper", "search.trials=1"), "unet")) == 1


def test_the_best_of_an_earlier_experiment_comes_first(tmp_path: Path):
    experiment = load(f"search.start_from={tmp_path}")
    finished_study(tmp_path, experiment, "unet", {1.0e-4: 5.0, 2.0e-3: 4.0})
    finished_study(tmp_path, experiment, "unet+brats", {3.0e-4: 3.0, 4.0e-3: 6.0})
    assert [trial[LR] for trial in first(experiment, "unet")] == [2.0e-3]
    assert [trial[LR] for trial in first(experiment, "unet+brats")] == [3.0e-4]
    check_first_trials(experiment)


def test_an_arm_that_is_new_starts_from_the_best_of_all_others(tmp_path: Path):
    experiment = load(f"search.start_from={tmp_path}")
    finished_study(tmp_path, experiment, "unet+brats", {3.0e-4: 3.0})
    assert [trial[LR] for trial in first(experiment, "unet")] == [3.0e-4]


def test_a_folder_without_a_search_is_refused_before_anything_starts(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"no study has a complete trial.*WORKSPACE/NAME"):
        check_first_trials(load(f"search.start_from={tmp_path}"))
