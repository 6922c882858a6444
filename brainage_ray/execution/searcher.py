"""Ray Tune's two doors to a study session: what to try next, and when to stop."""

from __future__ import annotations

from typing import Any

from ray import tune
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from brainage_ray.execution.session import StudySession


class StudySearcher(Searcher):  # type: ignore[misc]
    """Asks the session for trials and tells it of their ends. Keeps no state: the study is the truth."""

    def __init__(self, session: StudySession) -> None:
        super().__init__()
        self._session = session

    def suggest(self, trial_id: str) -> Any:
        """Return the next trial's runs, None for "later", or FINISHED."""
        with self._session.noting():
            runs = self._session.begin(trial_id)
        if runs is not None:
            return self._session.config(runs)
        return Searcher.FINISHED if self._session.finished else None

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Close a trial."""
        with self._session.noting():
            self._session.end(trial_id)

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Save nothing."""


class StudyStopper(tune.Stopper):  # type: ignore[misc]
    """Passes each report to the session, and stops the trials that it wants to stop."""

    def __init__(self, session: StudySession) -> None:
        self._session = session

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Hear a report."""
        with self._session.noting():
            return self._session.hear(trial_id, result)

    def stop_all(self) -> bool:
        """Never end the whole study."""
        return False


class StartingActors(FIFOScheduler):  # type: ignore[misc]
    """Lets an actor that is starting start.

    Tune's own gives an actor that is free to the oldest trial that waits, ends the one that was starting for it, and
    starts another for the newest: where trials are short, every trial costs a process.
    """

    def choose_trial_to_run(self, tune_controller: Any, **_: Any) -> None:
        """Choose none: then Tune gives a free actor to a trial that has none yet, in their order."""
