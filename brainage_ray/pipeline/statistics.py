"""Stage 7: from predictions to everything that can be said about them."""

from __future__ import annotations

from brainage_ray.evaluation.analysis import Analysis, analyse
from brainage_ray.evaluation.arm_analysis import How, Predicted
from brainage_ray.evaluation.pretraining_effect import factors_of
from brainage_ray.pipeline.prepare import Prepared
from brainage_ray.pipeline.pretrain import Pretrained
from brainage_ray.pipeline.results import Results
from brainage_ray.pipeline.search import Searched, study_plan
from brainage_ray.pipeline.session import Session
from brainage_ray.pipeline.validation import Reading, read_validation


def analyse_results(session: Session, results: Results) -> Analysis:
    """Compute all statistics of an experiment.

    Raises:
        DataError: predictions that would give wrong numbers.
    """
    experiment = session.experiment
    settings = experiment.statistics
    how = How(
        diagnoses=experiment.evaluation.diagnoses,
        mae_diagnoses=experiment.training.diagnoses,
        correction=settings.correction,
        adjust_for=settings.adjust_for,
        bias_correction=settings.bias_correction,
        draws=settings.draws,
        seed=settings.seed,
    )
    readings = validation_readings(session, results.prepared, results.pretrained, results.searched)
    validation: dict[str, Predicted] = {arm: reading.predicted() for arm, reading in readings.items()}
    factors = factors_of(experiment.arms, experiment.pretraining)
    return analyse(results.predictions, experiment.evaluation.one_scan_per_subject, validation, factors, how)


def validation_readings(
    session: Session, prepared: Prepared, pretrained: Pretrained, searched: Searched
) -> dict[str, Reading]:
    """Return what each arm's chosen trial read in the validation split; without arms whose files are gone."""
    plans = {arm: study_plan(session, prepared, pretrained, arm) for arm in searched.selected}
    found = {arm: read_validation(plan, searched.selected[arm]) for arm, plan in plans.items()}
    return {arm: reading for arm, reading in found.items() if reading is not None}
