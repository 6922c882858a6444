"""From a study to the settings and the number of epochs that the final models get."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from brainage_ray.config.run import SettingsChange
from brainage_ray.errors import TrialFailed
from brainage_ray.evaluation.choice import Choice, choose
from brainage_ray.execution import StudyPlan, StudyResult
from brainage_ray.pipeline.candidates import make_candidate
from brainage_ray.pipeline.finalists import complete_trials, finalist_plan, finalists, seeds_of


@dataclass(frozen=True)
class Selected:
    """What the search chose for an arm, on the validation split alone."""

    trial: int
    """Number of the trial in its study."""
    params: dict[str, Any]
    """Value by dotted path."""
    epochs: int
    """Epoch at which the mean over the seeds was lowest, after smoothing: over the fresh seeds where there are some."""
    validation_mae: float
    """Years, mean over the fresh seeds, or over the trial's own where there are none."""
    search_mae: float | None = None
    """What the trial had in the search, years: the lowest of many, so too low by chance."""
    fresh_seeds: tuple[int, ...] = ()
    """That the choice was made on; none: it was made on the search's own values."""
    why: str = ""
    """Among what it was chosen, and by what rule."""
    changes: tuple[SettingsChange, ...] = ()
    """Of the settings while the trial trained, which the final models follow."""
    delta_auc: float | None = None
    """How well the brain-age delta told AD from CN on validation; where that is an objective."""

    @property
    def optimism_years(self) -> float | None:
        """By how much the search's value was too low; None without fresh seeds."""
        return self.validation_mae - self.search_mae if self.fresh_seeds and self.search_mae is not None else None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        changes = [change.to_json() for change in self.changes]
        return asdict(self) | {"optimism_years": self.optimism_years, "changes": changes}


def select(plan: StudyPlan, study: StudyResult, again: StudyResult | None = None) -> Selected:
    """Choose among the fully trained trials by the rule of the plan, see evaluation.choice.choose.

    Where finalists were trained again their fresh values choose, and no others: also between them.

    Args:
        plan: of the arm's study.
        study: what came of it.
        again: what came of its finalists; None: it has none.

    Raises:
        TrialFailed: no trial, or no finalist, was trained to its end.
    """
    last = None if again is None else finalist_plan(plan, study)
    voting_plan, voting = (plan, study) if last is None or again is None else (last, again)
    voters = {trial.number: trial for trial in complete_trials(voting)}
    if not voters:
        raise _nobody(plan.arm, "trial" if last is None else "finalist", voting)
    choice = choose([make_candidate(voting_plan, trial) for trial in voters.values()], plan.search.choice)
    voted = voters[choice.name]
    searched = voted if last is None else finalists(plan, study)[choice.name]
    return Selected(
        trial=searched.number,
        params=dict(searched.params),
        epochs=voted.best_epoch or 1,
        validation_mae=voted.best_value or 0.0,
        search_mae=searched.best_value,
        fresh_seeds=() if last is None else seeds_of(last),
        changes=searched.changes,
        delta_auc=voted.delta_auc,
        why=_why(plan, choice, len(voters), fresh=last is not None),
    )


def source(plan: StudyPlan, study: StudyResult, chosen: Selected) -> tuple[StudyPlan, int]:
    """Return the plan and the number of the trial whose reading of the validation split stands for the arm."""
    last = finalist_plan(plan, study) if chosen.fresh_seeds else None
    if last is None:
        return plan, chosen.trial
    return last, [trial.number for trial in finalists(plan, study)].index(chosen.trial)


def _nobody(arm: str, what: str, study: StudyResult) -> TrialFailed:
    reasons = "; ".join(dict.fromkeys(t.reason for t in study.trials if t.reason)) or "none was started"
    return TrialFailed(f"No {what} of arm {arm} was trained to its end: {reasons}", "Narrow the search space.")


def _why(plan: StudyPlan, choice: Choice, candidates: int, fresh: bool) -> str:
    among = f"{candidates} finalists" if fresh else f"{candidates} complete trials"
    over = f", mean over {plan.search.finalist_seeds} fresh seeds" if fresh else ""
    two = len(plan.search.objectives) > 1
    if len(choice.within) == 1 and choice.name == choice.best:
        alone = "" if plan.search.choice == "best" else ", and no other within one standard error of it"
        if two:
            alone = ", and any other within one standard error of it is beaten in MAE and AUC"
        return f"lowest MAE of {among}{over}{alone}"
    rule = "largest AUC of the delta" if two else "cheapest"
    standing = " that none beats in MAE and AUC" if two else ""
    return f"{rule} of {len(choice.within)} within one standard error of the lowest MAE{standing}, of {among}{over}"
