"""The budget of an arm's search: what is spent over all its starts, and whether that ends it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

from brainage_ray.config.search import BudgetConfig
from brainage_ray.errors import TrialFailed
from brainage_ray.execution.results import StudyPlan, StudyResult, TrialResult

if TYPE_CHECKING:
    from brainage_ray.execution.study import OpenTrial, Study

SPENT, BUDGET = "spent", "budget"
"""Names of a study's attributes: what its starts have spent, and the budget of the last one."""
NOTE_SECONDS = 30.0
"""At most so long ago was what is spent written down, while epochs come: what a killed driver forgets."""
HOUR = 3600.0


@dataclass(frozen=True)
class Spent:
    """What a search has used up."""

    seconds: float = 0.0
    """Wall clock."""
    gpu_seconds: float = 0.0
    """Sum over the trials of training time times the GPUs that a trial holds."""


def why_over(limits: BudgetConfig, spent: Spent, best: float | None) -> str:
    """Say which limit is reached, other than that of the trials; "" where none is.

    Args:
        limits: of the search.
        spent: so far.
        best: lowest validation MAE of its complete trials, years; None where none is complete.
    """
    hours, gpu_hours = spent.seconds / HOUR, spent.gpu_seconds / HOUR
    if limits.target_mae is not None and best is not None and best <= limits.target_mae:
        return f"{best:.3g} years reached search.budget.target_mae: {limits.target_mae:g}"
    if limits.max_hours is not None and hours >= limits.max_hours:
        return f"{hours:.3g} hours spent search.budget.max_hours: {limits.max_hours:g}"
    if limits.max_gpu_hours is not None and gpu_hours >= limits.max_gpu_hours:
        return f"{gpu_hours:.3g} GPU-hours spent search.budget.max_gpu_hours: {limits.max_gpu_hours:g}"
    return ""


def why_ended(limits: BudgetConfig, spent: Spent, trials: Sequence[TrialResult], wanted: int) -> str:
    """Say why a search ended before its trials were through; "" where it did not.

    Args:
        limits: of the search.
        spent: so far.
        trials: of the study.
        wanted: how many it is to have.
    """
    answered = sum(trial.state != "running" for trial in trials)
    if answered >= wanted and not any(was_cut(trial) for trial in trials):
        return ""
    over = why_over(limits, spent, best_complete(trials))
    if not over and limits.max_trials is not None and limits.max_trials <= answered < wanted:
        return f"{answered} trials spent search.budget.max_trials: {limits.max_trials}"
    return over


def was_cut(trial: TrialResult) -> bool:
    """Tell whether the budget stopped a trial: its reason says so, one that a scheduler stopped has none."""
    return trial.state == "pruned" and bool(trial.reason)


def best_complete(trials: Sequence[TrialResult]) -> float | None:
    """Return the lowest value of the complete trials, years; None where none is complete."""
    return min((t.best_value for t in trials if t.state == "complete" and t.best_value is not None), default=None)


def places_left(limits: BudgetConfig, unanswered: Sequence[int], wanted: int) -> list[int]:
    """Return the places that may still be tried, the first of those without an answer.

    Args:
        limits: of the search.
        unanswered: all places without an answer, in order.
        wanted: how many places the study has.
    """
    if limits.max_trials is None:
        return list(unanswered)
    return list(unanswered[: max(0, limits.max_trials - (wanted - len(unanswered)))])


def check_result(plan: StudyPlan, result: StudyResult) -> None:
    """Check that a search that its budget ended came to something.

    Raises:
        TrialFailed: no trial was trained to its end.
    """
    if result.ended and best_complete(result.trials) is None:
        raise TrialFailed(
            f"the search of {plan.arm} ended before any of its {len(result.trials)} trials was trained to its end: "
            f"{result.ended}",
            "Raise that limit and run again, which goes on, or train fewer epochs (training.max_epochs).",
        )


class BudgetWatch:
    """Counts what this start of a search spends, and writes it down beside what earlier ones spent.

    Args:
        plan: of the study.
        study: open.
    """

    def __init__(self, plan: StudyPlan, study: Study) -> None:
        self._limits, self._study = plan.search.budget, study
        self._gpus = plan.resources.gpus_of_trial(plan.search.workers_per_trial)
        self._before, self._start, self._noted = study.spent, monotonic(), monotonic()
        self._seconds: dict[str, float] = {}
        self._gpu_seconds = 0.0
        self._best = best_complete(study.result().trials)
        self.over = why_over(self._limits, self._before, self._best)
        """Why the search is to end; "" while it goes on."""

    def hear(self, trial: str, seconds: float) -> None:
        """Take down how long a trial has trained, and look at the clock."""
        self._gpu_seconds += max(0.0, seconds - self._seconds.get(trial, 0.0)) * self._gpus
        self._seconds[trial] = seconds
        self.look()

    def complete(self, value: float) -> None:
        """Take down the value of a complete trial, years."""
        self._best = value if self._best is None else min(value, self._best)
        self.look()

    def look(self) -> None:
        """See whether a limit is reached, and write down what is spent where that is news."""
        spent = self._spent()
        ends = "" if self.over else why_over(self._limits, spent, self._best)
        self.over = self.over or ends
        if ends or monotonic() - self._noted > NOTE_SECONDS:
            self.note()

    def note(self) -> None:
        """Write down what is spent."""
        self._noted = monotonic()
        self._study.spend(self._spent())

    def cut(self, trial: OpenTrial) -> None:
        """Write down that the budget stops a trial."""
        trial.cut = True
        trial.handle.set_user_attr("reason", self.over)

    def _spent(self) -> Spent:
        seconds = self._before.seconds + monotonic() - self._start
        return Spent(seconds, self._before.gpu_seconds + self._gpu_seconds)
