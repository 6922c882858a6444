"""Stage 7: from predictions to everything that can be said about them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from brainage_ray.data import read_parquet
from brainage_ray.evaluation.analysis import Analysis, Beside, analyse
from brainage_ray.evaluation.arm_analysis import How, Predicted
from brainage_ray.evaluation.predictions import baseline_scans
from brainage_ray.evaluation.pretraining_effect import factors_of
from brainage_ray.evaluation.scan_intervals import UncertaintyAnalysis, analyse_uncertainty
from brainage_ray.evaluation.slice_ages import SliceAges, SliceAnalysis, analyse_slices
from brainage_ray.pipeline.baseline import evaluate_ridge
from brainage_ray.pipeline.evaluate import SLICE_POSITIONS, SLICE_YEARS, prediction_file
from brainage_ray.pipeline.results import Results
from brainage_ray.pipeline.session import Session
from brainage_ray.pipeline.validation import Reading
from brainage_ray.pipeline.verdict import validation_readings


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
    searched = results.searched
    readings = validation_readings(searched.plans, searched.studies, searched.selected)
    validation: dict[str, Predicted] = {arm: reading.predicted() for arm, reading in readings.items()}
    factors = factors_of(experiment.arms, experiment.pretraining)
    read = {arm: _read_slices(session, results, arm, readings.get(arm)) for arm in experiment.arms}
    beside = Beside(
        slices={arm: slices for arm, (slices, _) in read.items() if slices},
        ridge=evaluate_ridge(session, results.prepared),
        uncertainty={arm: uncertainty for arm, (_, uncertainty) in read.items()},
    )
    one = experiment.evaluation.one_scan_per_subject
    return analyse(results.predictions, one, validation, factors, how, beside)


def _read_slices(
    session: Session, results: Results, arm: str, reading: Reading | None
) -> tuple[SliceAnalysis | None, UncertaintyAnalysis]:
    """Analyse the slices of the healthy test scans that count, None where there are none, and of all test scans."""
    models = [model for model in results.models if model.arm == arm]
    tables = [read_parquet(prediction_file(session, results.prepared, model)) for model in models]
    evaluation, healthy = session.experiment.evaluation, session.experiment.training.diagnoses
    scans = tables[0]
    counted = scans["diagnosis"].isin(healthy)
    if evaluation.one_scan_per_subject == "baseline":
        counted &= scans.index.isin(baseline_scans(scans).index)
    validation, rule = None if reading is None else reading.slices(), evaluation.aggregate
    mine = scans.index[counted]
    slices = analyse_slices(_slices(tables, mine), validation, rule) if len(mine) else None
    every = _slices(tables, scans.index)
    return slices, analyse_uncertainty(scans, counted.to_numpy(), every, validation, rule)


def _slices(tables: Sequence[pd.DataFrame], rows: pd.Index) -> SliceAges:
    """Return the slices of some test scans, as each model read them."""
    scans = tables[0].loc[rows]
    positions = [np.asarray(row, dtype=np.float64) for row in scans[SLICE_POSITIONS]]
    return SliceAges(
        years=np.stack([np.concatenate(list(table.loc[rows, SLICE_YEARS])) for table in tables]),
        scan=np.repeat(np.arange(len(scans)), [len(row) for row in positions]),
        position_mm=np.concatenate(positions),
        age=scans["age_years"].to_numpy(dtype=np.float64),
    )
