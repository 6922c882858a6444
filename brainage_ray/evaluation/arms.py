"""Do two arms differ in MAE? Paired by person; persons and seeds are both a sample, so both are resampled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import sqrt
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import t as student

from brainage_ray.errors import DataError
from brainage_ray.evaluation.comparisons import adjust_p

BLOCK_WEIGHTS = 4_000_000
"""Weights of persons (8 bytes each) that are in memory at a time."""
NO_SPREAD_YEARS = 1e-9
"""A standard error below this is rounding."""


@dataclass(frozen=True)
class PersonErrors:
    """Absolute errors, summed over each person's scans."""

    sums_years: Mapping[str, NDArray[np.float64]]
    """By arm: [n_seeds, n_persons]."""
    n_scans: NDArray[np.float64]
    """[n_persons]: scans of each person."""

    @property
    def mae_years(self) -> dict[str, NDArray[np.float64]]:
        """By arm: [n_seeds], the mean over all scans."""
        return {arm: sums.sum(axis=1) / self.n_scans.sum() for arm, sums in self.sums_years.items()}


@dataclass(frozen=True)
class ArmComparison:
    """Two arms on the same scans."""

    first: str
    second: str
    n_persons: int
    n_seeds: tuple[int, int]
    """Of the first and of the second arm."""
    difference_years: float | None = None
    """MAE of the first minus MAE of the second, means over the seeds; below 0 the first is better."""
    interval: tuple[float, float] | None = None
    """95 % confidence interval of the difference over persons and seeds, years."""
    p: float | None = None
    """Two-sided."""
    p_adjusted: float | None = None
    """Holm over the pairs of arms that could be tested."""
    reason: str = ""
    """Why a number is None."""


@dataclass(frozen=True)
class _Draws:
    """MAE of the arms under resampling, each [n_draws, n_arms] and less the observed MAE, years."""

    persons: NDArray[np.float64]
    seeds: NDArray[np.float64]
    both: NDArray[np.float64]


def compare_arms(
    brain_ages: Mapping[str, NDArray[Any]],
    age: NDArray[Any],
    person: NDArray[Any],
    n_draws: int = 10_000,
    seed: int = 0,
) -> tuple[ArmComparison, ...]:
    """Compare the MAE of every pair of arms, by a bootstrap of two levels.

    Each draw takes persons with replacement, with all of their scans and the same ones for all arms, and seeds with
    replacement within each arm: seed 3 of one arm has nothing in common with seed 3 of another. Few seeds bound what
    a percentile of such draws can reach, so the draws give the variance, and Student's t the interval and p:

    - deviations are stretched by sqrt(n / (n - 1)), without which n seeds give (n - 1) / n of their variance
      (Rao and Wu, J Am Stat Assoc 83:231, 1988);
    - drawing both counts their interaction three times (Owen, Ann Appl Stat 1:386, 2007); it is taken out as in
      studies of many readers and many cases: persons + seeds - interaction (Gallas, Acad Radiol 13:353, 2006);
    - degrees of freedom are Satterthwaite's: with persons alike this is Welch's test of the seeds' MAEs, with seeds
      alike the paired t-test over persons.

    A test that flips signs of persons was not taken: it holds the fitted models fixed, so two arms that differ by the
    luck of their seeds alone become significant as persons are added.

    Args:
        brain_ages: by arm: [n_seeds, n_scans], years; the number of seeds may differ between arms.
        age: [n_scans], chronological, years.
        person: [n_scans], who was scanned.
        n_draws: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        One comparison a pair, in the order of the arms; none for a single arm. Fewer than two persons, or one seed
        in an arm, leave no interval and no p, and say so.

    Raises:
        DataError: shapes that do not fit, no scans, a value that is not finite, a scan without a person,
            or fewer than 100 draws.
    """
    errors = person_errors(brain_ages, age, person)
    if n_draws < 100:
        raise DataError(f"{n_draws} draws are too few for an interval", "Take 100 at least, better 10,000.")
    columns = {arm: i for i, arm in enumerate(errors.sums_years)}
    pairs = [_describe(errors, a, b) for a, b in combinations(columns, 2)]
    if any(not pair.reason for pair in pairs):
        draws = _draw(errors, n_draws, seed)
        pairs = [pair if pair.reason else _test(pair, draws, columns) for pair in pairs]
    tested = [i for i, pair in enumerate(pairs) if pair.p is not None]
    adjusted = adjust_p(np.array([[pairs[i].p] for i in tested], dtype=np.float64), "holm")
    for i, row in zip(tested, adjusted, strict=True):
        pairs[i] = replace(pairs[i], p_adjusted=float(row[0]))
    return tuple(pairs)


