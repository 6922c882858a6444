"""Which trial of an arm is taken, and whether one arm is better than the others: choices that know their noise.

Both look at the validation split alone, at the errors of each person: a person's repeat scans count together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite, sqrt
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from brainage_ray.errors import DataError
from brainage_ray.evaluation.arms import ArmComparison

ALPHA = 0.05
"""An arm is called better where p, corrected over all pairs of arms, is below this."""

Rule = Literal["best", "one_standard_error"]


@dataclass(frozen=True, eq=False)
class Candidate:
    """Settings that may be chosen."""

    name: int
    """Number of the trial."""
    mae_years: float
    """On the validation split, mean over the seeds."""
    weights: int = 0
    """Of the network."""
    epochs: int = 0
    """That the final models would be trained."""
    changed: int = 0
    """Settings that differ from the experiment's own."""
    sums_years: NDArray[np.float64] | None = None
    """[n_seeds, n_persons], absolute errors summed over each person's scans; None: not known."""
    n_scans: NDArray[np.float64] | None = None
    """[n_persons], scans of each person."""
    delta_auc: float | None = None
    """How well the brain-age delta tells AD from CN; where it is an objective too."""

    @property
    def preference(self) -> tuple[float, ...]:
        """The cheaper first, then the simpler: weights, epochs, settings that differ, MAE, number."""
        return self.weights, self.epochs, self.changed, self.mae_years, self.name

    @property
    def auc(self) -> float:
        """The delta_auc, below every other where it is not known."""
        return -inf if self.delta_auc is None else self.delta_auc

    def beats(self, other: Candidate) -> bool:
        """Tell whether this one is better in MAE or AUC and worse in neither."""
        better = self.mae_years < other.mae_years or self.auc > other.auc
        return better and self.mae_years <= other.mae_years and self.auc >= other.auc


@dataclass(frozen=True)
class Choice:
    """What was chosen, and among what."""

    name: int
    best: int
    """The candidate with the lowest MAE."""
    within: tuple[int, ...]
    """Those that stood for choice, in ascending order: within one standard error of the best, and with two objectives
    beaten by none."""
    standard_error_years: float | None = None
    """Of the difference between the chosen one and the best; None where that is the same one."""


def choose(candidates: Sequence[Candidate], rule: Rule) -> Choice:
    """Choose settings on the validation split.

    `best` takes the lowest MAE, of equals the first. `one_standard_error` takes, among those whose MAE is at most one
    standard error above the lowest, the one with the fewest weights; of these the one with the fewest epochs; of
    these the one with the fewest settings that differ from the experiment's own; of these the lowest MAE (Breiman,
    Friedman, Olshen and Stone, Classification and Regression Trees, 1984, section 3.4.3). Weights and epochs stand
    for the cost, and measured seconds do not: they depend on what else a machine does, and a choice must not.

    With two objectives, where the candidates have a delta_auc, either rule takes the largest one among those within
    one standard error of the lowest MAE; of these the lowest MAE, and asks for the cost after that. Equals in MAE are
    ordered by delta_auc. A candidate that another one beats, wherever that lies, does not stand: the standard error is
    that of each candidate's own difference, so that the one that beats it may be told from the best where it is not.

    Args:
        candidates: of one arm, read on the same people in the same order.
        rule: as search.choice.

    Raises:
        DataError: no candidates, or a MAE that is not finite.
    """
    bad = [c.name for c in candidates if not isfinite(c.mae_years)]
    if bad or not candidates:
        problem = f"candidate {bad[0]} has no finite MAE" if bad else "there are no candidates"
        raise DataError(problem, "Give candidates that were trained to their end.")
    two = any(c.delta_auc is not None for c in candidates)
    best = min(candidates, key=lambda c: (c.mae_years, -c.auc, c.preference if two else (c.name,)))
    if rule == "best" and not two:
        return Choice(best.name, best.name, (best.name,))
    errors = {c.name: standard_error(c, best) or 0.0 for c in candidates}
    within = [c for c in candidates if c.mae_years - best.mae_years <= errors[c.name]]
    if two:
        within = [c for c in within if not any(other.beats(c) for other in candidates)]
    chosen = min(within, key=lambda c: (-c.auc, c.mae_years, c.preference) if two else c.preference)
    error = None if chosen is best else errors[chosen.name]
    return Choice(chosen.name, best.name, tuple(sorted(c.name for c in within)), error)


def standard_error(first: Candidate, second: Candidate) -> float | None:
    """Return the standard error of the difference of two candidates' MAE, years; None where errors are not known.

    Breiman's rule takes the standard error of the best one's own error. Candidates that are read on the same people
    share most of that: a hard person is hard for all. So the error is that of the paired difference (the modified rule
    of Yates et al., Ecol Monogr 93:e1557, 2023), and it counts persons and seeds both as samples: it is what the
    bootstrap of `arms.compare_arms` comes to, in closed form: persons + seeds of the one + seeds of the other -
    interaction (Gallas, Acad Radiol 13:353, 2006), linearised where people have different numbers of scans. With one
    seed the spread between seeds is not known and not in it: then the rule stays closer to the lowest MAE.

    Raises:
        DataError: the candidates were read on different people.
    """
    if first.sums_years is None or second.sums_years is None or first.n_scans is None or second.n_scans is None:
        return None
    if not np.array_equal(first.n_scans, second.n_scans):
        raise DataError(
            f"candidates {first.name} and {second.name} were read on different people", "Read both on the same scans."
        )
    a, b = (_Parts.of(c.sums_years, first.n_scans) for c in (first, second) if c.sums_years is not None)
    people = len(first.n_scans)
    stretch = people / (people - 1) if people > 1 else 0.0
    persons = stretch * float(((a.person_years - b.person_years) ** 2).sum())
    seeds = a.seeds + b.seeds
    return sqrt(max(persons + seeds - stretch * (a.interaction + b.interaction), persons, seeds))


