"""Trials that have stopped saying anything: a process that hangs looks like one that trains."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ray import tune

if TYPE_CHECKING:
    from brainage_ray.execution.session import StudySession

PATIENCE = 10
"""Times its slowest epoch so far that a trial may take over the next one."""


class Silence:
    """How long each trial has been silent.

    Args:
        seconds: that any trial may be.
        clock: seconds since some moment.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._heard: dict[str, float] = {}
        self._slowest: dict[str, float] = {}

    def begin(self, trial: str) -> None:
        """Listen to a trial from now on."""
        self._heard[trial], self._slowest[trial] = self._clock(), 0.0

    def hear(self, trial: str) -> None:
        """Take down that a trial has reported an epoch."""
        if trial in self._heard:
            now = self._clock()
            self._slowest[trial] = max(self._slowest[trial], now - self._heard[trial])
            self._heard[trial] = now

    def end(self, trial: str) -> None:
        """Listen no longer."""
        self._heard.pop(trial, None)

    def too_long(self) -> dict[str, float]:
        """Return how long each of the trials has been silent that were for longer than they may, seconds."""
        now = self._clock()
        silent = {trial: now - heard for trial, heard in self._heard.items()}
        return {t: seconds for t, seconds in silent.items() if seconds > self._may_be(t)}

    def _may_be(self, trial: str) -> float:
        return max(self._seconds, PATIENCE * self._slowest[trial])


class SilenceWatch(tune.Callback):  # type: ignore[misc]
    """Ends the processes of silent trials, which Tune then finds lost."""

    def __init__(self, session: StudySession, minutes: float) -> None:
        self._session, self._silence = session, Silence(60 * minutes)

    def on_trial_start(self, iteration: int, trials: Sequence[Any], trial: Any, **info: Any) -> None:
        """Listen to a trial whose process is there."""
        self._silence.begin(trial.trial_id)

    def on_trial_result(
        self, iteration: int, trials: Sequence[Any], trial: Any, result: Mapping[str, Any], **info: Any
    ) -> None:
        """Hear an epoch."""
        self._silence.hear(trial.trial_id)

    def on_trial_complete(self, iteration: int, trials: Sequence[Any], trial: Any, **info: Any) -> None:
        """Listen no longer."""
        self._silence.end(trial.trial_id)

    def on_trial_error(self, iteration: int, trials: Sequence[Any], trial: Any, **info: Any) -> None:
        """Listen no longer."""
        self._silence.end(trial.trial_id)

    def on_trial_save(self, iteration: int, trials: Sequence[Any], trial: Any, **info: Any) -> None:
        """Listen no longer to a trial that may be paused; its next epoch or start is heard again."""
        self._silence.end(trial.trial_id)

    def on_step_end(self, iteration: int, trials: Sequence[Any], **info: Any) -> None:
        """End what is silent."""
        import ray

        for trial_id, seconds in self._silence.too_long().items():
            trial = next(trial for trial in trials if trial.trial_id == trial_id)
            self._silence.end(trial_id)
            self._session.lose(trial_id, f"it reported no epoch for {seconds / 60:.3g} minutes and was ended")
            if trial.temporary_state.ray_actor is not None:
                ray.kill(trial.temporary_state.ray_actor)
