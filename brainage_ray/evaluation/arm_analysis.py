"""Everything that the deltas of one arm say: regression, diagnoses, sites, follow-up, correction of the bias."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainage_ray.evaluation.bias import BiasCorrection, BiasMethod, apply_by_seed, fit_bias
from brainage_ray.evaluation.comparisons import PairComparison, compare_pairs
from brainage_ray.evaluation.contrasts import AdjustedContrasts, Covariates, adjusted_contrasts
from brainage_ray.evaluation.deltas import GroupDelta, brain_age_delta, delta_by_diagnosis
from brainage_ray.evaluation.group_tests import (
    DeltaInterval,
    OmnibusTest,
    TrendTest,
    delta_intervals,
    jonckheere_trend,
    kruskal_wallis,
)
from brainage_ray.evaluation.longitudinal import (
    GroupSlope,
    RepeatReliability,
    person_slopes,
    repeat_reliability,
    slopes_by_diagnosis,
)
from brainage_ray.evaluation.metrics import MaeSummary, summarise_mae
from brainage_ray.evaluation.permutation import PermutationComparison, PermutationSettings, compare_people
from brainage_ray.evaluation.regression import RegressionSummary, summarise_regression
from brainage_ray.evaluation.shift import Resampling, Shift, describe_shift, group_by, group_by_decade


@dataclass(frozen=True)
class How:
    """What is compared, and how."""

    diagnoses: tuple[str, ...]
    """The groups, from the smallest expected delta to the largest."""
    mae_diagnoses: tuple[str, ...]
    """Whose scans count for errors: those of the people that the models learned from."""
    correction: Literal["holm", "none"] = "holm"
    """Of p over pairs."""
    adjust_for: tuple[str, ...] = ("age", "sex", "site")
    """Of the contrasts."""
    bias_correction: BiasMethod | Literal["none"] = "de_lange"
    draws: int = 10_000
    """Of every bootstrap and permutation."""
    seed: int = 0
    """Of the same."""


@dataclass(frozen=True, eq=False)
class Predicted:
    """Scans as one arm's models read them."""

    scans: pd.DataFrame
    """One row a scan: person, diagnosis, sex, site, age_years."""
    brain_ages: NDArray[np.float64]
    """[n_seeds, n_scans], years."""
    seeds: tuple[int, ...]

    @property
    def age(self) -> NDArray[np.float64]:
        """Chronological, years, [n_scans]."""
        return self.scans["age_years"].to_numpy(dtype=np.float64)

    @property
    def deltas(self) -> NDArray[np.float64]:
        """Brain-age delta, years, [n_seeds, n_scans]."""
        return brain_age_delta(self.brain_ages, self.age)

    def column(self, name: str) -> NDArray[Any]:
        """Return a column of the scans, [n_scans]."""
        return self.scans[name].to_numpy(dtype=object)

    def of(self, diagnoses: Sequence[str]) -> Predicted:
        """Return the scans of some diagnoses."""
        rows = np.isin(self.column("diagnosis"), list(diagnoses))
        return Predicted(self.scans[rows].reset_index(drop=True), self.brain_ages[:, rows], self.seeds)


@dataclass(frozen=True)
class Corrected:
    """The results with regression to the mean taken out, as far as the validation split shows it."""

    correction: BiasCorrection
    mae: MaeSummary | None = None
    """None where there is no correction, or none that predicts an age: de Lange's looks at the true age."""
    deltas: tuple[GroupDelta, ...] = ()
    pairs: tuple[PairComparison, ...] = ()


@dataclass(frozen=True)
class ArmAnalysis:
    """One arm. All but `people`, `slopes` and `reliability` count the scans that the experiment counts."""

    arm: str
    regression: RegressionSummary
    """Of the diagnoses whose scans count for the MAE."""
    intervals: tuple[DeltaInterval, ...]
    omnibus: OmnibusTest
    trend: TrendTest
    contrasts: AdjustedContrasts
    people: tuple[PermutationComparison, ...]
    """Over all scans of a person."""
    slopes: tuple[GroupSlope, ...]
    """Over all scans of a person."""
    reliability: RepeatReliability
    """Over all scans of a person."""
    shift: tuple[Shift, ...]
    """By site, sex and age decade, of the diagnoses whose scans count for the MAE."""
    corrected: Corrected | None
    """None where no correction is asked for, or where there are no validation predictions."""


