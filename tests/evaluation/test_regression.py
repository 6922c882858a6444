from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from brainage_ray.errors import DataError
from brainage_ray.evaluation.regression import summarise_regression

LAW = settings(deadline=None)
ANSCOMBE_X = np.array([10.0, 8, 13, 9, 11, 14, 6, 4, 12, 7, 5])
ANSCOMBE_Y = np.array([8.04, 6.95, 7.58, 8.81, 8.33, 9.96, 7.24, 4.26, 10.84, 4.82, 5.68])

AGES = st.lists(st.integers(40, 95), min_size=3, max_size=12).filter(lambda v: len(set(v)) > 1)


def models_of(ages, data, n_seeds=3):
    row = st.lists(st.integers(-300, 300), min_size=len(ages), max_size=len(ages))
    return np.array(ages) + np.array([data.draw(row) for _ in range(n_seeds)]) / 10


def test_anscombes_first_set():
    """Anscombe, Am Stat 27:17 (1973): regression of y on x is y = 3 + 0.5 x with r = 0.82 (R: 0.8164205)."""
    summary = summarise_regression(ANSCOMBE_Y[None], ANSCOMBE_X, [0])
    assert summary.slope.per_seed[0] == pytest.approx(0.500, abs=5e-4)
    assert summary.intercept_years.mean == pytest.approx(3.00, abs=5e-3)
    assert summary.r.ensemble == pytest.approx(0.8164205, abs=5e-8)
    assert summary.r.sd is None
    assert summary.r.reason == "one seed has no standard deviation"


def test_scikit_learns_worked_examples():
    """Its documentation: r2_score 0.948..., root_mean_squared_error 0.612..., mean_squared_error 0.375."""
    summary = summarise_regression(np.array([[2.5, 0.0, 2, 8]]), np.array([3, -0.5, 2, 7]), [0])
    assert summary.r2.mean == pytest.approx(0.948, abs=1e-3)
    assert summary.rmse_years.mean == pytest.approx(np.sqrt(0.375))


def test_r2_is_not_the_square_of_r():
    """A model that is right but for an offset of 20 years: r = 1, R2 far below 0 (here 1 - 1200 / 200 by hand)."""
    summary = summarise_regression(np.array([[80.0, 90, 100]]), np.array([60.0, 70, 80]), [0])
    assert summary.r.mean == pytest.approx(1)
    assert summary.r2.mean == pytest.approx(-5)


def test_the_line_has_chronological_age_on_its_x_axis():
    """Brain age = 35 + 0.5 x age + noise that is orthogonal to the age: the slope is 0.5, the other way it is not."""
    ages, noise = np.array([50.0, 60, 70, 80]), np.array([1.0, -1, -1, 1])
    summary = summarise_regression((35 + 0.5 * ages + 5 * noise)[None], ages, [0])
    assert summary.slope.mean == pytest.approx(0.5)
    assert summary.intercept_years.mean == pytest.approx(35)


def test_mean_and_sd_over_seeds_and_the_ensemble():
    ages = np.array([60.0, 70, 80])
    summary = summarise_regression(ages + np.array([[1.0], [-3.0]]), ages, [4, 7])
    assert (summary.seeds, summary.n_scans) == ((4, 7), 3)
    assert summary.rmse_years.per_seed == pytest.approx((1, 3))
    assert summary.rmse_years.mean == pytest.approx(2)
    assert summary.rmse_years.sd == pytest.approx(np.sqrt(2))
    assert summary.rmse_years.ensemble == pytest.approx(1)
    assert summary.rmse_years.reason == ""


@pytest.mark.parametrize(
    ("ages", "reason"),
    [
        ([60.0], "only 1 scan, a line needs 3"),
        ([60.0, 70], "only 2 scans, a line needs 3"),
        ([60.0, 60, 60], "all scans have the same chronological age"),
    ],
)
def test_without_a_line_only_the_rmse_is_left(ages, reason):
    summary = summarise_regression(np.array(ages) + np.array([[1.0], [3.0]]), np.array(ages), [0, 1])
    assert summary.rmse_years.mean == pytest.approx(2)
    for statistic in (summary.r, summary.r2, summary.slope, summary.intercept_years):
        assert (statistic.per_seed, statistic.mean, statistic.ensemble, statistic.reason) == ((), None, None, reason)


