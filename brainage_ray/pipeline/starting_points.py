"""What a search tries first: the published settings, or the best of an earlier experiment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from brainage_ray.config import Experiment, TrainingRun
from brainage_ray.errors import ConfigError
from brainage_ray.execution import StudyResult, load_study_result
from brainage_ray.pipeline.plan_rows import arm_template

Settings = Mapping[str, Any]
"""Value by dotted path of a training run."""

LEARNING_RATE = "training.optimizer.lr"
PUBLISHED: Settings = {
    "training.optimizer.name": "adam",
    "training.optimizer.weight_decay": 0.0,
    "training.loss": "mse",
    "training.batch_size": 64,
    "training.max_epochs": 50,
}
"""Of every arm of Pacheco et al. (BRACIS 2023), besides the learning rate."""
PUBLISHED_RATES = (1.0e-3, 1.0e-4, 1.0e-5)
CHOSEN_RATES = {
    "unet": 1.0e-3,
    "unet+brats": 1.0e-4,
    "resnet": 1.0e-4,
    "resnet+brats": 1.0e-4,
    "resnet+imagenet": 1.0e-4,
    "resnet+imagenet+brats": 1.0e-5,
}
"""Learning rate of the paper's final models, by arm."""


def first_trials(experiment: Experiment, arm: str, run: TrainingRun) -> tuple[dict[str, Any], ...]:
    """Return the settings of an arm's first trials, as near as its space comes to them, each once.

    Args:
        experiment: whose search.start_from says what they are.
        arm: name of the arm.
        run: what the arm stands for.

    Raises:
        ConfigError: the folder that start_from names has no study with a complete trial.
    """
    start = experiment.search.start_from
    if start is None:
        return ()
    sources = _published(arm) if start == "paper" else _of_earlier(Path(start), arm)
    points = [experiment.search.space.nearest(settings, run.to_json()) for settings in sources]
    unique = [point for i, point in enumerate(points) if point and point not in points[:i]]
    return tuple(unique[: experiment.search.trials])


def check_first_trials(experiment: Experiment) -> None:
    """Check, before hours go into other stages, that there is what the search is to start from.

    Raises:
        ConfigError: see first_trials.
    """
    for arm in experiment.arms:
        first_trials(experiment, arm, arm_template(experiment, arm))


def _published(arm: str) -> list[Settings]:
    """List the rates that the paper tried, the one that it chose for the arm first."""
    chosen = CHOSEN_RATES.get(arm)
    rates = sorted(PUBLISHED_RATES, key=lambda rate: rate != chosen)
    return [{**PUBLISHED, LEARNING_RATE: rate} for rate in rates]


def _of_earlier(folder: Path, arm: str) -> list[Settings]:
    studies = dict(_studies(folder))
    wanted = [study for name, study in studies.items() if name == arm] or list(studies.values())
    best = [settings for study in wanted if (settings := _best(study)) is not None]
    if not best:
        raise ConfigError(
            f"search.start_from is {folder}, where no study has a complete trial",
            "Name the folder of an experiment that has searched (WORKSPACE/NAME), or `paper`.",
        )
    return best


def _studies(folder: Path) -> Iterator[tuple[str, StudyResult]]:
    """Yield the arm and the study of each folder NAME-KEY of an experiment's search."""
    for place in sorted((folder / "search").glob("*-*")):
        if (study := load_study_result(place)) is not None:
            yield place.name.rpartition("-")[0], study


def _best(study: StudyResult) -> Settings | None:
    complete = [trial for trial in study.trials if trial.state == "complete" and trial.best_value is not None]
    return min(complete, key=lambda trial: trial.best_value or 0.0).params if complete else None