def analyse_arm(arm: str, counted: Predicted, every: Predicted, validation: Predicted | None, how: How) -> ArmAnalysis:
    """Compute all numbers of one arm.

    Args:
        arm: its name.
        counted: test scans that count, one a person if the experiment says so.
        every: all test scans.
        validation: healthy validation scans, one a person, as models read them that were not fitted on them;
            None where there are none.
        how: what is compared.

    Raises:
        DataError: a value is not finite, or a scan belongs to no person.
    """
    deltas, diagnosis = counted.deltas, counted.column("diagnosis")
    healthy = counted.of(how.mae_diagnoses)
    everybody = (every.deltas, every.age, every.column("person"))
    settings = PermutationSettings(how.draws, how.seed, correction=how.correction)
    return ArmAnalysis(
        arm=arm,
        regression=summarise_regression(healthy.brain_ages, healthy.age, healthy.seeds),
        intervals=delta_intervals(deltas, diagnosis, how.diagnoses),
        omnibus=kruskal_wallis(deltas, diagnosis, how.diagnoses),
        trend=jonckheere_trend(deltas, diagnosis, how.diagnoses),
        contrasts=_contrasts(counted, how),
        people=compare_people(
            every.deltas, every.column("diagnosis"), every.column("person"), every.age, how.diagnoses, settings
        ),
        slopes=slopes_by_diagnosis(person_slopes(*everybody), every.column("diagnosis"), how.diagnoses),
        reliability=repeat_reliability(*everybody),
        shift=_shift(healthy, Resampling(how.draws, how.seed)) if len(healthy.age) else (),
        corrected=_correct(counted, validation, how),
    )


def _contrasts(predicted: Predicted, how: How) -> AdjustedContrasts:
    covariates = Covariates(
        age=predicted.age if "age" in how.adjust_for else None,
        sex=predicted.column("sex") if "sex" in how.adjust_for else None,
        site=predicted.column("site") if "site" in how.adjust_for else None,
    )
    diagnosis, person = predicted.column("diagnosis"), predicted.column("person")
    return adjusted_contrasts(predicted.deltas, diagnosis, how.diagnoses, covariates, person, how.correction)


def _shift(healthy: Predicted, resampling: Resampling) -> tuple[Shift, ...]:
    groupings = (
        group_by("site", healthy.column("site")),
        group_by("sex", healthy.column("sex")),
        group_by_decade(healthy.age),
    )
    person = healthy.column("person")
    return tuple(describe_shift(healthy.brain_ages, healthy.age, person, by, resampling) for by in groupings)


def _correct(counted: Predicted, validation: Predicted | None, how: How) -> Corrected | None:
    """Fit one line on the mean of the validation models: they are other models than the final ones."""
    if validation is None or how.bias_correction == "none":
        return None
    line = fit_bias(validation.brain_ages.mean(axis=0), validation.age, how.bias_correction, "validation")
    if line.reason:
        return Corrected(line)
    brain_ages = apply_by_seed([line] * len(counted.seeds), counted.brain_ages, counted.age)
    deltas, diagnosis = brain_age_delta(brain_ages, counted.age), counted.column("diagnosis")
    healthy = np.isin(diagnosis, list(how.mae_diagnoses))
    predicts = line.method == "cole"
    return Corrected(
        correction=line,
        mae=summarise_mae(brain_ages[:, healthy], counted.age[healthy], counted.seeds) if predicts else None,
        deltas=delta_by_diagnosis(deltas, diagnosis, how.diagnoses),
        pairs=compare_pairs(deltas, diagnosis, how.diagnoses, how.correction),
    )
