"""The same people again: how the brain-age delta changes over years, and how well a repeat scan repeats it.

Time is the difference of ages, years.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import f, f_oneway, ttest_1samp

from brainage_ray.errors import DataError
from brainage_ray.evaluation.bias import finite_pair
from brainage_ray.evaluation.shift import person_codes

SHORTEST_SPAN_YEARS = 0.5
"""Between a person's first and last scan, for a slope."""

REPEAT_WINDOW_YEARS = 90 / 365.25
"""Within which a scan repeats another: 90 days."""


@dataclass(frozen=True, eq=False)
class PersonSlopes:
    """The slope of the delta of each person who was followed."""

    slopes: NDArray[np.float64]
    """[n_seeds, n_followed], years of delta a year."""
    first_scan: NDArray[np.int64]
    """[n_followed]: row of the person's youngest scan, which says the person and the diagnosis."""
    n_persons: int
    """All, also those without a slope: fewer than two scans, or less than half a year between them."""


@dataclass(frozen=True)
class GroupSlope:
    """The mean over the people of one diagnosis."""

    diagnosis: str
    n_persons: int
    """Followed people who had this diagnosis at their youngest scan."""
    mean_years_per_year: float | None = None
    """Over people and seeds."""
    per_seed: tuple[float, ...] = ()
    interval: tuple[float, float] | None = None
    """95 % confidence interval over people, by Student's t."""
    p: float | None = None
    """Two-sided t-test of no change."""
    reason: str = ""
    """Why a number is None."""


@dataclass(frozen=True)
class Reliability:
    """Intraclass correlation of repeat scans, one-way random, single scan: ICC(1)."""

    n_persons: int
    n_scans: int
    icc: float | None = None
    interval: tuple[float, float] | None = None
    """95 %, by the F distribution; exact where all have equally many scans."""
    reason: str = ""
    """Why a number is None."""


@dataclass(frozen=True)
class RepeatReliability:
    """Of each seed's model, and of their ensemble."""

    per_seed: tuple[Reliability, ...]
    ensemble: Reliability
    """Of the delta averaged over the seeds."""
    mean_icc: float | None
    """Over the seeds; None where one has none."""


def person_slopes(deltas: NDArray[Any], age: NDArray[Any], person: NDArray[Any]) -> PersonSlopes:
    """Fit a line through each person's deltas by least squares.

    Args:
        deltas: [n_seeds, n_scans], years.
        age: [n_scans], years.
        person: [n_scans], who.

    Raises:
        DataError: shapes that do not fit, a value that is not finite, or a scan without a person.
    """
    values, true, rows = _by_person(deltas, age, person)
    followed = [row for row in rows if np.ptp(true[row]) >= SHORTEST_SPAN_YEARS]
    slopes = [np.polyfit(true[row] - true[row].mean(), values[:, row].T, 1)[0] for row in followed]
    return PersonSlopes(
        slopes=np.array(slopes, dtype=np.float64).reshape(-1, len(values)).T,
        first_scan=np.array([row[0] for row in followed], dtype=np.int64),
        n_persons=len(rows),
    )


def slopes_by_diagnosis(
    slopes: PersonSlopes, diagnosis: NDArray[Any], diagnoses: Sequence[str]
) -> tuple[GroupSlope, ...]:
    """Average the people's slopes by their diagnosis at the youngest scan.

    Args:
        slopes: of person_slopes.
        diagnosis: [n_scans], of all scans that it was given.
        diagnoses: the groups, in the order of the table; one without people gets an empty cell with its reason.
    """
    baseline = np.asarray(diagnosis, dtype=object)[slopes.first_scan]
    return tuple(_mean_slope(slopes.slopes[:, baseline == name], name) for name in diagnoses)


