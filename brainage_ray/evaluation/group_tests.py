"""Tests over all diagnoses at once, and the mean delta of each with its interval; one scan a person.

Kruskal-Wallis asks whether the brain-age delta differs between any diagnoses, Jonckheere's trend test whether it grows
from the first to the last of them. All of these take scans as independent: with several scans a person use
`permutation` or `contrasts`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import kendalltau, kruskal, ttest_1samp

from brainage_ray.errors import DataError

CONFIDENCE = 0.95


@dataclass(frozen=True)
class OmnibusTest:
    """Kruskal-Wallis over the diagnoses; each tuple has one value a seed and is empty where it could not be done."""

    diagnoses: tuple[str, ...]
    n_scans: tuple[int, ...]
    """By diagnosis."""
    h: tuple[float, ...] = ()
    """The statistic, corrected for ties."""
    p: tuple[float, ...] = ()
    p_mean: float | None = None
    """Over the seeds; a description, not a p-value of its own."""
    p_max: float | None = None
    epsilon_squared: tuple[float, ...] = ()
    """Effect size, 0 for none to 1."""
    epsilon_squared_mean: float | None = None
    reason: str = ""
    """Why the numbers are missing."""


@dataclass(frozen=True)
class TrendTest:
    """Jonckheere's test over the ordered diagnoses; each tuple has one value a seed, or is empty."""

    diagnoses: tuple[str, ...]
    """From the smallest expected delta to the largest."""
    n_scans: tuple[int, ...]
    """By diagnosis."""
    tau: tuple[float, ...] = ()
    """Kendall's tau-b of diagnosis and delta, -1 to 1: above 0 where the delta grows along the diagnoses."""
    tau_mean: float | None = None
    p: tuple[float, ...] = ()
    """Two-sided."""
    p_mean: float | None = None
    p_max: float | None = None
    p_increasing: tuple[float, ...] = ()
    """One-sided: small where the delta grows along the diagnoses."""
    p_increasing_mean: float | None = None
    p_increasing_max: float | None = None
    reason: str = ""
    """Why the numbers are missing."""


@dataclass(frozen=True)
class DeltaInterval:
    """Mean brain-age delta of one diagnosis, of the deltas averaged over the seeds."""

    diagnosis: str
    n_scans: int
    mean_years: float | None = None
    interval_years: tuple[float, float] | None = None
    """95 % confidence interval of the mean over people, Student's t."""
    reason: str = ""
    """Why a number is None."""


def kruskal_wallis(deltas: NDArray[Any], diagnosis: NDArray[Any], diagnoses: Sequence[str]) -> OmnibusTest:
    """Test for each seed whether the delta differs between any of the diagnoses (scipy.stats.kruskal).

    The effect size is epsilon squared = H / ((n^2 - 1) / (n + 1)), Tomczak and Tomczak, Trends Sport Sci 21:19 (2014).

    Args:
        deltas: [n_seeds, n_scans], years; one scan a person.
        diagnosis: [n_scans].
        diagnoses: the groups, two or more; scans of others do not count.

    Raises:
        DataError: shapes that differ, or a delta that is not finite.
    """
    values = check_deltas(deltas, diagnosis)
    names, groups, sizes = _split(values, diagnosis, diagnoses)
    reason = _why_not(names, groups)
    if reason:
        return OmnibusTest(names, sizes, reason=reason)
    test = kruskal(*groups, axis=1)
    h, p = (tuple(map(float, row)) for row in (test.statistic, test.pvalue))
    n = sum(sizes)
    effect = tuple(value / ((n**2 - 1) / (n + 1)) for value in h)
    return OmnibusTest(names, sizes, h, p, float(np.mean(p)), max(p), effect, float(np.mean(effect)))


def jonckheere_trend(deltas: NDArray[Any], diagnosis: NDArray[Any], diagnoses: Sequence[str]) -> TrendTest:
    """Test for each seed whether the delta grows (or falls) from the first diagnosis to the last.

    The sum of the Mann-Whitney U over all pairs (Jonckheere, Biometrika 41:133, 1954) is (S + m) / 2, where S is
    Kendall's S of group rank and value and m the number of pairs of scans from different groups, so the test is that
    of Kendall's S: scipy.stats.kendalltau, normal approximation with the variance that counts ties in both (Kendall,
    Rank Correlation Methods, 1970, equation 4.4) and without a continuity correction.

    Args:
        deltas: [n_seeds, n_scans], years; one scan a person.
        diagnosis: [n_scans].
        diagnoses: the groups in their order, such as CN, MCI, AD; scans of others do not count.

    Raises:
        DataError: shapes that differ, or a delta that is not finite.
    """
    values = check_deltas(deltas, diagnosis)
    names, groups, sizes = _split(values, diagnosis, diagnoses)
    reason = _why_not(names, groups)
    if reason:
        return TrendTest(names, sizes, reason=reason)
    rank, rows = np.repeat(np.arange(len(names)), sizes), np.concatenate(groups, axis=1)
    both = [kendalltau(rank, row, method="asymptotic") for row in rows]
    up = [kendalltau(rank, row, method="asymptotic", alternative="greater").pvalue for row in rows]
    tau, p = tuple(float(test.statistic) for test in both), tuple(float(test.pvalue) for test in both)
    p_up = tuple(map(float, up))
    return TrendTest(
        names, sizes, tau, float(np.mean(tau)), p, float(np.mean(p)), max(p), p_up, float(np.mean(p_up)), max(p_up)
    )


