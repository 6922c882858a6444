"""How long work shows itself: bars that the command line draws, fed by what trainings report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from brainage_ray.training.recorder import Recorder, RunInfo, Status


class Progress(Protocol):
    """One bar at a time, and lines between the bars."""

    def begin(self, name: str, total: int, unit: str) -> None:
        """Start a bar over `total` units."""

    def advance(self, count: int = 1, note: str = "") -> None:
        """Move the bar on; a note replaces the last one."""

    def skip(self, count: int = 1, note: str = "") -> None:
        """Move the bar by what an earlier run had done: it says nothing of the pace of this one."""

    def spare(self, count: int) -> None:
        """Take units off the total that nobody has to do."""

    def end(self) -> None:
        """Take the bar away, if there is one."""

    def say(self, line: str) -> None:
        """Print a line that stays."""


class Silent:
    """Shows nothing; for notebooks and tests."""

    def begin(self, name: str, total: int, unit: str) -> None:
        """Ignore a bar."""

    def advance(self, count: int = 1, note: str = "") -> None:
        """Ignore a step."""

    def skip(self, count: int = 1, note: str = "") -> None:
        """Ignore a step."""

    def spare(self, count: int) -> None:
        """Ignore what need not be done."""

    def end(self) -> None:
        """Ignore an end."""

    def say(self, line: str) -> None:
        """Ignore a line."""


class EpochProgress:
    """A recorder that moves a bar by one for each epoch and notes what is best so far.

    Best is the lowest of the trials that were trained to their end, among which one is chosen, once there are some.

    Args:
        progress: where the bar is.
        epochs: how many epochs a run has at most, by its key; other runs have `default_epochs`.
        default_epochs: for runs that are not in `epochs`.
    """

    def __init__(self, progress: Progress, epochs: Mapping[str, int], default_epochs: int = 0) -> None:
        self._progress = progress
        self._epochs = epochs
        self._default = default_epochs
        self._seen: dict[str, int] = {}
        self._trained: dict[str, int] = {}
        """How many epochs of a run an earlier start had trained, where it had."""
        self._names: dict[str, str] = {}
        self._lowest: tuple[float, str] | None = None
        self._best: tuple[float, str] | None = None

    def started(self, run: RunInfo) -> None:
        """Remember the run's name for the note, and what an earlier start had trained of it."""
        self._names[run.key] = run.name
        if run.trained:
            self._trained[run.key] = run.trained

    def epoch(self, key: str, epoch: int, metrics: Mapping[str, float]) -> None:
        """Move the bar to this epoch; epochs of an earlier start count as done, and not for the pace."""
        steps = epoch - self._seen.get(key, 0)
        if steps > 0:
            self._seen[key] = epoch
            move = self._progress.skip if epoch <= self._trained.get(key, 0) else self._progress.advance
            move(steps, self._note(key, metrics))

    def finished(self, key: str, status: Status, metrics: Mapping[str, float]) -> None:
        """Take off the epochs that a run will not train any more, and note the value of a complete trial."""
        if status == "complete" and "best_validation_mae" in metrics:
            candidate = (metrics["best_validation_mae"], self._names.get(key, key))
            self._best = min(self._best or candidate, candidate)
            self._progress.advance(0, self._best_note())
        left = self._epochs.get(key, self._default) - self._seen.get(key, 0)
        if left > 0:
            self._progress.spare(left)
        self._seen[key] = self._epochs.get(key, self._default)

    def _best_note(self) -> str:
        if self._best is not None:
            return f"best {self._best[0]:.2f} years ({self._best[1]})"
        return f"lowest so far {self._lowest[0]:.2f} years ({self._lowest[1]})" if self._lowest else ""

    def _note(self, key: str, metrics: Mapping[str, float]) -> str:
        if "validation_mae" in metrics:
            candidate = (metrics["validation_mae"], self._names.get(key, key))
            self._lowest = min(self._lowest or candidate, candidate)
            return self._best_note()
        if "validation_dice_mean" in metrics:
            return f"Dice {metrics['validation_dice_mean']:.3f} ({self._names.get(key, key)})"
        return f"loss {metrics.get('train_loss', float('nan')):.4f} ({self._names.get(key, key)})"


class Fanout:
    """A recorder that passes everything on to several."""

    def __init__(self, recorders: Sequence[Recorder]) -> None:
        self._recorders = recorders

    def started(self, run: RunInfo) -> None:
        """Pass on."""
        for recorder in self._recorders:
            recorder.started(run)

    def epoch(self, key: str, epoch: int, metrics: Mapping[str, float]) -> None:
        """Pass on."""
        for recorder in self._recorders:
            recorder.epoch(key, epoch, metrics)

    def finished(self, key: str, status: Status, metrics: Mapping[str, float]) -> None:
        """Pass on."""
        for recorder in self._recorders:
            recorder.finished(key, status, metrics)