def test_one_brain_age_for_all_has_no_r_but_a_flat_line():
    ages = np.array([60.0, 70, 80])
    summary = summarise_regression(np.array([[70.0] * 3, [61.0, 70, 80]]), ages, [3, 5])
    assert summary.r.per_seed == (None, pytest.approx(190 / np.sqrt(200 * 542 / 3)))  # by hand
    assert summary.r.mean is None
    assert summary.r.ensemble is not None
    assert summary.r.reason == "all scans have the same brain age for seed 3"
    assert summary.slope.per_seed[0] == 0
    assert summary.r2.per_seed[0] == 0
    only = summarise_regression(np.full((2, 3), 70.0), ages, [3, 5])
    assert (only.r.per_seed, only.r.ensemble, only.r.reason) == ((), None, "all scans have the same brain age")


def test_no_scans_and_no_seeds_give_empty_cells():
    assert summarise_regression(np.zeros((2, 0)), np.zeros(0), [0, 1]).rmse_years.reason.startswith("no scans")
    assert summarise_regression(np.zeros((0, 2)), np.array([60.0, 70]), []).slope.reason == "no seeds"


@pytest.mark.parametrize(
    ("brain", "age", "message"),
    [
        ([[60.0, np.nan, 70]], [60.0, 70, 80], "scan 1 has brain age nan of seed 4"),
        ([[60.0, 65, 70]], [60.0, 70, np.inf], "scan 2 has brain age 70.0 of seed 4 and age inf"),
        ([[60.0, 65]], [60.0, 70, 80], "do not fit"),
        ([60.0, 65, 70], [60.0, 70, 80], "do not fit"),
    ],
)
def test_bad_input_is_named(brain, age, message):
    with pytest.raises(DataError, match=message):
        summarise_regression(np.array(brain), np.array(age), [4])


@LAW
@given(ages=AGES, data=st.data(), order=st.permutations(range(3)))
def test_permuting_seeds_permutes_the_numbers_and_nothing_else(ages, data, order):
    brain = models_of(ages, data)
    before = summarise_regression(brain, np.array(ages), [0, 1, 2])
    after = summarise_regression(brain[list(order)], np.array(ages), order)
    for name in ("rmse_years", "r", "r2", "slope", "intercept_years"):
        forth, back = getattr(before, name), getattr(after, name)
        assert back.mean == (None if forth.mean is None else pytest.approx(forth.mean, abs=1e-9))
        assert back.ensemble == (None if forth.ensemble is None else pytest.approx(forth.ensemble, abs=1e-9))
        if forth.mean is not None:
            assert back.per_seed == tuple(forth.per_seed[i] for i in order)


@LAW
@given(ages=AGES, data=st.data(), shift=st.integers(-30, 30))
def test_shifting_all_ages_and_brain_ages_changes_only_the_intercept(ages, data, shift):
    brain, true = models_of(ages, data), np.array(ages, dtype=float)
    before, after = (summarise_regression(brain + s, true + s, [0, 1, 2]) for s in (0, shift))
    for name in ("rmse_years", "r2", "slope"):
        assert getattr(after, name).mean == pytest.approx(getattr(before, name).mean, abs=1e-8)
    moved = before.intercept_years.mean + shift * (1 - before.slope.mean)
    assert after.intercept_years.mean == pytest.approx(moved, abs=1e-6)


@LAW
@given(ages=AGES, data=st.data())
def test_agrees_with_numpy_and_keeps_its_bounds(ages, data):
    brain, true = models_of(ages, data, 1), np.array(ages, dtype=float)
    assume(np.ptp(brain) > 0.05)
    summary = summarise_regression(brain, true, [0])
    slope, intercept = np.polyfit(true, brain[0], 1)
    assert summary.slope.mean == pytest.approx(slope, abs=1e-8)
    assert summary.intercept_years.mean == pytest.approx(intercept, abs=1e-6)
    assert summary.r.mean == pytest.approx(np.corrcoef(true, brain[0])[0, 1], abs=1e-9)
    assert summary.r2.mean <= summary.r.mean**2 + 1e-9
    assert summary.rmse_years.mean == pytest.approx(np.sqrt(np.mean((brain[0] - true) ** 2)))
