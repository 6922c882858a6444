"""One line of a dry run, and what a search comes to."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from brainage_ray.config import BackboneConfig, BudgetConfig, Experiment, TrainingConfig, TrainingRun, most_epochs
from brainage_ray.execution import (
    GIB,
    Demand,
    StudyPlan,
    count_trials,
    expected_epochs,
    places_of,
    trial_demand,
)

BYTES_PER_WEIGHT = 4


@dataclass(frozen=True)
class PlanRow:
    """One line of the plan."""

    stage: str
    what: str
    runs: int
    """Trainings."""
    epochs: int
    """Of each run, at most."""
    hours: float
    """At most, on this machine, one run at a time."""
    gigabytes: float
    """Left on the disk."""
    expected: float | None = None
    """As hours, but as many as a scheduler lets us expect, within the budget; None: as hours."""
    side_by_side: int = 1
    """Processes that this machine holds at once."""
    gpus: float = 0.0
    """That each of them holds."""

    @property
    def likely(self) -> float:
        """Hours to expect, one run at a time."""
        return self.hours if self.expected is None else self.expected

    @property
    def wall(self) -> float:
        """Hours to expect with so many side by side, as if none slowed the others."""
        return self.likely / self.side_by_side

    @property
    def gpu_hours(self) -> float:
        """To expect."""
        return self.likely * self.gpus


def search_row(experiment: Experiment, arm: str, epoch_hours: float, weights: int) -> PlanRow:
    """Multiply an arm's search out: its trials, and its finalists trained again to their end.

    Args:
        experiment: says how many there are, when they stop and what they hold.
        arm: to search.
        epoch_hours: of one run in one process.
        weights: of the network.
    """
    search, epochs = experiment.search, epochs_of(experiment, arm)
    trials = min(trials_of(experiment, arm), search.budget.max_trials or sys.maxsize)
    again = min(search.finalists, trials) * search.finalist_seeds
    runs = trials * search.seeds_per_trial
    demand = trial_demand(search, experiment.resources)
    at_once = max(1, min(places_here(demand) // demand.processes, trials, search.max_concurrent or trials))
    processes = at_once * demand.processes
    most = _within(search.budget, (runs + again) * epochs * epoch_hours, processes, demand.gpus)
    likely = (runs * expected_epochs(search, epochs) + again * epochs) * epoch_hours
    # of each trial the weights, and of each in flight a checkpoint of three times their size (Adam)
    files = (trials + 3 * at_once) * search.seeds_per_trial * weights * BYTES_PER_WEIGHT
    what = f"{arm}: {trials} trials x {search.seeds_per_trial} seeds, {search.sampler}"
    what += f", {search.scheduler}" if search.scheduler != "none" else ""
    what += f", {demand.processes} workers each" if demand.processes > 1 else ""
    what += f", {min(search.finalists, trials)} finalists x {search.finalist_seeds} seeds" if again else ""
    return PlanRow(
        "search", what, runs + again, epochs, most, min(files, search.checkpoint_gib * GIB) / 1e9,
        min(most, likely), processes, demand.gpus,
    )  # fmt: skip


def _within(budget: BudgetConfig, hours: float, processes: int, gpus: float) -> float:
    """Return the hours of work that a budget lets through with so many processes side by side."""
    most = [hours]
    most += [budget.max_hours * processes] if budget.max_hours is not None else []
    most += [budget.max_gpu_hours / gpus] if budget.max_gpu_hours is not None and gpus else []
    return min(most)


def places_here(demand: Demand) -> int:
    """Count how many processes this machine holds at once; 1 where it holds none, so that hours can be told."""
    here = {"CPU": float(os.cpu_count() or 1), "GPU": float(torch.cuda.device_count())}
    return max(1, places_of(here, demand.cpus, demand.gpus))


def template_run(
    task: Literal["age", "segmentation"], backbone: BackboneConfig, training: TrainingConfig
) -> TrainingRun:
    """Return a training without data, to count and to measure with."""
    return TrainingRun(
        task=task, backbone=backbone, training=training, seed=0, store=Path(), store_hash="", folder=Path()
    )


def arm_template(experiment: Experiment, arm: str) -> TrainingRun:
    """Return what an arm stands for, without data."""
    return template_run("age", experiment.arms[arm].backbone, experiment.training)


def epochs_of(experiment: Experiment, arm: str) -> int:
    """Return how many epochs a trial of an arm trains at most; its final models train no more."""
    return most_epochs(arm_template(experiment, arm), experiment.search.space)


def trials_of(experiment: Experiment, arm: str) -> int:
    """Return how many trials the search of an arm has."""
    return count_trials(StudyPlan(arm, arm_template(experiment, arm), experiment.search, Path()))
