"""What goes into the engine and what comes out of it: plain values, readable without Ray."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from brainage_ray.config.base import digest
from brainage_ray.config.experiment import ResourcesConfig
from brainage_ray.config.run import InitialWeights, SettingsChange, TrainingRun
from brainage_ray.config.search import SearchConfig

if TYPE_CHECKING:
    from brainage_ray.training.recorder import RunInfo

TrialState = Literal["complete", "pruned", "failed", "running"]
Failure = Literal["nan", "error", "lost", "interrupted"]
"""The training failed; it raised something unforeseen; its process died; its driver was stopped."""
MACHINE: tuple[Failure, ...] = ("error", "lost")
"""What may be the machine's fault."""

_NOT_IN_KEY = {
    "trials", "max_concurrent", "start_from", "finalists", "finalist_seeds", "choice", "budget", "checkpoint_gib",
    "hang_minutes",
}  # fmt: skip


@dataclass(frozen=True)
class Job:
    """One training and how its listeners know it."""

    info: RunInfo
    run: TrainingRun


@dataclass(frozen=True)
class StudyPlan:
    """The search of one arm."""

    arm: str
    """Name of the arm; the trials' runs are below "<arm>/study", or "<arm>/finalists"."""
    run: TrainingRun
    """What every trial starts from: the arm's backbone, the experiment's training."""
    search: SearchConfig
    folder: Path
    """Where the study's journal and the trials' files go; on a cluster a folder that all nodes share."""
    resources: ResourcesConfig = field(default_factory=ResourcesConfig)
    initial: tuple[InitialWeights, ...] = ()
    """Weights that repeat i of a trial starts from, i modulo their number; none: as `run` says."""
    first: tuple[Mapping[str, Any], ...] = ()
    """Settings of the first trials, value by dotted path; the sampler draws those of the others."""
    first_changes: tuple[tuple[SettingsChange, ...], ...] = ()
    """How the settings of the first trials change while they train."""
    kind: Literal["trial", "finalist"] = "trial"
    """What its trials are called."""

    experiment: str = ""
    """Its name, which sets its studies apart from others in a database."""
    storage: str | None = field(default=None, repr=False)
    """URL of the database that holds the study, maybe with a password; None: a journal file in the folder."""

    @property
    def name(self) -> str:
        """Of the study in its storage: the same work has the same name."""
        return f"{self.experiment}/{self.arm}-{self.key}"

    @property
    def key(self) -> str:
        """Digest of all that a trial's result depends on: not how many there are, nor what is made of them."""
        search = self.search.model_dump(mode="json", exclude=_NOT_IN_KEY)
        first = [dict(params) for params in self.first]
        changes = [[change.to_json() for change in of_trial] for of_trial in self.first_changes]
        return digest(self.run.key, search, first, changes, self._checksums)

    @property
    def _checksums(self) -> list[str]:
        """Of the weights that a trial's repeats start from, and of no others."""
        used = range(self.search.seeds_per_trial if self.initial else 0)
        return [str(self.initial[i % len(self.initial)].sha256) for i in used]


@dataclass(frozen=True)
class TrialResult:
    """What is known of one trial."""

    number: int
    """Place of the trial in the study, from 0; a trial that was interrupted keeps its place."""
    params: Mapping[str, Any]
    """Value by dotted path."""
    state: TrialState
    """running also stands for a trial that a killed driver left behind, or that a new start tries again."""
    values: tuple[float, ...] = ()
    """Validation MAE of each epoch, years, mean over the seeds; in flight smoothed, as the scheduler sees them."""
    seed_values: tuple[tuple[float, ...], ...] = ()
    """The same by epoch and seed."""
    best_value: float | None = None
    """Smallest moving average of `values`, years; None where there is none."""
    best_epoch: int | None = None
    """Epoch (1-based) at which the window of best_value ends."""
    delta_auc: float | None = None
    """How well the brain-age delta tells AD from CN at best_epoch, smoothed alike; where that is an objective."""
    seconds: float = 0.0
    """Time that the trial trained."""
    reason: str = ""
    """Why it failed, or why the budget stopped it."""
    changes: tuple[SettingsChange, ...] = ()
    """Of the settings while it trained; `params` are those that it began with."""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self) | {"changes": [change.to_json() for change in self.changes]}


@dataclass(frozen=True)
class StudyResult:
    """The trials of a study, in order of their number."""

    trials: tuple[TrialResult, ...]
    wanted: int
    """How many trials the study is to have."""
    ended: str = ""
    """Why the budget ended the search before all of them were through; "" where it did not."""

    @property
    def done(self) -> bool:
        """Tell whether every trial has its answer, or the budget ended the search."""
        return bool(self.ended) or sum(trial.state != "running" for trial in self.trials) >= self.wanted

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self) | {"trials": [trial.to_json() for trial in self.trials]}


def equip(run: TrainingRun, cpus: float, gpus: float) -> TrainingRun:
    """Give a run as many threads as its process has CPUs, no GPU where it holds none, and a GPU where it holds one.

    Ray shows all GPUs of a machine to a process that asked for none; and counts GPUs also where there is no driver,
    where a run that took what it finds would train on the CPU for days.
    """
    device = "cpu" if gpus == 0 else "cuda" if run.device == "auto" else run.device
    return run.model_copy(update={"threads": max(1, int(cpus)), "device": device})


def moving_average(values: Sequence[float], window: int) -> list[float]:
    """Return the mean of each value and the window - 1 before it, of fewer at the beginning."""
    parts = [values[max(0, end - window) : end] for end in range(1, len(values) + 1)]
    return [sum(part) / len(part) for part in parts]


def best_of(values: Sequence[float], window: int, since: int = 0) -> tuple[float, int]:
    """Find the smallest moving average over whole windows.

    Args:
        values: one per epoch, at least one.
        window: epochs to average over; where there are fewer values, all of them.
        since: epoch after which a window may end; there is one.

    Returns:
        The average, and the epoch (1-based) at which its window ends; the first of equals.
    """
    averages = moving_average(values, window)
    first = max(min(window, len(values)) - 1, since)
    best = min(range(first, len(values)), key=lambda i: averages[i])
    return averages[best], best + 1
