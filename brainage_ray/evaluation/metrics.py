"""Errors of brain ages, in years."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainage_ray.errors import DataError


@dataclass(frozen=True)
class MaeSummary:
    """Mean absolute error of one arm's models on the same scans."""

    seeds: tuple[int, ...]
    per_seed_years: tuple[float, ...]
    """MAE of each seed's model; empty where there are no scans."""
    mean_years: float | None
    sd_years: float | None
    """Sample standard deviation over the seeds; None for fewer than two."""
    max_years: float | None
    """The worst seed."""
    ensemble_years: float | None
    """MAE of the brain ages averaged over the seeds."""
    n_scans: int
    reason: str = ""
    """Why a number is None."""


def mean_absolute_error(brain_age: NDArray[Any], age: NDArray[Any]) -> float:
    """Return the mean of |brain age - chronological age|.

    Args:
        brain_age: [n_scans], years.
        age: [n_scans], chronological, years.

    Returns:
        Years.

    Raises:
        DataError: no scans, shapes that differ, or a value that is not finite.
    """
    predicted, true = np.asarray(brain_age, dtype=np.float64), np.asarray(age, dtype=np.float64)
    if predicted.ndim != 1 or predicted.shape != true.shape:
        raise DataError(f"brain ages {predicted.shape} and ages {true.shape} differ in shape", "Give one age a scan.")
    if predicted.size == 0:
        raise DataError("there are no scans to take a mean absolute error of", "Check the split and the diagnoses.")
    error = np.abs(predicted - true)
    if not np.isfinite(error).all():
        where = int(np.flatnonzero(~np.isfinite(error))[0])
        raise DataError(f"scan {where} has brain age {predicted[where]} and age {true[where]}", "Look at that scan.")
    return float(error.mean())


def delta_auc(patients: NDArray[Any], healthy: NDArray[Any]) -> float:
    """Return how often a patient's brain-age delta is above a healthy person's: the area under the ROC curve.

    Args:
        patients: [n] deltas, years.
        healthy: [m] deltas, years.

    Returns:
        Mann-Whitney's U / (n m) with equal deltas counted as half; 0.5 tells nothing, 1 all.
    """
    from scipy.stats import mannwhitneyu  # here: training without this metric needs torch and MONAI alone

    u = mannwhitneyu(patients, healthy, method="asymptotic").statistic
    return float(u / (len(patients) * len(healthy)))


def sample_sd(values: NDArray[Any] | Sequence[float]) -> float | None:
    """Return the standard deviation with n - 1 in the denominator, or None for fewer than two values."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def summarise_mae(brain_ages: NDArray[Any], age: NDArray[Any], seeds: Sequence[int]) -> MaeSummary:
    """Compute the error of each seed's model and of their ensemble.

    Args:
        brain_ages: [n_seeds, n_scans], years.
        age: [n_scans], chronological, years.
        seeds: [n_seeds].

    Raises:
        DataError: as mean_absolute_error, except that no scans give empty cells with their reason.
    """
    if len(age) == 0:
        return MaeSummary(tuple(seeds), (), None, None, None, None, 0, "no scans of the diagnoses that count")
    per_seed = tuple(mean_absolute_error(row, age) for row in brain_ages)
    return MaeSummary(
        seeds=tuple(seeds),
        per_seed_years=per_seed,
        mean_years=float(np.mean(per_seed)),
        sd_years=sample_sd(per_seed),
        max_years=max(per_seed),
        ensemble_years=mean_absolute_error(np.mean(brain_ages, axis=0), age),
        n_scans=len(age),
        reason="" if len(per_seed) > 1 else "one seed has no standard deviation",
    )
