"""All statistics of an experiment beyond its tables of results: by arm, between arms, over arms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd

from brainage_ray.evaluation.arm_analysis import ArmAnalysis, How, Predicted, analyse_arm
from brainage_ray.evaluation.arms import ArmComparison, compare_arms
from brainage_ray.evaluation.biomarker import BiomarkerCorrelation, Scans, mae_and_separation
from brainage_ray.evaluation.predictions import ScanPredictions, pivot_predictions
from brainage_ray.evaluation.pretraining_effect import ArmFactors, PretrainingEffect, pretraining_effect
from brainage_ray.evaluation.ridge import RidgeResult
from brainage_ray.evaluation.scan_intervals import UncertaintyAnalysis
from brainage_ray.evaluation.slice_ages import SliceAnalysis


@dataclass(frozen=True)
class Beside:
    """Results that need more than the table of predictions."""

    slices: Mapping[str, SliceAnalysis] = field(default_factory=dict)
    """By arm."""
    ridge: RidgeResult | None = None
    uncertainty: Mapping[str, UncertaintyAnalysis] = field(default_factory=dict)
    """By arm."""


@dataclass(frozen=True)
class Analysis:
    """The statistics of an experiment."""

    arms: tuple[ArmAnalysis, ...]
    comparisons: tuple[ArmComparison, ...]
    """Test MAE, every pair of arms; none for one arm."""
    pretraining: PretrainingEffect | None
    """None where no scan counts for the MAE."""
    biomarker: BiomarkerCorrelation | None
    """Does the arm with the smaller error separate better? None for fewer than two diagnoses."""
    slices: Mapping[str, SliceAnalysis]
    """By arm: the error by position and rule of aggregation, of the scans that count for the MAE."""
    ridge: RidgeResult | None
    """The classical baseline; None where it was not asked for."""
    uncertainty: Mapping[str, UncertaintyAnalysis]
    """By arm: of every test scan, and how it agrees with the errors of those that count for the MAE."""

    def arm(self, name: str) -> ArmAnalysis:
        """Return one arm's statistics."""
        return next(arm for arm in self.arms if arm.arm == name)

    def to_json(self) -> dict[str, Any]:
        """Return the numbers as plain JSON values; None where there is none."""
        return asdict(self)


def analyse(
    predictions: pd.DataFrame,
    one_scan_per_subject: Literal["baseline", "all"],
    validation: Mapping[str, Predicted],
    factors: ArmFactors,
    how: How,
    beside: Beside | None = None,
) -> Analysis:
    """Compute everything.

    Args:
        predictions: one row per arm, seed and test scan; columns as in evaluation.predictions.COLUMNS.
        one_scan_per_subject: "baseline": each person's first scan counts; the others in what follows people only.
        validation: by arm: healthy validation scans as models read them that were not fitted on them; an arm that is
            missing gets no bias correction.
        factors: what the arms are made of.
        how: what is compared.
        beside: what does not come from the predictions; passed on.

    Raises:
        DataError: predictions that would give wrong numbers.
    """
    counted = pivot_predictions(predictions, one_scan_per_subject)
    every = pivot_predictions(predictions, "all")
    arms = tuple(
        analyse_arm(arm, _of(counted, arm), _of(every, arm), validation.get(arm), how) for arm in counted.brain_ages
    )
    beside = beside or Beside()
    return Analysis(arms, *_between(counted, factors, how), beside.slices, beside.ridge, beside.uncertainty)


def _between(
    counted: ScanPredictions, factors: ArmFactors, how: How
) -> tuple[tuple[ArmComparison, ...], PretrainingEffect | None, BiomarkerCorrelation | None]:
    healthy = {arm: _of(counted, arm).of(how.mae_diagnoses) for arm in counted.brain_ages}
    some = next(iter(healthy.values()))
    comparisons: tuple[ArmComparison, ...] = ()
    effect = None
    if len(some.age):
        brain_ages = {arm: predicted.brain_ages for arm, predicted in healthy.items()}
        people = (some.age, some.column("person"))
        comparisons = compare_arms(brain_ages, *people, n_draws=how.draws, seed=how.seed)
        effect = pretraining_effect(brain_ages, *people, factors)
    return comparisons, effect, _biomarker(counted, how)


def _biomarker(counted: ScanPredictions, how: How) -> BiomarkerCorrelation | None:
    if len(how.diagnoses) < 2:
        return None
    scans = counted.scans
    known = Scans(
        age=scans["age_years"].to_numpy(dtype=np.float64),
        person=scans["person"].to_numpy(dtype=object),
        diagnosis=scans["diagnosis"].to_numpy(dtype=object),
    )
    pair = (how.diagnoses[-2], how.diagnoses[-1])
    draws = max(100, min(how.draws, 2_000))
    return mae_and_separation(counted.brain_ages, known, pair, how.mae_diagnoses, draws, how.seed)


def _of(table: ScanPredictions, arm: str) -> Predicted:
    return Predicted(table.scans, table.brain_ages[arm], table.seeds[arm])