@dataclass(frozen=True, eq=False)
class _Parts:
    """Where the noise of a candidate's MAE comes from."""

    person_years: NDArray[np.float64]
    """[n_persons], what each person adds to the MAE beyond a person with the MAE, mean over the seeds."""
    seeds: float
    """Variance of the mean over the seeds, from the spread between them; 0 for one seed."""
    interaction: float
    """Variance that is in persons and in seeds alike."""

    @classmethod
    def of(cls, sums: NDArray[np.float64], n_scans: NDArray[np.float64]) -> _Parts:
        n, mae = len(sums), sums.sum(axis=1, keepdims=True) / n_scans.sum()
        added = (sums - mae * n_scans) / n_scans.sum()
        mean = added.mean(axis=0)
        if n < 2:
            return cls(mean, 0.0, 0.0)
        return cls(mean, float(np.var(mae, ddof=1)) / n, float(((added - mean) ** 2).sum()) / (n * (n - 1)))


@dataclass(frozen=True)
class Verdict:
    """Which arm goes on, and whether it is better than the others."""

    champion: str
    """The arm that is taken where one is wanted."""
    winner: str | None
    """An arm that was told apart from every other one; None: there is none."""
    undecided: tuple[str, ...]
    """Arms that none was told better than, in the order of the arms."""
    comparisons: tuple[ArmComparison, ...]
    """Of every pair of arms on the validation split."""
    sentence: str
    """The verdict for people."""


def declare_winner(
    mae_years: Mapping[str, float],
    comparisons: Sequence[ArmComparison],
    simplicity: Mapping[str, Sequence[float]] | None = None,
) -> Verdict:
    """Say whether an arm is better than every other one, beyond the noise of people and seeds.

    One arm is better than another where p of `arms.compare_arms`, corrected by Holm's method over all pairs of arms, is
    below 0.05 and its MAE the lower one: where all arms are equal, any is called better in at most 5 % of cases.

    Args:
        mae_years: by arm, as stated, on the validation split.
        comparisons: of the arms' chosen settings on the validation split; none: nothing can be told apart.
        simplicity: by arm, the smallest is the cheapest or simplest. With it the champion is the simplest of those that
            none is better than; without it the one with the lowest MAE. Ties go to the MAE, then to the name.

    Raises:
        DataError: there are no arms.
    """
    if not mae_years:
        raise DataError("there are no arms to choose from", "Give one at least.")
    better = {_order(pair) for pair in comparisons if pair.p_adjusted is not None and pair.p_adjusted < ALPHA}
    undecided = tuple(arm for arm in mae_years if not any(beaten == arm for _, beaten in better))
    asked = simplicity or {}
    champion = min(undecided, key=lambda arm: (*asked.get(arm, ()), mae_years[arm], arm))
    others = set(mae_years) - {champion}
    winner = champion if others and all((champion, other) in better for other in others) else None
    return Verdict(champion, winner, undecided, tuple(comparisons), _sentence(winner, undecided, comparisons))


def _order(pair: ArmComparison) -> tuple[str, str]:
    """Return the names of a pair, the one with the lower MAE first."""
    return (pair.first, pair.second) if (pair.difference_years or 0.0) < 0 else (pair.second, pair.first)


def _sentence(winner: str | None, undecided: Sequence[str], comparisons: Sequence[ArmComparison]) -> str:
    if winner is not None:
        p = max(pair.p_adjusted or 0.0 for pair in comparisons if winner in (pair.first, pair.second))
        return f"{winner} is better than every other arm on the validation split (largest corrected p {p:.3f})."
    if len(undecided) < 2:
        apart = f"No winner: not every arm was told apart from {undecided[0]}.{_remedy(comparisons)}"
        return apart if comparisons else "There is one arm."
    names = f"{', '.join(undecided[:-1])} and {undecided[-1]}"
    mine = [pair for pair in comparisons if pair.first in undecided and pair.second in undecided]
    tested = [pair.p_adjusted for pair in mine if pair.p_adjusted is not None]
    if tested:
        return f"No winner: {names} are equal within noise (smallest corrected p {min(tested):.2f}).{_remedy(mine)}"
    reasons = list(dict.fromkeys(pair.reason for pair in mine if pair.reason)) or ["what they read is gone"]
    return f"No winner: {names} cannot be told apart: {'; '.join(reasons)}.{_remedy(mine)}"


def _remedy(pairs: Sequence[ArmComparison]) -> str:
    """Say what to set, with a space before it, where pairs could not be tested for want of seeds; else ""."""
    if all(pair.p_adjusted is not None or min(pair.n_seeds) > 1 for pair in pairs):
        return ""
    return " To know it, set search.seeds_per_trial to 2 or more, or search.finalists to 1 or more."
