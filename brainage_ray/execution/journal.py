"""A study as an Optuna journal, a file that one driver writes and anybody may read; and what its trials say."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from brainage_ray.config.run import SettingsChange
from brainage_ray.config.search import BudgetConfig
from brainage_ray.data.files import no_space
from brainage_ray.errors import EngineError
from brainage_ray.execution.budget import BUDGET, SPENT, Spent, best_complete, was_cut, why_ended, why_over
from brainage_ray.execution.results import MACHINE, StudyResult, TrialResult
from brainage_ray.execution.samplers import PLACE

JOURNAL = "study.journal"
START, FAILURE = "start", "failure"
"""Names of a trial's attributes in the journal, besides its place: the start that tried it, how it failed."""
WANTED, STARTS = "wanted", "starts"
"""Names of the study's: the number of its trials, how often it was started."""
TRIES = 3
"""How often a start tries a place whose trial raised or lost its process, and came no further than before."""
_ENDED = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned"}


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


def read_places(study: optuna.Study, wanted: int) -> dict[int, list[FrozenTrial]]:
    """Return the tries of each wanted place that has any, in the order of the places."""
    tries: dict[int, list[FrozenTrial]] = defaultdict(list)
    for trial in study.get_trials(deepcopy=False):
        if trial.user_attrs.get(PLACE, wanted) < wanted:
            tries[trial.user_attrs[PLACE]].append(trial)
    return dict(sorted(tries.items()))


def first_start(places: Mapping[int, Sequence[FrozenTrial]], start: int) -> int:
    """Return the first start whose errors and losses count when `start` begins.

    Where no trial is complete it was the machine, maybe, and is mended now: only its own count. Else all do, so
    that a search is not trained once more for a few trials that failed.
    """
    complete = any(trial.state == TrialState.COMPLETE for tries in places.values() for trial in tries)
    return 0 if complete else start


def _is_answered(tries: Sequence[FrozenTrial], since: int) -> bool:
    """Tell whether the last try of a place has settled it.

    Args:
        tries: of the place, at least one, in their order.
        since: first start whose errors and losses count.
    """
    last = tries[-1]
    start, failure = last.user_attrs.get(START, 0), last.user_attrs.get(FAILURE)
    if failure not in MACHINE:
        return failure == "nan" or last.state in _ENDED
    now = [trial for trial in tries if trial.user_attrs.get(START, 0) == start]
    return start >= since and _vain_tries(now) >= TRIES


def _vain_tries(tries: Sequence[FrozenTrial]) -> int:
    """Count the failed tries since one got further than those before it: that one counts as the first."""
    vain, reached = 0, 0
    for trial in tries:
        if trial.user_attrs.get(FAILURE) in MACHINE:
            epoch = trial.last_step or 0
            vain = 1 if epoch > reached else vain + 1
            reached = max(reached, epoch)
    return vain


def read_trials(
    places: Mapping[int, Sequence[FrozenTrial]], wanted: int, since: int, budget: BudgetConfig, study: optuna.Study
) -> StudyResult:
    """Return the last try of each place; one that leaves it open says that it still runs.

    So does one that a smaller budget stopped, where this one lets it go on.
    """
    trials, spent = tuple(_trial_result(place, tries, since) for place, tries in places.items()), read_spent(study)
    if not why_over(budget, spent, best_complete(trials)):
        trials = tuple(replace(trial, state="running") if was_cut(trial) else trial for trial in trials)
    return StudyResult(trials, wanted, why_ended(budget, spent, trials, wanted))


def read_spent(study: optuna.Study) -> Spent:
    """Return what all starts of a study have spent."""
    return Spent(**study.user_attrs.get(SPENT, {}))


def read_budget(study: optuna.Study) -> BudgetConfig:
    """Return the budget of a study's last start."""
    return BudgetConfig.model_validate(study.user_attrs.get(BUDGET, {}))


def _trial_result(place: int, tries: Sequence[FrozenTrial], since: int) -> TrialResult:
    trial = tries[-1]
    state: Any = _ENDED.get(trial.state, "failed") if _is_answered(tries, since) else "running"
    noted = trial.user_attrs
    seed_values = tuple(tuple(seeds) for seeds in noted.get("seed_values", ()))
    values = tuple(sum(seeds) / len(seeds) for seeds in seed_values)
    return TrialResult(
        number=place,
        params=dict(trial.params),
        state=state,
        values=values or tuple(trial.intermediate_values[epoch] for epoch in sorted(trial.intermediate_values)),
        seed_values=seed_values,
        best_value=noted.get("best_value"),
        best_epoch=noted.get("best_epoch"),
        delta_auc=noted.get("delta_auc"),
        seconds=noted.get("seconds", 0.0),
        reason=noted.get("reason", ""),
        changes=tuple(SettingsChange.model_validate(change) for change in noted.get("changes", ())),
    )


def journal_storage(folder: Path) -> JournalStorage:
    """Open the journal of a folder."""
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


def mend(journal: Path) -> None:
    """Drop what a killed driver left: Optuna's own lock, and half a line, after which Optuna could read no more."""
    for leftover in journal.parent.glob(f"{journal.name}.lock*"):
        leftover.unlink()
    if not journal.is_file():
        return
    whole = journal.read_bytes().rfind(b"\n") + 1
    if whole < journal.stat().st_size:
        os.truncate(journal, whole)
