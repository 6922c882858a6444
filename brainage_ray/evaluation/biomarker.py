"""Does a better brain-age model give a better biomarker? Rank correlation over arms of MAE and separation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import kendalltau, rankdata, spearmanr

from brainage_ray.errors import DataError
from brainage_ray.evaluation.arms import person_errors, person_weights

FEWEST_ARMS = 4
"""Three arms have six orders: no rank correlation of them can be told from chance."""
FEWEST_DRAWS = 0.95
"""Share of the bootstrap draws that must give a correlation, for an interval."""


@dataclass(frozen=True)
class Scans:
    """Test scans; each [n_scans]."""

    age: NDArray[Any]
    """Chronological, years."""
    person: NDArray[Any]
    diagnosis: NDArray[Any]


@dataclass(frozen=True)
class BiomarkerCorrelation:
    """Over the arms; -1: the arms with the smaller errors separate better."""

    arms: tuple[str, ...]
    first: str
    second: str
    """The diagnosis whose deltas should be the larger ones."""
    mae_years: tuple[float, ...] = ()
    """By arm, mean over the seeds, on the scans of mae_diagnoses."""
    auc: tuple[float, ...] = ()
    """By arm, mean over the seeds: chance that a scan of `second` has the larger delta than one of `first`."""
    spearman: float | None = None
    spearman_interval: tuple[float, float] | None = None
    """95 %, percentiles of the bootstrap over persons; arms and seeds as they are."""
    kendall: float | None = None
    """tau-b."""
    kendall_interval: tuple[float, float] | None = None
    kendall_p: float | None = None
    """Two-sided; exact where no arms tie."""
    reason: str = ""
    """Why a number is None."""


def mae_and_separation(
    brain_ages: Mapping[str, NDArray[Any]],
    scans: Scans,
    pair: tuple[str, str] = ("MCI", "AD"),
    mae_diagnoses: Sequence[str] = ("CN",),
    n_draws: int = 2_000,
    seed: int = 0,
) -> BiomarkerCorrelation:
    """Correlate the arms' test MAE with how well their brain-age delta separates two diagnoses.

    The separation is the AUC; -log10 of a Mann-Whitney p has the same order over arms, since p depends on the AUC
    alone where the groups are the same. Memory grows with the scans of one diagnosis times those of the other.

    Args:
        brain_ages: by arm: [n_seeds, n_scans], years.
        scans: what is known of each scan.
        pair: the diagnosis with the smaller expected delta, then the other.
        mae_diagnoses: whose scans count for the MAE.
        n_draws: of the bootstrap over persons; Efron and Tibshirani (1993) ask for 1,000 for an interval.
        seed: of the bootstrap.

    Returns:
        The correlations; fewer than four arms, fewer than two persons in a group, or arms that all tie give none
        and say why.

    Raises:
        DataError: as evaluation.arms.person_errors, or fewer than 100 draws.
    """
    if n_draws < 100:
        raise DataError(f"{n_draws} draws are too few for an interval", "Take 1,000 at least.")
    person_errors(brain_ages, scans.age, scans.person)  # for its checks
    diagnosis = np.asarray(scans.diagnosis, dtype=object)
    if len(diagnosis) != len(scans.age):
        raise DataError(f"{len(diagnosis)} diagnoses for {len(scans.age)} scans", "Give one diagnosis a scan.")
    result = BiomarkerCorrelation(tuple(brain_ages), *pair)
    groups = (np.isin(diagnosis, list(mae_diagnoses)), diagnosis == pair[0], diagnosis == pair[1])
    reason = _why_not(result, scans, groups, mae_diagnoses)
    if reason:
        return replace(result, reason=reason)
    persons = pd.factorize(np.asarray(scans.person, dtype=object))[0]
    kernels = [
        _Kernel(np.asarray(values, dtype=np.float64) - scans.age, groups, persons) for values in brain_ages.values()
    ]
    return _with_intervals(_observe(result, kernels, persons), kernels, (persons, n_draws, seed))


class _Kernel:
    """One arm's MAE and AUC as functions of how often each person counts."""

    def __init__(
        self,
        deltas: NDArray[np.float64],
        groups: tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]],
        persons: NDArray[np.int64],
    ) -> None:
        counts, first, second = groups
        self.errors = np.abs(deltas[:, counts]).mean(axis=0)
        self.persons = tuple(persons[group] for group in groups)
        self.wins = np.zeros((int(first.sum()), int(second.sum())), dtype=np.float32)
        for row in deltas:
            a, b = row[first][:, None], row[second][None, :]
            self.wins += (b > a) + np.float32(0.5) * (b == a)
        self.wins /= len(deltas)

    def __call__(self, weights: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return MAE (years) and AUC, each [n_draws], NaN where a group is empty; weights: [n_draws, n_persons]."""
        w_mae, w_first, w_second = (weights[:, persons] for persons in self.persons)
        won = ((w_first.astype(np.float32) @ self.wins) * w_second).sum(axis=1)
        pairs = w_first.sum(axis=1) * w_second.sum(axis=1)
        return _divide(w_mae @ self.errors, w_mae.sum(axis=1)), _divide(won, pairs)


def _divide(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.divide(a, b, out=np.full(len(a), np.nan), where=b > 0), dtype=np.float64)


def _why_not(
    result: BiomarkerCorrelation,
    scans: Scans,
    groups: tuple[NDArray[np.bool_], ...],
    mae_diagnoses: Sequence[str],
) -> str:
    if len(result.arms) < FEWEST_ARMS:
        return f"{len(result.arms)} of the {FEWEST_ARMS} arms that a rank correlation needs"
    names = (" or ".join(mae_diagnoses), result.first, result.second)
    for name, group in zip(names, groups, strict=True):
        n = len(set(np.asarray(scans.person, dtype=object)[group]))
        if n < 2:
            return f"{'no' if n == 0 else 'only one'} person with {name}"
    return ""


def _observe(
    result: BiomarkerCorrelation, kernels: Sequence[_Kernel], persons: NDArray[np.int64]
) -> BiomarkerCorrelation:
    once = np.ones((1, int(persons.max()) + 1))
    mae, auc = (np.array(values).ravel() for values in zip(*(kernel(once) for kernel in kernels), strict=True))
    result = replace(result, mae_years=tuple(map(float, mae)), auc=tuple(map(float, auc)))
    for what, values in (("MAE", mae), ("AUC", auc)):
        if np.ptp(values) == 0:
            return replace(result, reason=f"all arms have the same {what}")
    tau = kendalltau(mae, auc)
    spearman = float(spearmanr(mae, auc).statistic)
    return replace(result, spearman=spearman, kendall=float(tau.statistic), kendall_p=float(tau.pvalue))


def _with_intervals(
    result: BiomarkerCorrelation, kernels: Sequence[_Kernel], bootstrap: tuple[NDArray[np.int64], int, int]
) -> BiomarkerCorrelation:
    if result.reason:
        return result
    persons, n_draws, seed = bootstrap
    n_persons = int(persons.max()) + 1
    parts = [
        np.array([kernel(weights) for kernel in kernels])
        for weights in person_weights(n_persons, n_draws, np.random.default_rng(seed))
    ]
    mae, auc = np.concatenate(parts, axis=2).transpose(1, 2, 0)
    usable = np.isfinite(mae + auc).all(axis=1)
    usable[usable] = (np.ptp(mae[usable], axis=1) > 0) & (np.ptp(auc[usable], axis=1) > 0)
    if usable.mean() < FEWEST_DRAWS:
        return replace(
            result, reason="too few persons for an interval: many draws leave a group empty or all arms tied"
        )
    drawn = mae[usable], auc[usable]
    spearman, kendall = row_correlations(rankdata(drawn[0], axis=1), rankdata(drawn[1], axis=1)), row_kendalls(*drawn)
    return replace(result, spearman_interval=_percentiles(spearman), kendall_interval=_percentiles(kendall))


def row_correlations(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Pearson's r of each row: [n_draws] from two of [n_draws, n_arms]; of ranks it is Spearman's."""
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    return np.asarray((a * b).sum(axis=1) / np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1)), dtype=np.float64)


def row_kendalls(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Kendall's tau-b of each row: [n_draws] from two of [n_draws, n_arms] (Biometrika 33:239, 1945)."""
    i, j = np.triu_indices(a.shape[1], k=1)
    x, y = np.sign(a[:, i] - a[:, j]), np.sign(b[:, i] - b[:, j])
    untied = np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
    return np.asarray((x * y).sum(axis=1) / untied, dtype=np.float64)


def _percentiles(draws: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)
