"""How sure is the model of one scan? The spread over seeds and slices, and whether it predicts the error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm, spearmanr
from statsmodels.stats.proportion import proportion_confint

from brainage_ray.errors import DataError
from brainage_ray.evaluation.aggregate import aggregate_slices
from brainage_ray.evaluation.bias import check_fitting_split, finite_array

LEVELS = (0.5, 0.8, 0.9, 0.95)
"""Nominal shares of scans whose error lies within the interval."""


@dataclass(frozen=True, eq=False)
class ScanUncertainty:
    """Standard deviations of each scan's brain age, years; before any scale."""

    over_seeds: NDArray[np.float64] | None
    """[n_scans]: sample standard deviation over the seeds' models."""
    over_slices: NDArray[np.float64] | None
    """[n_scans]: spread over the slices, root mean square over the seeds."""
    combined: NDArray[np.float64] | None
    """[n_scans]: root of the sum of both squares."""
    reason: str = ""
    """Why one is None."""


@dataclass(frozen=True)
class Coverage:
    """One nominal level."""

    level: float
    share: float
    """Of the scans with |error| <= z x uncertainty."""
    interval: tuple[float, float]
    """95 %, Wilson, JASA 22:209 (1927)."""


@dataclass(frozen=True)
class Calibration:
    """Does the uncertainty tell how wrong a scan's brain age is?"""

    n_scans: int
    coverages: tuple[Coverage, ...] = ()
    spearman: float | None = None
    """Rank correlation of uncertainty and |error|; 0 for an uncertainty that knows nothing."""
    spearman_interval: tuple[float, float] | None = None
    """95 %."""
    reason: str = ""
    """Why a number is missing."""


@dataclass(frozen=True)
class UncertaintyScale:
    """What to multiply uncertainties by, so that the validation errors have them as standard deviations."""

    split: str
    """What it was fitted on."""
    n: int
    """Scans that it was fitted on."""
    factor: float | None
    reason: str = ""
    """Why there is no factor."""

    def apply(self, uncertainty: NDArray[Any]) -> NDArray[np.float64]:
        """Return scaled uncertainties, [n_scans], years.

        Raises:
            LeakageError: it was fitted on another split than validation.
            DataError: it has no factor, or an uncertainty is negative or not finite.
        """
        check_fitting_split(self.split, "a scale of uncertainty")
        if self.factor is None:
            raise DataError(f"there is no scale of uncertainty: {self.reason}", "Report the spreads as they are.")
        return self.factor * _spreads(uncertainty)


def scan_uncertainty(
    brain_ages: NDArray[Any],
    slice_values: NDArray[Any],
    slice_scan: NDArray[Any],
    spread: Literal["sd", "mad"] = "sd",
) -> ScanUncertainty:
    """Compute each scan's spreads.

    They add up as the variance of a mixture of models: Lakshminarayanan et al., NeurIPS 2017.

    Args:
        brain_ages: [n_seeds, n_scans], years.
        slice_values: [n_seeds, n_slices], years.
        slice_scan: [n_slices], the scan of each slice, 0 to n_scans - 1.
        spread: over the slices: "sd", or "mad", the median absolute deviation, scaled to that of a
            normal distribution, which outlying slices do not move.

    Returns:
        Over seeds None for one seed, over slices None where a scan has one slice.

    Raises:
        DataError: shapes that do not fit, a value that is not finite, a scan without slices, an unknown spread.
    """
    if np.ndim(brain_ages) != 2 or np.ndim(slice_values) != 2:
        raise DataError(
            "brain ages and slice values are no matrices", "Give [n_seeds, n_scans] and [n_seeds, n_slices]."
        )
    if spread not in ("sd", "mad"):
        raise DataError(f'there is no spread "{spread}"', "Use sd or mad.")
    n_seeds, n_scans = np.shape(brain_ages)
    ages = finite_array(brain_ages, "brain age", (n_seeds, n_scans))
    values = finite_array(slice_values, "slice value", (n_seeds, len(slice_scan)))
    scan = np.asarray(slice_scan)
    slices = [_slice_spread(row, scan, n_scans, spread) for row in values]
    over_seeds = ages.std(axis=0, ddof=1) if n_seeds > 1 else None
    few = np.flatnonzero(np.bincount(scan.astype(np.int64), minlength=n_scans) < 2)
    over_slices = None if few.size or not slices else np.sqrt(np.mean(np.square(slices), axis=0))
    if over_seeds is not None and over_slices is not None:
        return ScanUncertainty(over_seeds, over_slices, np.hypot(over_seeds, over_slices))
    reasons = ["fewer than two seeds have no spread"] if over_seeds is None else []
    reasons += [f"scan {few[0]} has one slice, which has no spread"] if few.size else []
    return ScanUncertainty(over_seeds, over_slices, None, "; ".join(reasons))