def repeat_reliability(
    deltas: NDArray[Any], age: NDArray[Any], person: NDArray[Any], window_years: float = REPEAT_WINDOW_YEARS
) -> RepeatReliability:
    """Compute the ICC of the scans that repeat each other: the most that each person has within one window.

    Args:
        deltas: [n_seeds, n_scans], years; brain ages instead would count the differences of age as agreement.
        age: [n_scans], years.
        person: [n_scans], who.
        window_years: longest time between the first and last of them.

    Raises:
        DataError: as person_slopes.
    """
    values, true, rows = _by_person(deltas, age, person)
    repeats = [_most_within(row, true, window_years) for row in rows]
    repeats = [row for row in repeats if len(row) > 1]
    chosen = np.concatenate([np.zeros(0, dtype=np.int64), *repeats])
    codes = np.repeat(np.arange(len(repeats)), [len(row) for row in repeats])
    per_seed = tuple(icc_oneway(seed[chosen], codes) for seed in values)
    known = [one.icc for one in per_seed if one.icc is not None]
    mean = float(np.mean(known)) if len(known) == len(per_seed) else None
    return RepeatReliability(per_seed, icc_oneway(values.mean(axis=0)[chosen], codes), mean)


def icc_oneway(values: NDArray[Any], person: NDArray[Any]) -> Reliability:
    """Compute ICC(1), with its interval by the F distribution: Shrout and Fleiss, Psychol Bull 86:420 (1979).

    From a one-way analysis of variance, (F - 1) / (F - 1 + n0); for unequal numbers n0 is their mean less
    their variance over their sum: Donner, Int Stat Rev 54:67 (1986).

    Args:
        values: [n_scans].
        person: [n_scans], who.

    Raises:
        DataError: as person_slopes.
    """
    (scores,), _, rows = _by_person(np.asarray(values)[None], np.zeros(len(values)), person)
    sizes = np.array([len(row) for row in rows])
    k, n = len(rows), len(scores)
    if k < 2 or n == k:
        reason = "fewer than two people" if k < 2 else "nobody was scanned twice"
        return Reliability(k, n, reason=f"{reason} with repeat scans" if k < 2 else reason)
    groups = [scores[row] for row in rows]
    if np.ptp(scores) <= 1e-9:
        return Reliability(k, n, reason="all values are equal")
    if max(np.ptp(group) for group in groups) <= 1e-6 * np.ptp(scores):
        return Reliability(k, n, 1.0, None, "repeat scans agree exactly, which has no interval")
    ratio = float(f_oneway(*groups).statistic)
    n0 = (n - float((sizes**2).sum()) / n) / (k - 1)
    edges = ratio / f.ppf(0.975, k - 1, n - k), ratio * f.ppf(0.975, n - k, k - 1)
    icc, low, high = (float((x - 1) / (x - 1 + n0)) for x in (ratio, *edges))
    return Reliability(k, n, icc, (low, high))


def _by_person(
    deltas: NDArray[Any], age: NDArray[Any], person: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64], list[NDArray[np.int64]]]:
    """Return the checked arrays, and each person's rows from the youngest scan to the oldest."""
    if np.ndim(deltas) != 2:
        raise DataError(f"deltas have the shape {np.shape(deltas)}", "Give [n_seeds, n_scans].")
    values, true = finite_pair(deltas, age)
    codes = person_codes(person, len(true))
    order = np.lexsort((true, codes))
    edges = np.flatnonzero(np.diff(codes[order])) + 1
    return values, true, np.split(order, edges) if len(order) else []


def _most_within(row: NDArray[np.int64], age: NDArray[np.float64], window: float) -> NDArray[np.int64]:
    """Return the largest run of a person's rows, in the order of age, that fits into the window; the first of such."""
    ends = np.searchsorted(age[row], age[row] + window + 1e-9, side="right")
    start = int(np.argmax(ends - np.arange(len(row))))
    return row[start : ends[start]]


def _mean_slope(slopes: NDArray[np.float64], name: str) -> GroupSlope:
    n = slopes.shape[1]
    if n == 0:
        return GroupSlope(name, 0, reason=f"no {name} person was scanned twice, half a year apart")
    per_seed, mine = tuple(map(float, slopes.mean(axis=1))), slopes.mean(axis=0)
    mean = float(mine.mean())
    if n < 2 or np.ptp(mine) <= 1e-9 * max(1.0, float(np.abs(mine).max())):
        reason = f"one {name} person has no interval" if n < 2 else "all slopes are equal"
        return GroupSlope(name, n, mean, per_seed, reason=reason)
    test = ttest_1samp(mine, 0)
    low, high = test.confidence_interval(0.95)
    return GroupSlope(name, n, mean, per_seed, (float(low), float(high)), float(test.pvalue))
