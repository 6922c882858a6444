"""Does the brain-age delta differ between diagnoses? Mann-Whitney U by pair and seed, and effect sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import exp, log, sqrt
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu
from statsmodels.stats.multitest import multipletests

from brainage_ray.evaluation.metrics import sample_sd

Z_95 = 1.959963984540054
"""97.5 % point of the standard normal distribution."""


@dataclass(frozen=True)
class PairComparison:
    """Two diagnoses; each tuple has one value a seed and is empty where the pair could not be tested."""

    first: str
    second: str
    n_first: int
    n_second: int
    p: tuple[float, ...] = ()
    """Two-sided Mann-Whitney U."""
    p_mean: float | None = None
    """Over the seeds, as the paper reports it; a description, not a p-value of its own."""
    p_max: float | None = None
    p_adjusted: tuple[float, ...] = ()
    """Corrected over the pairs within each seed."""
    p_adjusted_mean: float | None = None
    p_adjusted_max: float | None = None
    auc: tuple[float, ...] = ()
    """Chance that a scan of `second` has the larger delta than one of `first`, ties counted half."""
    auc_mean: float | None = None
    auc_sd: float | None = None
    """Over the seeds; None for fewer than two."""
    auc_interval: tuple[float, float] | None = None
    """95 % confidence interval of auc_mean over the people; None where auc_mean is 0 or 1."""
    rank_biserial: tuple[float, ...] = ()
    """2 x AUC - 1: -1 to 1, 0 for no difference."""
    rank_biserial_mean: float | None = None
    reason: str = ""
    """Why the numbers are missing."""


def compare_pairs(
    deltas: NDArray[np.float64],
    diagnosis: NDArray[Any],
    diagnoses: Sequence[str],
    correction: Literal["holm", "none"],
) -> tuple[PairComparison, ...]:
    """Test every pair of diagnoses for each seed.

    Args:
        deltas: [n_seeds, n_scans], years.
        diagnosis: [n_scans].
        diagnoses: the groups; `first` of a pair is the one named earlier.
        correction: of the p-values over the pairs that could be tested; "none" repeats them.

    Returns:
        One comparison a pair. Groups of fewer than two scans, or without two different values, give
        a comparison without numbers that says why.
    """
    groups = {name: deltas[:, diagnosis == name] for name in diagnoses}
    pairs = [_compare((a, groups[a]), (b, groups[b])) for a, b in combinations(diagnoses, 2)]
    tested = [i for i, pair in enumerate(pairs) if pair.p]
    adjusted = adjust_p(np.array([pairs[i].p for i in tested]), correction)
    for i, row in zip(tested, adjusted, strict=True):
        pairs[i] = replace(
            pairs[i],
            p_adjusted=tuple(map(float, row)),
            p_adjusted_mean=float(row.mean()),
            p_adjusted_max=float(row.max()),
        )
    return tuple(pairs)


def adjust_p(p: NDArray[np.float64], correction: Literal["holm", "none"]) -> NDArray[np.float64]:
    """Correct for several pairs within each seed.

    Args:
        p: [n_pairs, n_seeds].
        correction: "holm" (Holm, Scand J Stat 6:65, 1979) or "none".

    Returns:
        [n_pairs, n_seeds].
    """
    if correction == "none" or len(p) < 2:  # multipletests collects garbage at each call: not for nothing
        return p
    return np.stack([multipletests(column, method="holm")[1] for column in p.T], axis=1)


def auc_interval(auc: float, n_first: int, n_second: int) -> tuple[float, float] | None:
    """Return the 95 % confidence interval of an area under the ROC curve, on the logit scale.

    The standard error is that of Hanley and McNeil, Radiology 143:29 (1982).

    Args:
        auc: 0 to 1.
        n_first: scans of the group that should have the smaller values.
        n_second: scans of the other.

    Returns:
        Low and high, or None where the area is 0 or 1 and the standard error has no meaning.
    """
    if not 0 < auc < 1:
        return None
    margin = Z_95 * auc_standard_error(auc, n_first, n_second) / (auc * (1 - auc))
    centre = log(auc / (1 - auc))
    return 1 / (1 + exp(margin - centre)), 1 / (1 + exp(-margin - centre))


def auc_standard_error(auc: float, n_first: int, n_second: int) -> float:
    """Return the standard error of an area under the ROC curve (Hanley and McNeil 1982, equation 1)."""
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = auc * (1 - auc) + (n_second - 1) * (q1 - auc**2) + (n_first - 1) * (q2 - auc**2)
    return sqrt(max(variance, 0.0) / (n_first * n_second))


def _compare(first: tuple[str, NDArray[np.float64]], second: tuple[str, NDArray[np.float64]]) -> PairComparison:
    (name_a, a), (name_b, b) = first, second
    n_a, n_b = a.shape[1], b.shape[1]
    reason = _why_not(first, second)
    if reason:
        return PairComparison(name_a, name_b, n_a, n_b, reason=reason)
    tests = [mannwhitneyu(y, x, alternative="two-sided") for x, y in zip(a, b, strict=True)]
    p = tuple(float(test.pvalue) for test in tests)
    auc = tuple(float(test.statistic) / (n_a * n_b) for test in tests)
    auc_mean = float(np.mean(auc))
    return PairComparison(
        name_a, name_b, n_a, n_b, p=p, p_mean=float(np.mean(p)), p_max=max(p),
        auc=auc, auc_mean=auc_mean, auc_sd=sample_sd(auc), auc_interval=auc_interval(auc_mean, n_a, n_b),
        rank_biserial=tuple(2 * value - 1 for value in auc), rank_biserial_mean=2 * auc_mean - 1,
    )  # fmt: skip


def _why_not(first: tuple[str, NDArray[np.float64]], second: tuple[str, NDArray[np.float64]]) -> str:
    for name, group in (first, second):
        if group.shape[1] < 2:
            return f"{'no' if group.shape[1] == 0 else 'only one'} {name} scan{'' if group.shape[1] else 's'}"
    both = np.concatenate([first[1], second[1]], axis=1)
    return "all deltas are equal" if (np.ptp(both, axis=1) == 0).any() else ""