def person_errors(brain_ages: Mapping[str, NDArray[Any]], age: NDArray[Any], person: NDArray[Any]) -> PersonErrors:
    """Sum the absolute errors of each person's scans.

    Args:
        brain_ages: by arm: [n_seeds, n_scans], years.
        age: [n_scans], chronological, years.
        person: [n_scans].

    Raises:
        DataError: shapes that do not fit, no arms or scans, a value that is not finite, or a scan without a person.
    """
    ages, people = _check_scans(age, person)
    if not brain_ages:
        raise DataError("there are no arms", "Give the brain ages of one arm at least.")
    codes, names = pd.factorize(people)
    if (codes < 0).any() or (people.astype(str) == "").any():
        raise DataError("a scan belongs to no person", "Fill the column person.")
    sums = {arm: _sum(_errors(arm, values, ages), codes, len(names)) for arm, values in brain_ages.items()}
    return PersonErrors(sums, np.bincount(codes, minlength=len(names)).astype(np.float64))


def person_weights(n_persons: int, n_draws: int, rng: np.random.Generator) -> Iterator[NDArray[np.float64]]:
    """Draw persons with replacement, n_draws times; yield how often each was drawn, [block, n_persons].

    A block holds BLOCK_WEIGHTS weights at most, or one draw. Counting indices is ten times as fast as
    numpy's multinomial, and the same distribution.
    """
    block = max(1, BLOCK_WEIGHTS // n_persons)
    for start in range(0, n_draws, block):
        rows = min(block, n_draws - start)
        drawn = rng.integers(0, n_persons, size=(rows, n_persons))
        drawn += np.arange(rows)[:, None] * n_persons
        counts = np.bincount(drawn.ravel(), minlength=rows * n_persons)
        yield counts.reshape(rows, n_persons).astype(np.float64)


def satterthwaite(variances: Sequence[float], freedoms: Sequence[int], total: float) -> float:
    """Return the degrees of freedom of a sum of variances (Satterthwaite, Biometrics Bull 2:110, 1946).

    Args:
        variances: of the parts.
        freedoms: degrees of freedom of each part, 1 or more.
        total: the variance that they make up, above 0.
    """
    return total**2 / sum(v**2 / n for v, n in zip(variances, freedoms, strict=True))


def _check_scans(age: NDArray[Any], person: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[Any]]:
    ages, people = np.asarray(age, dtype=np.float64), np.asarray(person, dtype=object)
    if ages.ndim != 1 or ages.shape != people.shape:
        raise DataError(f"ages {ages.shape} and persons {people.shape} differ in shape", "Give one of each a scan.")
    if ages.size == 0:
        raise DataError("there are no scans to compare arms on", "Check the split and the diagnoses.")
    if not np.isfinite(ages).all():
        where = int(np.flatnonzero(~np.isfinite(ages))[0])
        raise DataError(f"scan {where} has the age {ages[where]}", "Look at that scan.")
    return ages, people


def _errors(arm: str, brain_ages: NDArray[Any], ages: NDArray[np.float64]) -> NDArray[np.float64]:
    predicted = np.asarray(brain_ages, dtype=np.float64)
    if predicted.ndim != 2 or predicted.shape[1] != len(ages) or len(predicted) == 0:
        problem = f"the brain ages of arm {arm} have the shape {predicted.shape} for {len(ages)} scans"
        raise DataError(problem, "Give one row a seed and one column a scan.")
    if not np.isfinite(predicted).all():
        row, scan = (int(i) for i in np.argwhere(~np.isfinite(predicted))[0])
        problem = f"arm {arm}, row {row} of its seeds, scan {scan} has brain age {predicted[row, scan]}"
        raise DataError(problem, "Look at that model, or leave its seed out.")
    return np.abs(predicted - ages)


def _sum(errors: NDArray[np.float64], codes: NDArray[np.int64], n_persons: int) -> NDArray[np.float64]:
    return np.array([np.bincount(codes, weights=row, minlength=n_persons) for row in errors], dtype=np.float64)


def _describe(errors: PersonErrors, first: str, second: str) -> ArmComparison:
    mae = errors.mae_years
    n_persons, n_seeds = len(errors.n_scans), (len(mae[first]), len(mae[second]))
    reason = "one person has no spread" if n_persons < 2 else ""
    for arm, seeds in zip((first, second), n_seeds, strict=True):
        reason = f"one seed of {arm}: its spread between seeds is unknown" if seeds < 2 else reason
    difference = float(mae[first].mean() - mae[second].mean())
    return ArmComparison(first, second, n_persons, n_seeds, difference, reason=reason)


def _draw(errors: PersonErrors, n_draws: int, seed: int) -> _Draws:
    streams = dict(
        zip(sorted(errors.sums_years), np.random.SeedSequence(seed).spawn(len(errors.sums_years)), strict=True)
    )
    models = np.concatenate([_in_order(sums) for sums in errors.sums_years.values()])
    observed = models.sum(axis=1) / errors.n_scans.sum()
    drawn = _draw_persons(models, errors.n_scans, n_draws, np.random.default_rng(seed)) - observed
    persons, seeds, both, start = [], [], [], 0
    for arm, sums in errors.sums_years.items():
        n_seeds = len(sums)
        part = slice(start, start + n_seeds)
        weights = _draw_seeds(n_seeds, n_draws, np.random.default_rng(streams[arm]))
        persons.append(drawn[:, part].mean(axis=1))
        seeds.append(weights @ observed[part] - observed[part].mean())
        both.append((weights * (drawn[:, part] + observed[part])).sum(axis=1) - observed[part].mean())
        start += n_seeds
    return _Draws(np.stack(persons, axis=1), np.stack(seeds, axis=1), np.stack(both, axis=1))


def _in_order(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sort the seeds by their errors, so that their order in the table changes nothing."""
    return sums[np.argsort(sums.sum(axis=1), kind="stable")]


def _draw_persons(
    models: NDArray[np.float64], n_scans: NDArray[np.float64], n_draws: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return the MAE of each model under each draw of persons, [n_draws, n_models]."""
    n_persons = len(n_scans)
    table = np.vstack([models, n_scans]).T
    total = table.sum(axis=0)
    stretch = sqrt(n_persons / max(n_persons - 1, 1))
    parts = [total + stretch * (weights @ table - total) for weights in person_weights(n_persons, n_draws, rng)]
    sums = np.concatenate(parts)
    return np.asarray(sums[:, :-1] / sums[:, -1:], dtype=np.float64)


def _draw_seeds(n_seeds: int, n_draws: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the stretched weights of the seeds, [n_draws, n_seeds], which sum to 1."""
    weights = rng.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), size=n_draws) / n_seeds
    return np.asarray(1 / n_seeds + sqrt(n_seeds / max(n_seeds - 1, 1)) * (weights - 1 / n_seeds), dtype=np.float64)


def _test(pair: ArmComparison, draws: _Draws, columns: Mapping[str, int]) -> ArmComparison:
    a, b = columns[pair.first], columns[pair.second]
    persons = float(np.var(draws.persons[:, a] - draws.persons[:, b]))
    seeds = [float(np.var(draws.seeds[:, i])) for i in (a, b)]
    interaction = draws.both - draws.persons - draws.seeds
    mixed = float(np.var(interaction[:, a] - interaction[:, b]))
    variance = max(persons + sum(seeds) - mixed, persons, sum(seeds))
    if sqrt(variance) < NO_SPREAD_YEARS:
        return replace(pair, reason="neither persons nor seeds differ in the difference")
    freedom = satterthwaite([persons, *seeds], [pair.n_persons - 1, *(n - 1 for n in pair.n_seeds)], variance)
    difference = pair.difference_years or 0.0
    margin = float(student.ppf(0.975, freedom)) * sqrt(variance)
    p = float(2 * student.sf(abs(difference) / sqrt(variance), freedom))
    return replace(pair, interval=(difference - margin, difference + margin), p=p)
