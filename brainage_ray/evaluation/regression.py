"""How brain ages follow chronological ages: RMSE, Pearson's r, R2 and the calibration line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import linregress
from statsmodels.tools.eval_measures import rmse

from brainage_ray.errors import DataError
from brainage_ray.evaluation.metrics import sample_sd

MIN_SCANS = 3
"""With two scans a line fits exactly and r is 1 or -1, whatever the model."""


@dataclass(frozen=True)
class SeedStatistic:
    """One number of each seed's model, over the seeds, and of the ensemble."""

    per_seed: tuple[float | None, ...] = ()
    """Empty where no seed has the number; None for a seed that has not."""
    mean: float | None = None
    """Over the seeds; None unless every seed has the number."""
    sd: float | None = None
    """Sample standard deviation over the seeds; None for fewer than two."""
    ensemble: float | None = None
    """Of the brain ages averaged over the seeds."""
    reason: str = ""
    """Why a number is None."""


@dataclass(frozen=True)
class RegressionSummary:
    """Brain age against chronological age of one arm's models on the same scans."""

    seeds: tuple[int, ...]
    n_scans: int
    rmse_years: SeedStatistic
    """Root of the mean squared error."""
    r: SeedStatistic
    """Pearson's correlation, -1 to 1: does not see an offset or a wrong scale."""
    r2: SeedStatistic
    """Coefficient of determination of the brain ages as they are, 1 - SSE / SST: 1 is perfect, 0 is as good as
    the mean age of these scans, below 0 is worse. Not the square of r, which forgives offset and scale."""
    slope: SeedStatistic
    """Years of brain age a year of chronological age: brain age regressed on chronological age, 1 is perfect,
    below 1 is regression towards the mean."""
    intercept_years: SeedStatistic
    """Brain age of that line at age 0."""


def summarise_regression(brain_ages: NDArray[Any], age: NDArray[Any], seeds: Sequence[int]) -> RegressionSummary:
    """Compute the numbers of each seed's model and of their ensemble.

    RMSE is statsmodels.tools.eval_measures.rmse; r, slope and intercept are scipy.stats.linregress; R2 is
    1 - SSE / SST (Kvalseth, Am Stat 39:279, 1985, equation 1). The line has chronological age on the x axis, as in
    de Lange and Cole, NeuroImage: Clinical 26:102229 (2020), equation 1; the calibration slope of clinical prediction
    models has the axes the other way round.

    Args:
        brain_ages: [n_seeds, n_scans], years.
        age: [n_scans], chronological, years.
        seeds: [n_seeds].

    Returns:
        The summary. No scans, fewer than three of them, one age for all scans, or one brain age for all scans give
        empty numbers with their reason, where the number has no meaning then.

    Raises:
        DataError: shapes that differ, or a value that is not finite.
    """
    predicted, true = np.asarray(brain_ages, dtype=np.float64), np.asarray(age, dtype=np.float64)
    _check(predicted, true, seeds)
    names = tuple(int(seed) for seed in seeds)
    if not names or not true.size:
        empty = SeedStatistic(reason="no seeds" if not names else "no scans of the diagnoses that count")
        return RegressionSummary(names, true.size, empty, empty, empty, empty, empty)
    rows = np.vstack([predicted, predicted.mean(axis=0)])
    errors = [float(value) for value in rmse(rows, true[None, :], axis=1)]
    why_not = _why_no_line(true)
    lines = [None if why_not else linregress(true, row) for row in rows]
    constant = [_is_constant(row) for row in rows]
    r = [None if line is None or flat else float(line.rvalue) for line, flat in zip(lines, constant, strict=True)]
    return RegressionSummary(
        seeds=names,
        n_scans=true.size,
        rmse_years=_over_seeds(errors, names, ""),
        r=_over_seeds(r, names, why_not or "all scans have the same brain age"),
        r2=_over_seeds([None if why_not else coefficient_of_determination(row, true) for row in rows], names, why_not),
        slope=_over_seeds([None if line is None else float(line.slope) for line in lines], names, why_not),
        intercept_years=_over_seeds(
            [None if line is None else float(line.intercept) for line in lines], names, why_not
        ),
    )


def coefficient_of_determination(brain_age: NDArray[np.float64], age: NDArray[np.float64]) -> float:
    """Return 1 - SSE / SST of the brain ages as they are (Kvalseth 1985, equation 1).

    Args:
        brain_age: [n_scans], years.
        age: [n_scans], chronological, years; at least two different ones.

    Returns:
        At most 1; negative where the mean age of these scans would be the better guess.
    """
    return float(1 - ((brain_age - age) ** 2).sum() / ((age - age.mean()) ** 2).sum())


def _over_seeds(values: Sequence[float | None], seeds: tuple[int, ...], why_not: str) -> SeedStatistic:
    """Summarise values of the seeds and, last, the ensemble."""
    *per_seed, ensemble = values
    known = [value for value in per_seed if value is not None]
    lacking = [seed for seed, value in zip(seeds, per_seed, strict=True) if value is None]
    if lacking:
        which = "" if not known else f" for seed {', '.join(map(str, lacking))}"
        return SeedStatistic(tuple(per_seed) if known else (), None, None, ensemble, f"{why_not}{which}")
    reason = why_not if ensemble is None else "" if len(known) > 1 else "one seed has no standard deviation"
    return SeedStatistic(tuple(known), float(np.mean(known)), sample_sd(known), ensemble, reason)


def _why_no_line(age: NDArray[np.float64]) -> str:
    if age.size < MIN_SCANS:
        return f"only {age.size} scan{'' if age.size == 1 else 's'}, a line needs {MIN_SCANS}"
    return "all scans have the same chronological age" if _is_constant(age) else ""


def _is_constant(values: NDArray[np.float64]) -> bool:
    """Tell whether all values are the same but for rounding."""
    return bool(np.ptp(values) <= 1e-9 * max(1.0, float(np.abs(values).max())))


def _check(brain_ages: NDArray[np.float64], age: NDArray[np.float64], seeds: Sequence[int]) -> None:
    if age.ndim != 1 or brain_ages.shape != (len(seeds), age.size):
        raise DataError(
            f"brain ages {brain_ages.shape}, ages {age.shape} and {len(seeds)} seeds do not fit",
            "Give one row of brain ages a seed and one age a scan.",
        )
    bad = ~np.isfinite(brain_ages + age)
    if bad.any():
        seed, scan = (int(i[0]) for i in np.nonzero(bad))
        raise DataError(
            f"scan {scan} has brain age {brain_ages[seed, scan]} of seed {seeds[seed]} and age {age[scan]}",
            "Look at that scan and model.",
        )