def delta_intervals(
    deltas: NDArray[Any], diagnosis: NDArray[Any], diagnoses: Sequence[str]
) -> tuple[DeltaInterval, ...]:
    """Return the mean delta of each diagnosis with its 95 % confidence interval over people.

    The interval is Student's t (scipy.stats.ttest_1samp): it needs no random numbers, and with groups of ten people a
    BCa bootstrap of a mean is too narrow. It is that of people, not of seeds: the seeds are averaged first.

    Args:
        deltas: [n_seeds, n_scans], years; one scan a person.
        diagnosis: [n_scans].
        diagnoses: the groups, in the order of the table.

    Raises:
        DataError: shapes that differ, or a delta that is not finite.
    """
    values = check_deltas(deltas, diagnosis)
    names, groups, _ = _split(values, diagnosis, diagnoses)
    return tuple(_interval(name, group) for name, group in zip(names, groups, strict=True))


def check_deltas(deltas: NDArray[Any], diagnosis: NDArray[Any]) -> NDArray[np.float64]:
    """Return the deltas as float64, [n_seeds, n_scans], years.

    Raises:
        DataError: not one row a seed and one diagnosis a scan, or a delta that is not finite.
    """
    values = np.asarray(deltas, dtype=np.float64)
    if values.ndim != 2 or np.shape(diagnosis) != values.shape[1:]:
        raise DataError(
            f"deltas {values.shape} and diagnosis {np.shape(diagnosis)} do not fit",
            "Give deltas of seeds x scans and one diagnosis a scan.",
        )
    if not np.isfinite(values).all():
        seed, scan = (int(i[0]) for i in np.nonzero(~np.isfinite(values)))
        raise DataError(
            f"scan {scan} ({diagnosis[scan]}) has the delta {values[seed, scan]} in row {seed} of the seeds",
            "Look at that scan and model.",
        )
    return values


def number_people(person: NDArray[Any], n_scans: int) -> NDArray[np.int64]:
    """Return whose scan each is as a number, 0 to n_people - 1: [n_scans].

    Raises:
        DataError: not one person a scan, or a scan without (None, NaN or an empty text).
    """
    if np.shape(person) != (n_scans,):
        raise DataError(f"{n_scans} scans and person {np.shape(person)} do not fit", "Give one person a scan.")
    codes, names = pd.factorize(np.asarray(person, dtype=object))
    nameless = (codes < 0) | np.isin(codes, np.flatnonzero(names == ""))
    if nameless.any():
        raise DataError(f"scan {int(np.flatnonzero(nameless)[0])} belongs to no person", "Fill the column person.")
    return np.asarray(codes, dtype=np.int64)


def check_ages(age: NDArray[Any], n_scans: int) -> NDArray[np.float64]:
    """Return the chronological ages as float64, [n_scans], years.

    Raises:
        DataError: not one age a scan, or one that is not finite.
    """
    ages = np.asarray(age, dtype=np.float64)
    if ages.shape != (n_scans,):
        raise DataError(f"{n_scans} scans and age {ages.shape} do not fit", "Give one age a scan.")
    if not np.isfinite(ages).all():
        where = int(np.flatnonzero(~np.isfinite(ages))[0])
        raise DataError(f"scan {where} has the age {ages[where]}", "Look at that scan.")
    return ages


def all_equal(values: NDArray[np.float64]) -> bool:
    """Tell whether all values are the same but for rounding, for any seed of [n_seeds, n_scans] or of one row."""
    scale = np.maximum(1.0, np.abs(values).max(axis=-1))
    return bool((np.ptp(values, axis=-1) <= 1e-9 * scale).any())


def count_scans(n_scans: int, name: str) -> str:
    """Return "no CN scans" or "only one CN scan" where a group is too small to test, else an empty text."""
    return f"no {name} scans" if n_scans == 0 else f"only one {name} scan" if n_scans == 1 else ""


def _split(
    values: NDArray[np.float64], diagnosis: NDArray[Any], diagnoses: Sequence[str]
) -> tuple[tuple[str, ...], list[NDArray[np.float64]], tuple[int, ...]]:
    labels = np.asarray(diagnosis, dtype=object)
    groups = [values[:, labels == name] for name in diagnoses]
    return tuple(diagnoses), groups, tuple(group.shape[1] for group in groups)


def _why_not(names: tuple[str, ...], groups: list[NDArray[np.float64]]) -> str:
    if len(names) < 2:
        return "fewer than two diagnoses"
    for name, group in zip(names, groups, strict=True):
        if group.shape[1] < 2:
            return count_scans(group.shape[1], name)
    if not len(groups[0]):
        return "no seeds"
    return "all deltas are equal" if all_equal(np.concatenate(groups, axis=1)) else ""


def _interval(name: str, group: NDArray[np.float64]) -> DeltaInterval:
    n_seeds, n_scans = group.shape
    if n_seeds == 0 or n_scans == 0:
        return DeltaInterval(name, n_scans, reason=f"no {name} scans" if n_seeds else "no seeds")
    scans = group.mean(axis=0)
    mean = float(scans.mean())
    if n_scans == 1 or all_equal(scans):
        why = f"only one {name} scan" if n_scans == 1 else f"all {name} deltas are equal"
        return DeltaInterval(name, n_scans, mean, None, why)
    low, high = ttest_1samp(scans, 0.0).confidence_interval(CONFIDENCE)
    return DeltaInterval(name, n_scans, mean, (float(low), float(high)))
