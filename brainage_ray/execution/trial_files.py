"""What the trials of a study leave on the disk: checkpoints and weights, within the arm's budget."""

from __future__ import annotations

import json
import math
from bisect import insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from brainage_ray.config.run import BEST, CHECKPOINT, TrainingRun, apply_params
from brainage_ray.config.space import CategoricalParameter, Choice, Listed, Parameter, SearchSpace
from brainage_ray.data.files import atomic_write
from brainage_ray.data.node_files import adopt, send_now
from brainage_ray.errors import EngineError
from brainage_ray.execution.memory import GIB
from brainage_ray.execution.points import grid_points
from brainage_ray.execution.results import StudyPlan, TrialState

_STATES = ("complete", "pruned", "failed")
CURVE = "curve.json"
"""In a trial's folder: the metrics of each of its epochs, mean over its repeats."""
_MIB = 2**20
_NAME_BYTES = 512
"""Of each tensor in a file: its name, its place, padding."""
_CHECKPOINT, _BEST = 3, 1
"""Sizes of files in networks: weights and Adam's two moments; weights alone."""


@dataclass
class TrialFiles:
    """Keeps the last checkpoint of trials that go on, and of those that are over the best weights while there is room.

    The driver alone deletes, and only files of trials that nobody trains. Results and what the validation slices
    were read as stay, they are small.
    """

    folder: Path
    """Holds a folder per trial, and that one a folder per repeat."""
    budget: float
    """Bytes that all files of the trials may take."""
    reserved: float = 0.0
    """Bytes of those for the trials in flight."""
    _total: int = 0
    """Bytes of all trials that are over."""
    _ranks: list[tuple[int, float, int]] = field(default_factory=list)
    """State, value and number of the trials that have files to delete, the best first."""
    _may_go_on: set[int] = field(default_factory=set)
    _any_complete: bool = False

    def begin(self, number: int) -> None:
        """Remove what a killed process left half-written; nobody else may be training the trial."""
        for left in self._trial(number).glob("**/.*.part*"):
            left.unlink(missing_ok=True)
        if any(self._trial(number).glob("*")):  # tried before: on another node it goes on from these
            self.bring(number)
            send_now()

    def bring(self, number: int) -> None:
        """Bring what the repeats of a trial have made on other nodes."""
        adopt(self._trial(number))

    def end(
        self, number: int, state: TrialState, value: float | None, may_go_on: bool = False, cut: bool = False
    ) -> None:
        """Keep of a trial that is over what may be wanted later, and of the worst ones less where room is short.

        Args:
            number: of the trial.
            state: how it ended.
            value: its best, None where it has none.
            may_go_on: a later start tries it again if by then no trial is complete.
            cut: a later start with a larger budget goes on with it.
        """
        if state == "complete":
            self._any_complete = True
            while self._may_go_on:
                self._total -= self._drop(self._may_go_on.pop(), CHECKPOINT)
        if may_go_on and not self._any_complete:
            self._may_go_on.add(number)
        elif not cut:
            self._drop(number, CHECKPOINT)
        self._total += bytes_in(self._trial(number))
        insort(self._ranks, (_STATES.index(state), math.inf if value is None else value, number))
        self._make_room()

    def keep_free(self, size: float) -> None:
        """Keep so many bytes of the budget for the trials in flight."""
        self.reserved = size
        self._make_room()

    def drop_checkpoints(self, folder: Path) -> None:
        """Delete the checkpoints of the repeats in a folder, from which nobody goes on any more."""
        adopt(folder)
        for path in folder.glob(f"*/{CHECKPOINT}"):
            path.unlink()

    def keep_curve(self, number: int, curve: Sequence[Mapping[str, float]]) -> None:
        """Write the metrics of a trial's epochs, before the trial is told: a listener may not have taken them down yet.

        Raises:
            NoSpaceError: the disk is full.
        """
        with atomic_write(self._trial(number) / CURVE) as file:
            file.write(json.dumps(curve).encode())

    def curve(self, number: int) -> list[dict[str, float]]:
        """Return the metrics of a trial's epochs, none where they were not kept."""
        path = self._trial(number) / CURVE
        return list(json.loads(path.read_bytes())) if path.is_file() else []

    def _make_room(self) -> None:
        """Delete weights, the worst trial's first and the best one's never."""
        while self._total > self.budget - self.reserved and len(self._ranks) > 1:
            number = self._ranks.pop()[-1]
            self._may_go_on.discard(number)
            self._total -= self._drop(number, BEST) + self._drop(number, CHECKPOINT)

    def _drop(self, number: int, name: str) -> int:
        """Delete a file of each repeat, and return the bytes."""
        freed = 0
        for path in self._trial(number).glob(f"*/{name}"):
            freed += path.stat().st_size
            path.unlink()
        return freed

    def _trial(self, number: int) -> Path:
        return trial_folder(self.folder, number)


