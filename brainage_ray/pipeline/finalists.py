"""The finalists of an arm: its best trials, trained again with seeds that none of its trials had.

The lowest of many noisy values is too low (the winner's curse); the same settings with fresh seeds are not chosen by
the values that judge them. They are a study of their own, so that they resume, fail and are tracked as trials do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from brainage_ray.config.run import InitialWeights
from brainage_ray.config.search import BudgetConfig
from brainage_ray.execution import StudyPlan, StudyResult, TrialResult


def complete_trials(study: StudyResult) -> list[TrialResult]:
    """Return the trials that were trained to their end, the lowest value first; of equals the first.

    Trials that the scheduler stopped do not stand for election: their best epoch was cut short.
    """
    complete = [t for t in study.trials if t.state == "complete" and t.best_value is not None]
    return sorted(complete, key=lambda t: (t.best_value or 0.0, t.number))


def finalists(plan: StudyPlan, study: StudyResult) -> list[TrialResult]:
    """Return the trials that are trained again, the best first; trial i of the finalists' study is the i-th of them."""
    return complete_trials(study)[: plan.search.finalists]


def finalist_plan(plan: StudyPlan, study: StudyResult) -> StudyPlan | None:
    """Return the study of an arm's finalists; None where it has none.

    Args:
        plan: of the arm's search.
        study: what came of it, all of it.
    """
    chosen = finalists(plan, study)
    if not chosen:
        return None
    search, used = plan.search, plan.search.seeds_per_trial
    fresh = {
        "seed": search.seed + used, "seeds_per_trial": search.finalist_seeds, "trials": len(chosen),
        "sampler": "random", "scheduler": "none", "start_from": None, "finalists": 0, "budget": BudgetConfig(),
    }  # fmt: skip
    again = replace(
        plan,
        search=search.model_copy(update=fresh),
        initial=_rotated(plan.initial, used),
        first=tuple(trial.params for trial in chosen),
        kind="finalist",
    )
    return replace(again, folder=plan.folder / "finalists" / again.key)


def seeds_of(plan: StudyPlan) -> tuple[int, ...]:
    """Return the seeds of each trial of a study."""
    return tuple(range(plan.search.seed, plan.search.seed + plan.search.seeds_per_trial))


def _rotated(weights: Sequence[InitialWeights], by: int) -> tuple[InitialWeights, ...]:
    """Go on with the pre-trained weights where the trials' repeats stopped."""
    start = by % len(weights) if weights else 0
    return (*weights[start:], *weights[:start])
