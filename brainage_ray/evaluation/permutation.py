"""Two diagnoses compared over all scans of people with several: whole people change places, never single scans.

How it works, and why its type-I error holds:

- A person belongs to the diagnosis of the scan at the youngest age. Scans of a person after that diagnosis has changed
  are left out (and counted), so every scan that counts has the diagnosis of its group.
- The statistic is taken over all scans that count: the difference of the mean deltas, or the AUC.
- The labels of people are permuted, among people with the same number of scans only (whole-block exchangeability needs
  blocks of one size: Winkler et al., NeuroImage 123:253, 2015). Where diagnosis tells nothing of the delta of people
  with as many scans, each such permutation is as likely as the observed labels, whatever the correlation within a
  person and also where one diagnosis has more visits than the other. So the test is exact.
- p is (1 + draws at least as extreme) / (1 + draws), Phipson and Smyth, Stat Appl Genet Mol Biol 9:39 (2010), and
  two-sided as twice the smaller tail, as in scipy.stats.permutation_test, which has no restricted permutations.

Both statistics are increasing in a sum over the people of the second diagnosis (of deltas, or of ranks), and their
number of scans is the same in every draw, so one matrix product does all draws of all seeds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from brainage_ray.errors import DataError
from brainage_ray.evaluation.comparisons import adjust_p
from brainage_ray.evaluation.group_tests import all_equal, check_ages, check_deltas, number_people

CHUNK = 4_000_000
"""Labels that are drawn at a time, 8 bytes each."""


@dataclass(frozen=True)
class PermutationSettings:
    """How to permute."""

    draws: int = 10_000
    """The smallest p is 2 / (1 + draws)."""
    seed: int = 0
    statistic: Literal["mean", "auc"] = "mean"
    """Difference of the mean deltas (years), or the chance that a scan of `second` has the larger one."""
    correction: Literal["holm", "none"] = "holm"
    """Of p over the pairs."""


@dataclass(frozen=True)
class PermutationComparison:
    """Two diagnoses; each tuple of numbers has one value a seed and is empty where the pair could not be tested."""

    first: str
    second: str
    n_people: tuple[int, int]
    n_scans: tuple[int, int]
    """Scans that count."""
    n_left_out: int
    """Scans of these people after their diagnosis had changed."""
    n_exchangeable: int
    """People who have somebody of the other diagnosis with as many scans; the others keep their label."""
    statistic: Literal["mean", "auc"]
    estimate: tuple[float, ...] = ()
    """Mean delta of `second` less that of `first`, years; or the AUC, 0 to 1."""
    estimate_mean: float | None = None
    p: tuple[float, ...] = ()
    """Two-sided."""
    p_mean: float | None = None
    """Over the seeds; a description, not a p-value of its own."""
    p_max: float | None = None
    p_adjusted: tuple[float, ...] = ()
    """Corrected over the pairs within each seed."""
    p_adjusted_mean: float | None = None
    p_adjusted_max: float | None = None
    reason: str = ""
    """Why the numbers are missing."""


@dataclass(frozen=True)
class _People:
    """The scans of one pair that count, and their people."""

    of_scan: NDArray[np.int64]
    """[n_scans], 0 to n_people - 1."""
    is_second: NDArray[np.bool_]
    """[n_people]."""
    n_scans: NDArray[np.int64]
    """[n_people]."""

    def exchangeable(self) -> NDArray[np.bool_]:
        """Tell who has somebody of the other diagnosis with as many scans: [n_people]."""
        both = np.intersect1d(self.n_scans[self.is_second], self.n_scans[~self.is_second])
        return np.isin(self.n_scans, both)


def compare_people(
    deltas: NDArray[Any],
    diagnosis: NDArray[Any],
    person: NDArray[Any],
    age: NDArray[Any],
    diagnoses: Sequence[str],
    settings: PermutationSettings | None = None,
) -> tuple[PermutationComparison, ...]:
    """Test every pair of diagnoses for each seed by permuting people; see the module for the method.

    Args:
        deltas: [n_seeds, n_scans], years; one row, their mean over the seeds, tests the ensemble.
        diagnosis: [n_scans]; it may change between the scans of a person.
        person: [n_scans], whose scan it is.
        age: [n_scans], chronological, years: tells a person's first scan.
        diagnoses: the groups; `first` of a pair is the one named earlier.
        settings: how many draws, their seed, the statistic and the correction over pairs.

    Returns:
        One comparison a pair; groups of fewer than two people, deltas that are all equal, or diagnoses of which no two
        people have the same number of scans give one without numbers that says why.

    Raises:
        DataError: shapes that differ, a delta or age that is not finite, a scan without a person, no draws.
    """
    how = settings or PermutationSettings()
    values, labels = check_deltas(deltas, diagnosis), np.asarray(diagnosis, dtype=object)
    people = number_people(person, labels.size)
    first_diagnosis = _first_diagnosis(labels, people, check_ages(age, labels.size))
    if how.draws < 1:
        raise DataError(f"{how.draws} draws give no p", "Ask for 10000 draws.")
    pairs = [
        _compare(values, (labels, first_diagnosis, people), pair, how) for pair in combinations(tuple(diagnoses), 2)
    ]
    tested = [i for i, pair in enumerate(pairs) if pair.p]
    adjusted = adjust_p(np.array([pairs[i].p for i in tested]), how.correction)
    for i, row in zip(tested, adjusted, strict=True):
        pairs[i] = replace(
            pairs[i],
            p_adjusted=tuple(map(float, row)),
            p_adjusted_mean=float(row.mean()),
            p_adjusted_max=float(row.max()),
        )
    return tuple(pairs)


def _compare(
    values: NDArray[np.float64],
    scans: tuple[NDArray[Any], NDArray[Any], NDArray[np.int64]],
    pair: tuple[str, str],
    how: PermutationSettings,
) -> PermutationComparison:
    diagnosis, first_diagnosis, person = scans
    in_pair = np.isin(first_diagnosis, list(pair))
    counts = in_pair & (diagnosis == first_diagnosis)
    _, where, of_scan, n_scans = np.unique(person[counts], return_index=True, return_inverse=True, return_counts=True)
    people = _People(of_scan, (first_diagnosis[counts] == pair[1])[where], n_scans)
    second, of_second = people.is_second, people.is_second[of_scan]
    empty = PermutationComparison(
        *pair,
        n_people=(int((~second).sum()), int(second.sum())),
        n_scans=(int((~of_second).sum()), int(of_second.sum())),
        n_left_out=int((in_pair & ~counts).sum()),
        n_exchangeable=int(people.exchangeable().sum()),
        statistic=how.statistic,
    )
    reason = _why_not(empty, values[:, counts])
    if reason:
        return replace(empty, reason=reason)
    scores = rankdata(values[:, counts], axis=1) if how.statistic == "auc" else values[:, counts]
    estimate = _estimate(scores, of_second, how.statistic)
    p = _two_sided_p(scores, people, how)
    return replace(
        empty,
        estimate=tuple(map(float, estimate)),
        estimate_mean=float(estimate.mean()),
        p=tuple(map(float, p)),
        p_mean=float(p.mean()),
        p_max=float(p.max()),
    )


def _estimate(
    scores: NDArray[np.float64], of_second: NDArray[np.bool_], statistic: Literal["mean", "auc"]
) -> NDArray[np.float64]:
    """Return the difference of means of deltas, or the AUC from ranks (Mann and Whitney 1947), [n_seeds]."""
    if statistic == "mean":
        return np.asarray(scores[:, of_second].mean(axis=1) - scores[:, ~of_second].mean(axis=1))
    n = int(of_second.sum())
    return np.asarray((scores[:, of_second].sum(axis=1) - n * (n + 1) / 2) / (n * (of_second.size - n)))


def _two_sided_p(scores: NDArray[np.float64], people: _People, how: PermutationSettings) -> NDArray[np.float64]:
    """Return the two-sided p of the sum of scores over the second group, [n_seeds], from scores [n_seeds, n_scans]."""
    centred = scores - scores.mean(axis=1, keepdims=True)
    sums = np.stack([np.bincount(people.of_scan, weights=row, minlength=people.is_second.size) for row in centred])
    chosen = np.flatnonzero(people.exchangeable())
    chosen = chosen[np.argsort(people.n_scans[chosen], kind="stable")]
    sums, second = sums[:, chosen], people.is_second[chosen]
    sizes = np.unique(people.n_scans[chosen], return_counts=True)[1]
    observed = sums[:, second].sum(axis=1)
    rounding = 1e-11 * np.abs(sums).sum(axis=1)  # the same sum in another order is a tie
    above, below = np.zeros(len(sums)), np.zeros(len(sums))
    for labels in _draw_labels(second, sizes, how):
        drawn = labels @ sums.T
        above += (drawn >= observed - rounding).sum(axis=0)
        below += (drawn <= observed + rounding).sum(axis=0)
    return np.asarray(np.minimum(1.0, 2 * (1 + np.minimum(above, below)) / (1 + how.draws)))


def _draw_labels(
    second: NDArray[np.bool_], sizes: NDArray[np.int64], how: PermutationSettings
) -> Iterator[NDArray[np.float64]]:
    """Yield [some draws, n_people] of 0 and 1, permuted within consecutive runs of people of these sizes."""
    rng = np.random.default_rng(how.seed)
    ends = np.cumsum(sizes)
    at_once = max(1, CHUNK // second.size)
    for start in range(0, how.draws, at_once):
        labels = np.tile(second.astype(np.float64), (min(at_once, how.draws - start), 1))
        for low, high in zip(ends - sizes, ends, strict=True):
            labels[:, low:high] = rng.permuted(labels[:, low:high], axis=1)
        yield labels


def _first_diagnosis(diagnosis: NDArray[Any], person: NDArray[np.int64], age: NDArray[np.float64]) -> NDArray[Any]:
    """Return the diagnosis of each scan's person at the youngest age, the earlier scan of the table at a tie."""
    order = np.lexsort((age, person))
    people, first = np.unique(person[order], return_index=True)
    return np.asarray(diagnosis[order[first]][np.searchsorted(people, person)], dtype=object)


def _why_not(pair: PermutationComparison, values: NDArray[np.float64]) -> str:
    for name, n in zip((pair.first, pair.second), pair.n_people, strict=True):
        if n < 2:
            return f"{'no' if n == 0 else 'only one'} {name} {'people' if n == 0 else 'person'}"
    if not len(values):
        return "no seeds"
    if pair.n_exchangeable == 0:
        return f"no two people, one {pair.first} and one {pair.second}, have as many scans as each other"
    return "all deltas are equal" if all_equal(values) else ""
