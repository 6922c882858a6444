"""What slices say before they are put together: the error by position, and three rules of aggregation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import trim_mean

from brainage_ray.errors import DataError
from brainage_ray.evaluation.aggregate import aggregate_slices
from brainage_ray.evaluation.metrics import mean_absolute_error

Rule = Literal["median", "mean", "trimmed"]
RULES: tuple[Rule, ...] = ("median", "mean", "trimmed")
TRIMMED_SHARE = 0.2
"""Of a scan's slices that the trimmed mean leaves out at each end."""
ROUNDING_MM = 0.1
"""Positions that differ by less are one."""


@dataclass(frozen=True, eq=False)
class SliceAges:
    """The slices of some scans, as some models read them."""

    years: NDArray[np.float64]
    """[n_models, n_slices], age of each slice."""
    scan: NDArray[np.int64]
    """[n_slices], 0 to n_scans - 1."""
    position_mm: NDArray[np.float64]
    """[n_slices]."""
    age: NDArray[np.float64]
    """[n_scans], chronological, years."""


@dataclass(frozen=True)
class PositionError:
    """The slices at one position; means over scans and models."""

    position_mm: float
    n_slices: int
    mae_years: float
    delta_years: float
    """Mean of slice age - chronological age."""


@dataclass(frozen=True)
class RuleError:
    """The MAE of scans under one rule of aggregation, mean over the models, years; None where nothing was read."""

    rule: Rule
    validation_years: float | None
    test_years: float | None


@dataclass(frozen=True)
class SliceAnalysis:
    """The slices of one arm."""

    positions: tuple[PositionError, ...]
    """Of the test scans, from the lowest position to the highest."""
    rules: tuple[RuleError, ...]
    used: Rule
    """The experiment's rule, which all results go by."""
    best_on_validation: Rule | None
    """The rule with the smallest validation MAE; `used` where it ties. None without validation."""


def analyse_slices(test: SliceAges, validation: SliceAges | None, used: Rule) -> SliceAnalysis:
    """Compare positions and rules.

    Args:
        test: healthy test scans.
        validation: healthy validation scans, as models read them that were not fitted on them.
        used: the experiment's rule.

    Raises:
        DataError: shapes that do not fit, a scan without slices, or a value that is not finite.
    """
    rules = tuple(RuleError(rule, scan_mae(validation, rule), scan_mae(test, rule)) for rule in RULES)
    known = {row.rule: round(row.validation_years, 9) for row in rules if row.validation_years is not None}
    best = min(known, key=lambda rule: (known[rule], rule != used), default=None)
    return SliceAnalysis(errors_by_position(test), rules, used, best)


def errors_by_position(slices: SliceAges) -> tuple[PositionError, ...]:
    """Return the error at each position, from the lowest to the highest; see analyse_slices."""
    deltas = _check(slices) - slices.age[slices.scan]
    places, at = np.unique(np.round(slices.position_mm / ROUNDING_MM).astype(np.int64), return_inverse=True)
    counts = np.bincount(at)
    mae = np.bincount(at, weights=np.abs(deltas).mean(axis=0)) / np.maximum(counts, 1)
    delta = np.bincount(at, weights=deltas.mean(axis=0)) / np.maximum(counts, 1)
    rows = zip(places * ROUNDING_MM, counts, mae, delta, strict=True)
    return tuple(PositionError(round(float(p), 1), int(n), float(m), float(d)) for p, n, m, d in rows)


def scan_mae(slices: SliceAges | None, rule: Rule) -> float | None:
    """Return the MAE of the scans under a rule, mean over the models, years; None for no scans."""
    if slices is None or not slices.age.size:
        return None
    ages = [combine(row, slices.scan, slices.age.size, rule) for row in _check(slices)]
    return float(np.mean([mean_absolute_error(row, slices.age) for row in ages]))


def combine(values: NDArray[Any], scan: NDArray[Any], n_scans: int, rule: Rule) -> NDArray[np.float64]:
    """Combine the slices of each scan, as evaluation.aggregate.aggregate_slices; "trimmed" is scipy.stats.trim_mean.

    Args:
        values: [n_slices].
        scan: [n_slices], 0 to n_scans - 1.
        n_scans: how many scans there are.
        rule: of RULES.

    Returns:
        [n_scans].
    """
    plain = aggregate_slices(values, scan, n_scans, "median" if rule == "median" else "mean")  # checks the values too
    if rule != "trimmed":
        return plain
    order = np.argsort(scan, kind="stable")
    parts = np.split(np.asarray(values, dtype=np.float64)[order], np.cumsum(np.bincount(scan, minlength=n_scans))[:-1])
    return np.array([trim_mean(part, TRIMMED_SHARE) for part in parts], dtype=np.float64)


def _check(slices: SliceAges) -> NDArray[np.float64]:
    years = np.asarray(slices.years, dtype=np.float64)
    if years.ndim != 2 or not len(years) or not years.shape[1] == slices.scan.size == slices.position_mm.size:
        raise DataError(
            f"slice ages {years.shape}, scans {slices.scan.shape} and positions {slices.position_mm.shape} do not fit",
            "Give models x slices, and one scan and position a slice.",
        )
    if not np.isfinite(years).all():
        model, place = (int(i[0]) for i in np.nonzero(~np.isfinite(years)))
        raise DataError(
            f"slice {place} of scan {slices.scan[place]} has the age {years[model, place]}", "See its model."
        )
    return years