def calibrate(uncertainty: NDArray[Any], error: NDArray[Any], levels: Sequence[float] = LEVELS) -> Calibration:
    """Compare uncertainties with the errors that happened.

    The interval of the rank correlation is that of Bonett and Wright, Psychometrika 65:23 (2000).

    Args:
        uncertainty: [n_scans], years, 0 or more; one scan a person, since the intervals count scans.
        error: [n_scans], brain-age deltas of healthy people, years.
        levels: nominal, between 0 and 1.

    Raises:
        DataError: shapes that do not fit, a value that is not finite or negative, an impossible level.
    """
    spread = _spreads(uncertainty)
    size = np.abs(finite_array(error, "error", spread.shape))
    if not all(0 < level < 1 for level in levels):
        raise DataError(f"levels {list(levels)} are not all between 0 and 1", "Give shares, such as 0.9.")
    n = len(size)
    if n == 0:
        return Calibration(0, reason="no scans")
    coverages = tuple(_coverage(level, spread, size) for level in levels)
    if n < 4:
        return Calibration(n, coverages, reason=f"{n} scans are too few for a rank correlation")
    for name, values in (("uncertainties", spread), ("errors", size)):
        if np.ptp(values) == 0:
            return Calibration(n, coverages, reason=f"all {name} are equal")
    rho = float(spearmanr(spread, size).statistic)
    if abs(rho) >= 1 - 1e-12:
        return Calibration(n, coverages, round(rho), None, "perfectly ordered scans have no interval")
    margin = norm.ppf(0.975) * np.sqrt((1 + rho**2 / 2) / (n - 3))
    low, high = np.tanh(np.arctanh(rho) + np.array([-margin, margin]))
    return Calibration(n, coverages, rho, (float(low), float(high)))


def fit_scale(uncertainty: NDArray[Any], error: NDArray[Any], split: str) -> UncertaintyScale:
    """Fit the factor that makes normal errors most likely: the root mean square of error / uncertainty.

    Laves et al., MIDL 2020 (sigma scaling).

    Args:
        uncertainty: [n_scans], years.
        error: [n_scans], brain-age deltas of healthy people whom the model was not fitted on, years.
        split: where the scans are from; has to be "validation".

    Raises:
        LeakageError: another split.
        DataError: as calibrate.
    """
    check_fitting_split(split, "a scale of uncertainty")
    spread = _spreads(uncertainty)
    wrong = finite_array(error, "error", spread.shape)
    n = len(wrong)
    if n < 2:
        return UncertaintyScale(split, n, None, "fewer than two scans")
    if (spread == 0).any():
        return UncertaintyScale(split, n, None, f"scan {int(np.argmin(spread))} has an uncertainty of 0")
    factor = float(np.sqrt(np.mean((wrong / spread) ** 2)))
    if factor == 0:
        return UncertaintyScale(split, n, None, "all errors are 0")
    return UncertaintyScale(split, n, factor)


def _slice_spread(
    values: NDArray[np.float64], scan: NDArray[Any], n_scans: int, spread: Literal["sd", "mad"]
) -> NDArray[np.float64]:
    centre = aggregate_slices(values, scan, n_scans, "median")  # also checks slice_scan
    if spread == "mad":
        return aggregate_slices(np.abs(values - centre[scan]), scan, n_scans, "median") / float(norm.ppf(0.75))
    return np.asarray(pd.Series(values).groupby(scan).std(), dtype=np.float64)


def _coverage(level: float, spread: NDArray[np.float64], size: NDArray[np.float64]) -> Coverage:
    inside = int((size <= norm.ppf((1 + level) / 2) * spread).sum())
    low, high = proportion_confint(inside, len(size), method="wilson")
    return Coverage(level, inside / len(size), (float(low), float(high)))


def _spreads(uncertainty: NDArray[Any]) -> NDArray[np.float64]:
    spread = finite_array(uncertainty, "uncertainty", (np.size(uncertainty),))
    if (spread < 0).any():
        where = int(np.argmin(spread))
        raise DataError(f"uncertainty [{where}] is {spread[where]}", "A spread is 0 or more.")
    return spread