def trial_folder(folder: Path, number: int) -> Path:
    """Return where the files of a trial go, below the folder of all of them."""
    return folder / f"{number:03d}"


def bytes_in(folder: Path) -> int:
    """Return the bytes of all files below a folder, 0 where there is none; other processes may be deleting there."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue
    return total


def keep_best(runs: Sequence[TrainingRun], epoch: int) -> None:
    """Keep the weights that a trial's runs have after an epoch (1-based), where they write checkpoints.

    Raises:
        NoSpaceError: the disk is full.
    """
    runs = [run for run in runs if (run.folder / CHECKPOINT).is_file()]
    if runs:
        from brainage_ray.training import checkpoint  # here: a process that has trained has loaded torch

        for run in runs:
            checkpoint.keep_best(run, epoch)


def reserve(plan: StudyPlan, at_once: int) -> float:
    """Return the bytes to keep free for the files of so many trials in flight.

    Of each repeat a checkpoint (weights and Adam's two moments) and the best weights, 4 bytes a number; and once a
    trial what is written beside the file that it replaces. Networks are the largest that the search may build.

    Raises:
        EngineError: they do not fit into search.checkpoint_gib together with the best trial's weights.
    """
    network, repeats = _largest_network(plan), plan.search.seeds_per_trial
    trial = network * (repeats * (_CHECKPOINT + _BEST) + _CHECKPOINT)
    best = network * repeats * _BEST
    budget = plan.search.checkpoint_gib * GIB
    if at_once * trial + best > budget:
        raise EngineError(
            f"the checkpoints of {plan.arm} do not fit into search.checkpoint_gib {plan.search.checkpoint_gib:.2g}: "
            f"{at_once} trials at once, {repeats} seeds each, take {at_once * trial / _MIB:.1f} MiB, and the best "
            f"trial's weights {best / _MIB:.1f} MiB",
            f"Raise search.checkpoint_gib to {1.01 * (at_once * trial + best) / GIB:.3g}, "
            f"or lower search.max_concurrent.",
        )
    return at_once * trial


def _largest_network(plan: StudyPlan) -> float:
    """Return the bytes of the weights of the largest network that a trial may build."""
    from brainage_ray.training.measure import count_weights  # seconds

    backbones = {run.backbone: run for run in (apply_params(plan.run, p) for p in _corners(plan))}
    return max(4 * weights + _NAME_BYTES * tensors for weights, tensors in map(count_weights, backbones.values()))


def _corners(plan: StudyPlan) -> list[dict[str, object]]:
    """Return all combinations of the extremes of what changes the network."""
    parameters: dict[str, Parameter] = {
        path: CategoricalParameter(type="categorical", choices=_extremes(parameter), when=parameter.when)
        for path, parameter in plan.search.space.parameters.items()
        if path.startswith("backbone.")
    }
    return grid_points(SearchSpace(parameters=parameters), plan.run) if parameters else [{}]


def _extremes(parameter: Parameter) -> tuple[Choice, ...]:
    if isinstance(parameter, Listed):
        return parameter.choices
    return tuple(dict.fromkeys((parameter.low, parameter.high)))
