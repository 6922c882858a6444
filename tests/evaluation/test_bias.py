from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from brainage_ray.errors import DataError, LeakageError
from brainage_ray.evaluation.bias import (
    SMALLEST_SLOPE,
    BiasCorrection,
    apply_by_seed,
    finite_array,
    finite_pair,
    fit_bias,
    fit_bias_by_seed,
)

LAW = settings(max_examples=60, deadline=None)
METHODS = ["cole", "de_lange"]
AGE = np.array([50.0, 60, 70, 80])


@st.composite
def shrunk(draw):
    """A model that shrinks ages towards the mean, with noise."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    age = rng.uniform(50, 90, draw(st.integers(5, 60)))
    return age, 70 + draw(st.floats(0.4, 1.4)) * (age - 70) + rng.normal(0, 2, len(age)) + draw(st.floats(-9, 9))


@pytest.mark.parametrize(("method", "slope", "corrected"), [("cole", 0.5, 80.0), ("de_lange", -0.5, 75.0)])
def test_by_hand(method, slope, corrected):
    """Brain age = 0.5 age + 30, so delta = -0.5 age + 30: a brain age of 70 at the age of 70 (predicted: 65)."""
    correction = fit_bias(0.5 * AGE + 30, AGE, method, "validation")
    assert (correction.slope, correction.intercept) == (pytest.approx(slope), pytest.approx(30))
    assert (correction.n, correction.split, correction.reason) == (4, "validation", "")
    np.testing.assert_allclose(correction.apply(np.array([70.0]), np.array([70.0])), [corrected])


@LAW
@given(people=shrunk())
def test_the_line_is_that_of_statsmodels(people):
    age, brain = people
    design = sm.add_constant(age)
    cole, lange = (fit_bias(brain, age, method, "validation") for method in METHODS)
    np.testing.assert_allclose([cole.intercept, cole.slope], sm.OLS(brain, design).fit().params, rtol=1e-6, atol=1e-6)
    expected = sm.OLS(brain - age, design).fit().params
    np.testing.assert_allclose([lange.intercept, lange.slope], expected, rtol=1e-6, atol=1e-6)


@LAW
@given(people=shrunk(), method=st.sampled_from(METHODS))
def test_corrected_deltas_of_the_people_it_was_fitted_on_have_slope_and_mean_0(people, method):
    age, brain = people
    correction = fit_bias(brain, age, method, "validation")
    assume(not correction.reason)
    delta = correction.apply(brain, age) - age
    assert np.polyfit(age, delta, 1)[0] == pytest.approx(0, abs=1e-8)
    assert delta.mean() == pytest.approx(0, abs=1e-8)


@LAW
@given(people=shrunk(), method=st.sampled_from(METHODS), years=st.floats(-30, 30))
def test_shifting_all_ages_moves_nothing_but_the_intercept(people, method, years):
    age, brain = people
    here, there = (fit_bias(brain + move, age + move, method, "validation") for move in (0, years))
    assume((not here.reason and here.slope > SMALLEST_SLOPE + 1e-6) or method == "de_lange")
    assert here.slope == pytest.approx(there.slope, abs=1e-8)
    moved = there.apply(brain + years, age + years) - age - years
    np.testing.assert_allclose(here.apply(brain, age) - age, moved, atol=1e-6)


@LAW
@given(seed=st.integers(0, 999), order=st.permutations(range(3)), method=st.sampled_from(METHODS))
def test_permuting_seeds_permutes_the_corrected_ages(seed, order, method):
    rng = np.random.default_rng(seed)
    age, test_age = rng.uniform(50, 90, 30), rng.uniform(50, 90, 7)
    brain, test = 0.7 * age + 20 + rng.normal(0, 2, (3, 30)), rng.uniform(50, 90, (3, 7))
    order = list(order)
    before = apply_by_seed(fit_bias_by_seed(brain, age, method, "validation"), test, test_age)
    after = apply_by_seed(fit_bias_by_seed(brain[order], age, method, "validation"), test[order], test_age)
    np.testing.assert_array_equal(after, before[order])


@pytest.mark.parametrize("split", ["test", "train", "Test", ""])
@pytest.mark.parametrize("method", METHODS)
def test_only_validation_may_be_fitted_on_and_used(split, method):
    with pytest.raises(LeakageError, match="would leak"):
        fit_bias(AGE, AGE, method, split)
    with pytest.raises(LeakageError, match=f'split "{split}"'):
        BiasCorrection(method, split, 9, 1.0, 0.0).apply(AGE, AGE)


@pytest.mark.parametrize(
    ("brain", "age", "method", "reason"),
    [
        ([], [], "cole", "0 scans are too few"),
        ([70.0, 71], [70.0, 71], "de_lange", "2 scans are too few"),
        ([70.0, 71, 72], [70.0, 70, 70], "de_lange", "all ages are equal"),
        ([70.0, 70, 70], [60.0, 70, 80], "cole", "0.000 years a year"),
        ([80.0, 70, 60], [60.0, 70, 80], "cole", "-1.000 years a year"),
    ],
)
def test_no_usable_line_says_why_and_does_not_correct(brain, age, method, reason):
    correction = fit_bias(np.array(brain), np.array(age), method, "validation")
    assert reason in correction.reason
    with pytest.raises(DataError, match="cannot be applied"):
        correction.apply(AGE, AGE)


def test_a_constant_model_is_corrected_by_de_lange_alone():
    correction = fit_bias(np.full(4, 70.0), AGE, "de_lange", "validation")
    assert correction.slope == pytest.approx(-1)
    np.testing.assert_allclose(correction.apply(np.full(4, 70.0), AGE), AGE)


@pytest.mark.parametrize(("bad", "message"), [(np.nan, r"brain age \[2\] is nan"), (np.inf, r"brain age \[2\] is inf")])
def test_what_is_not_finite_is_named(bad, message):
    brain = np.array([50.0, 60, bad, 80])
    with pytest.raises(DataError, match=message):
        fit_bias(brain, AGE, "cole", "validation")
    with pytest.raises(DataError, match=message):
        fit_bias(AGE, AGE, "cole", "validation").apply(brain, AGE)


def test_what_does_not_fit_is_refused():
    with pytest.raises(DataError, match='no bias correction "zhang"'):
        fit_bias(AGE, AGE, "zhang", "validation")
    with pytest.raises(DataError, match="has the shape"):
        fit_bias(AGE[:3], AGE, "cole", "validation")
    with pytest.raises(DataError, match="has the shape"):
        apply_by_seed(fit_bias_by_seed(AGE[None], AGE, "cole", "validation"), np.stack([AGE, AGE]), AGE)
    with pytest.raises(DataError, match="seeds x scans"):
        finite_pair(np.zeros((0, 4)), AGE)
    with pytest.raises(DataError, match=r"age \[1, 0\] is -inf"):
        finite_array(np.array([[1.0], [-np.inf]]), "age", (2, 1))
