"""Do the errors differ between sites, sexes and age decades? MAE and mean delta by group, people resampled."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import DegenerateDataWarning, bootstrap, permutation_test

from brainage_ray.errors import DataError
from brainage_ray.evaluation.bias import finite_array, finite_pair

SMALLEST_GROUP = 5
"""People that a group has at least, to get an interval and to enter the test."""

UNKNOWN = "unknown"
"""The group of scans whose label is missing: shown, not tested."""

_BATCH_VALUES = 2_000_000
"""Resampled values in memory at a time."""


@dataclass(frozen=True)
class Resampling:
    """How often to draw, and from which seed."""

    draws: int = 9999
    seed: int = 0

    def batch(self, n: int) -> int:
        """Return how many draws of n values are made at a time."""
        return max(1, _BATCH_VALUES // max(n, 1))


@dataclass(frozen=True, eq=False)
class Grouping:
    """The scans by one label."""

    name: str
    """For example site."""
    labels: NDArray[Any]
    """[n_scans]."""
    groups: tuple[str, ...]
    """In the order of the table."""


@dataclass(frozen=True)
class GroupShift:
    """The errors of one group; means over seeds and scans, 95 % intervals over people."""

    group: str
    n_scans: int
    n_persons: int
    mae_years: float | None = None
    mae_interval: tuple[float, float] | None = None
    delta_years: float | None = None
    """Mean brain-age delta."""
    delta_interval: tuple[float, float] | None = None
    reason: str = ""
    """Why a number is None."""


@dataclass(frozen=True)
class DifferenceTest:
    """Is the mean the same in all groups? Labels permuted over people."""

    n_persons: int
    groups: tuple[str, ...]
    """Those of SMALLEST_GROUP people or more, which are compared."""
    eta_squared: float | None = None
    """Share of the variance between people that lies between the groups, 0 to 1."""
    p: float | None = None
    reason: str = ""
    """Why the numbers are missing."""


@dataclass(frozen=True)
class Shift:
    """One model's or arm's errors by one label."""

    factor: str
    groups: tuple[GroupShift, ...]
    mae_test: DifferenceTest
    delta_test: DifferenceTest


def group_by(name: str, labels: NDArray[Any]) -> Grouping:
    """Group scans by a label, in alphabetical order, those without one (None, NaN or "") last, as "unknown".

    Args:
        name: of the label.
        labels: [n_scans].
    """
    raw = np.asarray(labels, dtype=object)
    known = np.array([UNKNOWN if pd.isna(label) or label == "" else str(label) for label in raw], dtype=object)
    groups = sorted(set(known.tolist()), key=lambda label: (label == UNKNOWN, label))
    return Grouping(name, known, tuple(groups))


def group_by_decade(age: NDArray[Any]) -> Grouping:
    """Group scans by the decade of age: 60 years to just under 70 are "60-69".

    Args:
        age: [n_scans], years.

    Raises:
        DataError: an age that is not finite.
    """
    true = np.asarray(age, dtype=np.float64)
    first = 10 * np.floor(finite_array(true, "age", (true.size,)) / 10).astype(np.int64)
    labels = np.array([f"{start}-{start + 9}" for start in first], dtype=object)
    return Grouping("age decade", labels, tuple(f"{start}-{start + 9}" for start in np.unique(first)))


def describe_shift(
    brain_ages: NDArray[Any],
    age: NDArray[Any],
    person: NDArray[Any],
    grouping: Grouping,
    resampling: Resampling | None = None,
) -> Shift:
    """Compute each group's MAE and mean delta, and test whether they differ between the groups.

    A person's scans are drawn together (bias-corrected and accelerated bootstrap: Efron, JASA 82:171, 1987).
    The tests take one value a person, the mean over the scans in the group of the youngest one.

    Args:
        brain_ages: [n_seeds, n_scans], years.
        age: [n_scans], chronological, years.
        person: [n_scans], who.
        grouping: of the same scans; a listed group without scans gets an empty row with its reason.
        resampling: draws and seed.

    Raises:
        DataError: shapes that do not fit, a value that is not finite, or a scan without a person.
    """
    resampling = resampling or Resampling()
    predicted, true = finite_pair(brain_ages, age)
    deltas = np.atleast_2d(predicted) - true
    codes = person_codes(person, len(true))
    if np.shape(grouping.labels) != true.shape:
        problem = f"{grouping.name} has {np.size(grouping.labels)} labels, but there are {len(true)} scans"
        raise DataError(problem, "Give one label a scan.")
    error, delta = np.abs(deltas).mean(axis=0), deltas.mean(axis=0)
    rows = [(name, np.asarray(grouping.labels) == name) for name in grouping.groups]
    return Shift(
        factor=grouping.name,
        groups=tuple(_describe(name, error[rows_], delta[rows_], codes[rows_], resampling) for name, rows_ in rows),
        mae_test=_test(error, codes, true, grouping, resampling),
        delta_test=_test(delta, codes, true, grouping, resampling),
    )


def person_codes(person: NDArray[Any], n_scans: int) -> NDArray[np.int64]:
    """Number the people of [n_scans] scans from 0, in the order of their names.

    Raises:
        DataError: another number of scans, or one without a person.
    """
    names = np.asarray(person, dtype=object)
    if names.shape != (n_scans,):
        raise DataError(f"person has the shape {names.shape}, not ({n_scans},)", "Name one person a scan.")
    nobody = pd.isna(names) | (names == "")
    if nobody.any():
        raise DataError(f"scan {int(np.flatnonzero(nobody)[0])} belongs to no person", "Fill the column person.")
    return np.unique(names.astype(str), return_inverse=True)[1].astype(np.int64)


def _describe(
    name: str,
    error: NDArray[np.float64],
    delta: NDArray[np.float64],
    codes: NDArray[np.int64],
    resampling: Resampling,
) -> GroupShift:
    n_persons = len(np.unique(codes))
    if not len(codes):
        return GroupShift(name, 0, 0, reason=f"no scans of {name}")
    mae, mean = float(error.mean()), float(delta.mean())
    if n_persons < SMALLEST_GROUP:
        people = "1 person is" if n_persons == 1 else f"{n_persons} people are"
        return GroupShift(name, len(codes), n_persons, mae, None, mean, None, f"{people} too few for an interval")
    intervals = _interval(error, codes, resampling), _interval(delta, codes, resampling)
    reason = "" if None not in intervals else "all values are equal"
    return GroupShift(name, len(codes), n_persons, mae, intervals[0], mean, intervals[1], reason)


def _interval(
    values: NDArray[np.float64], codes: NDArray[np.int64], resampling: Resampling
) -> tuple[float, float] | None:
    if np.ptp(values) <= 1e-9:
        return None
    _, mine = np.unique(codes, return_inverse=True)
    counts = np.bincount(mine).astype(np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateDataWarning)  # comes with an interval of NaN, handled below
        interval = bootstrap(
            (np.bincount(mine, weights=values), counts),
            lambda total, n, axis: total.sum(axis=axis) / n.sum(axis=axis),
            paired=True, vectorized=True, n_resamples=resampling.draws, method="BCa",
            batch=resampling.batch(len(counts)), rng=np.random.default_rng(resampling.seed),
        ).confidence_interval  # fmt: skip
    low, high = float(interval.low), float(interval.high)
    return (low, high) if np.isfinite([low, high]).all() else None


def _test(
    values: NDArray[np.float64],
    codes: NDArray[np.int64],
    age: NDArray[np.float64],
    grouping: Grouping,
    resampling: Resampling,
) -> DifferenceTest:
    means, labels = _one_a_person(values, codes, age, np.asarray(grouping.labels))
    samples = {name: means[labels == name] for name in grouping.groups if name != UNKNOWN}
    samples = {name: sample for name, sample in samples.items() if len(sample) >= SMALLEST_GROUP}
    n = sum(map(len, samples.values()))
    if len(samples) < 2:
        reason = f"fewer than two groups of {SMALLEST_GROUP} people or more"
        return DifferenceTest(n, tuple(samples), reason=reason)
    pooled = np.concatenate(list(samples.values()))
    if np.ptp(pooled) <= 1e-9:
        return DifferenceTest(n, tuple(samples), reason="all values are equal")
    norm = float(np.linalg.norm(pooled - pooled.mean()))
    result = permutation_test(
        [(sample - pooled.mean()) / norm for sample in samples.values()], _eta_squared,
        permutation_type="independent", vectorized=True, alternative="greater", n_resamples=resampling.draws,
        batch=resampling.batch(n), rng=np.random.default_rng(resampling.seed),
    )  # fmt: skip
    return DifferenceTest(n, tuple(samples), float(result.statistic), float(result.pvalue))


def _eta_squared(*samples: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Return the sum of squares between groups, of samples whose total one is 1: orders permutations as F does."""
    between = [sample.sum(axis=axis) ** 2 / sample.shape[axis] for sample in samples]
    return np.asarray(np.sum(between, axis=0), dtype=np.float64)


def _one_a_person(
    values: NDArray[np.float64], codes: NDArray[np.int64], age: NDArray[np.float64], labels: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Return each person's mean over the scans with the label of the youngest one, and that label."""
    order = np.lexsort((labels.astype(str), age, codes))
    _, first = np.unique(codes[order], return_index=True)
    own = labels[order][first]
    kept = labels == own[codes]
    return np.bincount(codes[kept], weights=values[kept]) / np.bincount(codes[kept]), own
