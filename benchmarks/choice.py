"""How often a winner is declared among simulated arms: equal ones, and one that is truly better.

An arm is searched by trials of one seed, its finalists are trained again with fresh seeds, one is chosen, and the arms
are compared: `one_study` is all of that. The peer is what a table of validation errors invites to: the arm with the
lowest search value wins. Every number of a repetition is drawn anew, the people too.
"""

from __future__ import annotations

import gc
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import Row
from brainage_ray.evaluation.arms import compare_arms
from brainage_ray.evaluation.choice import Candidate, Verdict, choose, declare_winner

REPEATS = 2_000
DRAWS = 300
"""Of the bootstrap in each repetition: the variance that it estimates is known to 8 % then."""


@dataclass(frozen=True)
class Noise:
    """Standard deviations of a person's absolute error, years."""

    person: float = 2.9
    """Between people, shared by all arms: a hard person is hard for all."""
    settings: float = 1.2
    """Between people, of the settings of a trial."""
    seed: float = 0.6
    """Between seeds, the same for all people."""
    rest: float = 1.5
    """Between people and seeds."""
    quality: float = 0.0
    """How much worse than the arm's best settings a trial's are: half-normal."""


@dataclass(frozen=True)
class Simulation:
    """A search of some arms."""

    arms: int = 2
    people: int = 60
    trials: int = 20
    finalists: int = 3
    seeds: int = 3
    """Fresh ones of each finalist."""
    better_years: float = 0.0
    """By which the first arm is truly better than all others."""
    noise: Noise = Noise()


def one_study(how: Simulation, rng: np.random.Generator) -> tuple[Verdict, float]:
    """Search, train the finalists again, choose and compare.

    Returns:
        The verdict, and the mean optimism: fresh value less search value of the chosen trials, years.
    """
    person = rng.normal(0, how.noise.person, how.people)
    ages, maes, optimism = {}, {}, []
    for arm in range(how.arms):
        level = 10 - how.better_years * (arm == 0)
        chosen, searched = _search(level + person, how, rng)
        name = f"arm{arm}"
        ages[name], maes[name] = chosen, float(chosen.mean())
        optimism.append(maes[name] - searched)
    comparisons = compare_arms(ages, np.zeros(how.people), np.arange(how.people), DRAWS, int(rng.integers(2**32)))
    return declare_winner(maes, comparisons), float(np.mean(optimism))


def _search(level: NDArray[np.float64], how: Simulation, rng: np.random.Generator) -> tuple[NDArray[np.float64], float]:
    """Return the errors of the chosen settings with fresh seeds [n_seeds, n_people], and their value in the search."""
    noise, people = how.noise, how.people
    worse = np.abs(rng.normal(0, noise.quality, (how.trials, 1))) if noise.quality else 0.0
    settings = level + worse + rng.normal(0, noise.settings, (how.trials, people))
    values = _train(settings, noise, rng).mean(axis=1)
    best = np.argsort(values)[: how.finalists]
    fresh = [np.array([_train(settings[i], noise, rng) for _ in range(how.seeds)]) for i in best]
    candidates = [Candidate(i, float(errors.mean())) for i, errors in enumerate(fresh)]
    chosen = choose(candidates, "best").name
    return fresh[chosen], float(values[best[chosen]])


def _train(settings: NDArray[np.float64], noise: Noise, rng: np.random.Generator) -> NDArray[np.float64]:
    """Add what a seed does to each trial."""
    seed = rng.normal(0, noise.seed, (*settings.shape[:-1], 1))
    return np.asarray(settings + seed + rng.normal(0, noise.rest, settings.shape))


def rates(how: Simulation, repeats: int = REPEATS, seed: int = 0) -> dict[str, float]:
    """Return how often any arm was called better than another, a winner was declared, and the mean optimism, years."""
    rng = np.random.default_rng(seed)
    gc.freeze()  # statsmodels collects garbage at each correction: 0.6 s where much is in memory
    try:
        found = [one_study(how, rng) for _ in range(repeats)]
    finally:
        gc.unfreeze()
    return {
        "any": float(np.mean([len(verdict.undecided) < how.arms for verdict, _ in found])),
        "winner": float(np.mean([verdict.winner is not None for verdict, _ in found])),
        "right": float(np.mean([verdict.winner == "arm0" for verdict, _ in found])),
        "optimism": float(np.mean([optimism for _, optimism in found])),
    }
