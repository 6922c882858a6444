"""The file of a study: an Optuna journal that one driver writes and anybody may read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from brainage_ray.data.files import no_space
from brainage_ray.errors import EngineError
from brainage_ray.execution.results import StudyResult, TrialResult

JOURNAL = "study.journal"
PLACE, FAILURE, WANTED = "place", "failure", "wanted"
"""Names of attributes in the journal: a trial's place in the study, how it failed; the study's number of trials."""


def lock_study(folder: Path) -> FileLock:
    """Make a study this process's own until the lock is released, or the process dies.

    Raises:
        EngineError: another process has it.
    """
    lock = FileLock(folder / "study.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise EngineError(f"another process is at work on {folder}", "Wait for it, or stop it.") from None
    return lock


def open_study(folder: Path, pruner: optuna.pruners.BasePruner) -> optuna.Study:
    """Open the study of a folder to write, or begin it; only with its lock."""
    _mend(folder / JOURNAL)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.create_study(study_name=JOURNAL, storage=_storage(folder), pruner=pruner, load_if_exists=True)


def load_study_result(folder: Path, wanted: int | None = None) -> StudyResult | None:
    """Read a study, finished or not, without changing it.

    Args:
        folder: of the study's plan.
        wanted: number of trials that the study is to have; None: as it was last run.

    Returns:
        Its trials, without those beyond the wanted number; None where no study was begun.
    """
    if not (folder / JOURNAL).is_file():
        return None
    try:
        study = optuna.load_study(study_name=JOURNAL, storage=_storage(folder))
    except KeyError:
        return None
    return read_trials(study, wanted)


def read_trials(study: optuna.Study, wanted: int | None = None) -> StudyResult:
    """Return the last trial of each wanted place; one that was only interrupted says that its place still runs."""
    wanted = int(study.user_attrs.get(WANTED, 0)) if wanted is None else wanted
    latest = {trial.user_attrs[PLACE]: trial for trial in study.get_trials() if PLACE in trial.user_attrs}
    trials = tuple(_trial_result(place, latest[place]) for place in sorted(latest) if place < wanted)
    return StudyResult(trials, wanted)


def _trial_result(place: int, trial: FrozenTrial) -> TrialResult:
    states = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
    state: Any = states.get(trial.state, "running")
    noted = trial.user_attrs
    if state == "failed" and noted.get(FAILURE, "interrupted") == "interrupted":
        state = "running"
    seed_values = tuple(tuple(seeds) for seeds in noted.get("seed_values", ()))
    return TrialResult(
        number=place,
        params=trial.params,
        state=state,
        values=tuple(sum(seeds) / len(seeds) for seeds in seed_values),
        seed_values=seed_values,
        best_value=noted.get("best_value"),
        best_epoch=noted.get("best_epoch"),
        seconds=noted.get("seconds", 0.0),
        reason=noted.get("reason", ""),
    )


def _storage(folder: Path) -> JournalStorage:
    return JournalStorage(_WholeLines(str(folder / JOURNAL)))


class _WholeLines(JournalFileBackend):  # type: ignore[misc]
    """A journal to which lines are added whole or not at all: after half a line Optuna can read no more."""

    def __init__(self, file_path: str) -> None:
        super().__init__(file_path)
        self._path = Path(file_path)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Add lines.

        Raises:
            NoSpaceError: the disk is full; the journal is as it was.
        """
        before = self._path.stat().st_size  # the lock of the study keeps other writers away
        try:
            with no_space(self._path.parent):
                super().append_logs(logs)
        except BaseException:
            os.truncate(self._path, before)
            raise


def _mend(journal: Path) -> None:
    """Drop what a killed driver left: Optuna's own lock, and half a line, after which Optuna could read no more."""
    for leftover in journal.parent.glob(f"{journal.name}.lock*"):
        leftover.unlink()
    if not journal.is_file():
        return
    whole = journal.read_bytes().rfind(b"\n") + 1
    if whole < journal.stat().st_size:
        os.truncate(journal, whole)
