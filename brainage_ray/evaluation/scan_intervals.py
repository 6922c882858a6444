"""The uncertainty of every test scan, scaled on the validation split, and how far it can be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm

from brainage_ray.errors import DataError
from brainage_ray.evaluation.deltas import brain_age_delta
from brainage_ray.evaluation.predictions import SCAN
from brainage_ray.evaluation.slice_ages import Rule, SliceAges, combine
from brainage_ray.evaluation.uncertainty import (
    Calibration,
    ScanUncertainty,
    UncertaintyScale,
    calibrate,
    fit_scale,
    scan_uncertainty,
)

Spread = Literal["seeds and slices", "slices", "seeds"]
LEVEL = 0.95
"""Nominal share of healthy scans whose age lies inside their interval."""
NAMES = [*SCAN, "diagnosis"]
"""Columns that an interval takes over from the table of scans."""


@dataclass(frozen=True)
class ScanInterval:
    """One test scan; standard deviations in years, None where there is none."""

    cohort: str
    subject: str
    session: str
    image: str
    diagnosis: str
    age_years: float
    brain_age_years: float
    """Mean over the seeds."""
    sd_seeds_years: float | None
    sd_slices_years: float | None
    low_years: float | None
    """Of the interval in which a healthy person's age lies for 95 % of the scans; None without a scale."""
    high_years: float | None


@dataclass(frozen=True)
class SpreadResult:
    """One kind of uncertainty, on the healthy test scans that count."""

    spread: Spread
    median_years: float | None
    raw: Calibration
    """Of the spread as it is."""
    factor: float | None = None
    """Fitted on the validation split."""
    n_validation: int = 0
    scaled: Calibration | None = None
    """Of the spread times the factor."""
    reason: str = ""
    """Why a number is missing."""


@dataclass(frozen=True)
class UncertaintyAnalysis:
    """The uncertainty of one arm."""

    results: tuple[SpreadResult, ...]
    """One a kind that the test scans have."""
    used: Spread | None
    """What the intervals are made from; None where no kind has a scale."""
    scans: tuple[ScanInterval, ...]


def analyse_uncertainty(
    scans: pd.DataFrame, counted: NDArray[np.bool_], test: SliceAges, validation: SliceAges | None, rule: Rule
) -> UncertaintyAnalysis:
    """Compute the spread of each test scan over seeds and slices, and compare it with the errors that happened.

    Args:
        scans: the test scans, n_scans rows with the columns of NAMES.
        counted: [n_scans], healthy scans, one a person, whose errors can be looked at.
        test: the slices of all test scans, as the final models read them.
        validation: the slices of healthy validation scans, one a person, as models read them that were not fitted on
            them; None where there are none.
        rule: how slices become a scan's brain age. Where it is the median, the spread is the median absolute
            deviation, which outlying slices do not move either.

    Raises:
        DataError: shapes that do not fit, a scan without slices, or a value that is not finite.
    """
    if not len(scans) == len(counted) == test.age.size:
        problem = f"{len(scans)} scans, {len(counted)} marks and {test.age.size} ages do not fit"
        raise DataError(problem, "Give one of each for every test scan.")
    brain_age, found = spreads(test, rule)
    error = brain_age_delta(brain_age, test.age)[counted]
    kinds, scales = _by_kind(found), fit_scales(validation, rule)
    results = tuple(_result(kind, values[counted], error, scales.get(kind)) for kind, values in kinds.items())
    used = next((row.spread for row in results if row.factor is not None), None)
    margin = scaled_margin(found, scales)
    return UncertaintyAnalysis(results, used, _rows(scans, test.age, brain_age, found, margin))


def scaled_margin(found: ScanUncertainty, scales: Mapping[Spread, UncertaintyScale]) -> NDArray[np.float64] | None:
    """Return half the width of each scan's interval at LEVEL, [n_scans], years; None where no spread has a scale.

    Args:
        found: the spreads of some scans.
        scales: of fit_scales.
    """
    for kind, values in _by_kind(found).items():
        if (scale := scales.get(kind)) is not None and scale.factor is not None:
            return np.asarray(norm.ppf((1 + LEVEL) / 2) * scale.apply(values), dtype=np.float64)
    return None


def spreads(slices: SliceAges, rule: Rule) -> tuple[NDArray[np.float64], ScanUncertainty]:
    """Return the mean brain age over the models, [n_scans], years, and its spreads, see analyse_uncertainty."""
    brain_ages = np.stack([combine(row, slices.scan, slices.age.size, rule) for row in slices.years])
    found = scan_uncertainty(brain_ages, slices.years, slices.scan, "mad" if rule == "median" else "sd")
    return brain_ages.mean(axis=0), found


def _by_kind(found: ScanUncertainty) -> dict[Spread, NDArray[np.float64]]:
    """Return the spreads that there are, the one that knows most first: the first with a scale makes the intervals."""
    kinds: dict[Spread, NDArray[np.float64] | None] = {
        "seeds and slices": found.combined, "slices": found.over_slices, "seeds": found.over_seeds,
    }  # fmt: skip
    return {kind: values for kind, values in kinds.items() if values is not None}


def fit_scales(validation: SliceAges | None, rule: Rule) -> dict[Spread, UncertaintyScale]:
    """Fit the scale of each kind of spread, see analyse_uncertainty; nothing without validation scans."""
    if validation is None or not validation.age.size:
        return {}
    brain_age, found = spreads(validation, rule)
    error = brain_age_delta(brain_age, validation.age)
    return {kind: fit_scale(values, error, "validation") for kind, values in _by_kind(found).items()}


def _result(
    spread: Spread, values: NDArray[np.float64], error: NDArray[np.float64], scale: UncertaintyScale | None
) -> SpreadResult:
    raw = calibrate(values, error)
    median = float(np.median(values)) if len(values) else None
    if scale is None or scale.factor is None:
        reason = scale.reason if scale else f"the validation scans have no spread over {spread}"
        return SpreadResult(spread, median, raw, n_validation=scale.n if scale else 0, reason=reason)
    scaled = calibrate(scale.apply(values), error)
    return SpreadResult(spread, median, raw, scale.factor, scale.n, scaled, raw.reason)


def _rows(
    scans: pd.DataFrame,
    age: NDArray[np.float64],
    brain_age: NDArray[np.float64],
    found: ScanUncertainty,
    margin: NDArray[np.float64] | None,
) -> tuple[ScanInterval, ...]:
    columns = [_numbers(found.over_seeds, age), _numbers(found.over_slices, age)]
    edges = (None, None) if margin is None else (brain_age - margin, brain_age + margin)
    columns += [_numbers(edge, age) for edge in edges]
    names = scans[NAMES].astype(str).itertuples(index=False, name=None)
    numbers = zip(age.tolist(), brain_age.tolist(), *columns, strict=True)
    return tuple(ScanInterval(*name, *row) for name, row in zip(names, numbers, strict=True))


def _numbers(values: NDArray[np.float64] | None, age: NDArray[np.float64]) -> list[Any]:
    return [None] * age.size if values is None else values.tolist()
