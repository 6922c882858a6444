"""Trials as candidates for the choice: their errors person by person, and what they would cost."""

from __future__ import annotations

from brainage_ray.config import apply_params
from brainage_ray.config.space import look_up
from brainage_ray.evaluation.arms import PersonErrors, person_errors
from brainage_ray.evaluation.choice import Candidate
from brainage_ray.execution import StudyPlan, TrialResult
from brainage_ray.models import count_weights
from brainage_ray.pipeline.validation import read_trial


def make_candidate(plan: StudyPlan, trial: TrialResult) -> Candidate:
    """Return a complete trial as a candidate.

    Where the lowest MAE alone decides, nothing but that is looked up.

    Args:
        plan: of the trial's study.
        trial: complete.
    """
    epochs, value = trial.best_epoch or 1, trial.best_value or 0.0
    if plan.search.choice == "best" and len(plan.search.objectives) == 1:
        return Candidate(trial.number, value, epochs=epochs)
    run = apply_params(plan.run, trial.params)
    own, tried = plan.run.to_json(), run.to_json()
    errors = _errors(plan, trial, epochs)
    return Candidate(
        name=trial.number,
        mae_years=value,
        weights=count_weights(run.backbone, run.training),
        epochs=epochs,
        changed=sum(look_up(own, path) != look_up(tried, path) for path in trial.params),
        sums_years=None if errors is None else errors.sums_years[plan.arm],
        n_scans=None if errors is None else errors.n_scans,
        delta_auc=trial.delta_auc,
    )


def _errors(plan: StudyPlan, trial: TrialResult, epochs: int) -> PersonErrors | None:
    reading = read_trial(plan, trial.number, trial.params, epochs)
    if reading is None:
        return None
    predicted = reading.predicted()
    return person_errors({plan.arm: predicted.brain_ages}, predicted.age, predicted.scans["person"].to_numpy())
