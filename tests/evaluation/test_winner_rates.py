"""How often equal arms get a winner, and how often a better one is found; the simulation of the benchmark `choice`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from benchmarks.choice import QUICKSTART, Noise, Simulation, noise_of, rates

pytestmark = pytest.mark.slow

REPEATS = 1_000
MOST = binom.ppf(0.999, REPEATS, 0.05) / REPEATS
"""A rate of 5 % stays below this in 999 of 1,000 tests."""


@pytest.mark.parametrize("arms", [2, 6])
@pytest.mark.parametrize("quality", [0.0, 0.5])
def test_equal_arms_have_a_winner_in_at_most_five_percent(arms, quality):
    found = rates(Simulation(arms=arms, noise=Noise(quality=quality)), REPEATS)
    assert found["winner"] <= found["any"] <= MOST
    assert found["optimism"] > 0.2, "the search's value is too low: otherwise there is nothing to be careful of"


def test_without_finalists_the_trials_own_seeds_judge_and_equal_arms_stay_equal():
    assert rates(Simulation(seeds_per_trial=5, finalists=0), REPEATS)["any"] <= MOST


def test_the_test_is_not_merely_silent():
    """An arm that is a year better is found in most cases: with the noise of the quickstart, and with more."""
    quick = rates(Simulation(people=20, seeds=5, better_years=1.0, noise=QUICKSTART), 300)
    assert quick["right"] == quick["winner"] > 0.9
    found = rates(Simulation(seeds=10, better_years=1.0), 300)
    assert found["right"] == found["winner"] > 0.5
    assert rates(Simulation(arms=6, seeds=10, better_years=2.0), 100)["right"] > 0.5


def test_the_naive_comparison_of_the_best_trials_declares_too_often():
    assert rates(Simulation(), REPEATS)["naive"] > MOST


def test_the_noise_is_found_again_that_was_put_in():
    rng, put = np.random.default_rng(0), Noise(2.0, 1.5, 0.8, 1.0)
    people = rng.normal(0, put.person, 400)
    settings = people + rng.normal(0, put.settings, (60, 1, 400))
    errors = settings + rng.normal(0, put.seed, (60, 20, 1)) + rng.normal(0, put.rest, (60, 20, 400))
    found = noise_of(errors)
    for part in ("person", "settings", "seed", "rest"):
        assert getattr(found, part) == pytest.approx(getattr(put, part), rel=0.1)
    assert replace(found, quality=0.0) == found
