from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import linregress, t

from brainage_ray.errors import DataError
from brainage_ray.evaluation.longitudinal import (
    REPEAT_WINDOW_YEARS,
    PersonSlopes,
    icc_oneway,
    person_slopes,
    repeat_reliability,
    slopes_by_diagnosis,
)

JUDGES = np.array([[9.0, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]])
"""Shrout and Fleiss, Psychol Bull 86:420 (1979), table 2: six targets, four judges."""
LAW = settings(max_examples=40, deadline=None)
DIAGNOSES = ["CN", "MCI", "AD"]


def cohort(seed, n_people=12, n_seeds=2, slope=0.4):
    """People with two to five visits over at least a year, in random order."""
    rng = np.random.default_rng(seed)
    visits = rng.integers(2, 6, n_people)
    person = np.repeat([f"P{i}" for i in range(n_people)], visits).astype(object)
    start, level = np.repeat(rng.uniform(55, 85, n_people), visits), np.repeat(rng.normal(0, 4, n_people), visits)
    years = np.concatenate([[0, *rng.uniform(1, 5, n - 1)] for n in visits])
    deltas = level + slope * years + rng.normal(0, 1, (n_seeds, len(person)))
    order = rng.permutation(len(person))
    return deltas[:, order], (start + years)[order], person[order]


def test_slopes_are_those_of_scipys_linregress():
    deltas, age, person = cohort(0)
    slopes = person_slopes(deltas, age, person)
    assert slopes.n_persons == slopes.slopes.shape[1] == 12
    for i, row in enumerate(slopes.first_scan):
        mine = person == person[row]
        assert age[row] == age[mine].min()
        for seed in range(2):
            assert slopes.slopes[seed, i] == pytest.approx(linregress(age[mine], deltas[seed, mine]).slope)


def test_only_people_who_were_followed_for_half_a_year_have_a_slope():
    age = np.array([70.0, 70.49, 60, 60.5, 80, 75, 75])
    slopes = person_slopes(np.array([[0.0, 1, 0, 1, 5, 2, 3]]), age, np.array(list("aabbcdd")))
    assert slopes.slopes.tolist() == [[pytest.approx(2.0)]]
    assert (slopes.first_scan.tolist(), slopes.n_persons) == ([2], 4)


def test_mean_slope_and_its_interval_by_hand():
    """Slopes 0, 1, 2: mean 1, standard error 1 / sqrt(3), t(0.975, 2) = 4.3027."""
    slopes = PersonSlopes(np.array([[0.0, 1, 2, 5]]), np.array([0, 2, 4, 6]), 5)
    diagnosis = np.array(["CN", "x", "CN", "x", "CN", "x", "AD", "CN"], dtype=object)
    cn, mci, ad = slopes_by_diagnosis(slopes, diagnosis, DIAGNOSES)
    assert (cn.n_persons, cn.mean_years_per_year, cn.per_seed) == (3, 1.0, (1.0,))
    np.testing.assert_allclose(cn.interval, [1 - 4.302653 / np.sqrt(3), 1 + 4.302653 / np.sqrt(3)], rtol=1e-6)
    assert cn.p == pytest.approx(2 * t.sf(np.sqrt(3), 2))
    assert (mci.mean_years_per_year, mci.reason) == (None, "no MCI person was scanned twice, half a year apart")
    assert (ad.mean_years_per_year, ad.interval, ad.reason) == (5.0, None, "one AD person has no interval")


def test_equal_slopes_have_no_interval():
    slopes = PersonSlopes(np.full((2, 3), 0.1), np.arange(3), 3)
    (cn,) = slopes_by_diagnosis(slopes, np.full(3, "CN", dtype=object), ["CN"])
    assert (cn.mean_years_per_year, cn.interval, cn.p) == (pytest.approx(0.1), None, None)
    assert cn.reason == "all slopes are equal"


@LAW
@given(seed=st.integers(0, 999), years=st.floats(-30, 30), order=st.permutations(range(3)))
def test_seeds_commute_and_neither_a_shift_of_ages_nor_of_deltas_changes_a_slope(seed, years, order):
    deltas, age, person = cohort(seed, n_seeds=3)
    before = person_slopes(deltas, age, person)
    after = person_slopes(deltas[list(order)] + years, age + years, person)
    np.testing.assert_allclose(after.slopes, before.slopes[list(order)], atol=1e-8)
    np.testing.assert_array_equal(after.first_scan, before.first_scan)


@LAW
@given(seed=st.integers(0, 999), drift=st.floats(-3, 3))
def test_adding_a_drift_adds_it_to_every_slope_and_nothing_to_a_p_of_differences(seed, drift):
    deltas, age, person = cohort(seed)
    before, after = person_slopes(deltas, age, person), person_slopes(deltas + drift * age, age, person)
    np.testing.assert_allclose(after.slopes, before.slopes + drift, atol=1e-8)


def test_shrout_and_fleiss_worked_example():
    """Table 4: ICC(1,1) = .17. Interval: R psych::ICC prints -0.133 to 0.72 for the same table."""
    result = icc_oneway(JUDGES.ravel(), np.repeat(np.arange(6), 4))
    assert result.icc == pytest.approx(0.1657, abs=5e-5)
    assert result.interval == pytest.approx((-0.133, 0.7226), abs=5e-4)
    assert (result.n_persons, result.n_scans, result.reason) == (6, 24, "")


def test_unequal_numbers_by_statsmodels_analysis_of_variance():
    """Variance components by the method of moments: E(MSB) = within + n0 x between."""
    rng = np.random.default_rng(1)
    person = np.repeat(np.arange(8), [2, 2, 3, 5, 2, 4, 2, 2])
    values = rng.normal(0, 3, 8)[person] + rng.normal(0, 1, len(person))
    table = pd.DataFrame({"y": values, "p": person})
    squares = sm.stats.anova_lm(smf.ols("y ~ C(p)", table).fit())["mean_sq"]
    sizes = np.bincount(person)
    n0 = sizes.mean() - sizes.var(ddof=1) / sizes.sum()
    between = (squares["C(p)"] - squares["Residual"]) / n0
    assert icc_oneway(values, person).icc == pytest.approx(between / (between + squares["Residual"]))


def test_interval_covers_the_true_icc():
    rng = np.random.default_rng(2)
    person, hits = np.repeat(np.arange(20), 2), 0
    for _ in range(300):
        low, high = icc_oneway(rng.normal(0, 2, 20)[person] + rng.normal(0, 1, 40), person).interval
        hits += low < 0.8 < high
    assert 0.92 <= hits / 300 <= 0.98


@LAW
@given(seed=st.integers(0, 999), shift=st.floats(-30, 30), scale=st.floats(0.1, 10), order=st.permutations(range(6)))
def test_icc_knows_no_units_and_no_names(seed, shift, scale, order):
    values = np.random.default_rng(seed).normal(0, 2, (6, 3))
    before = icc_oneway(values.ravel(), np.repeat(np.arange(6), 3))
    after = icc_oneway((scale * values + shift).ravel(), np.repeat(order, 3))
    assert after.icc == pytest.approx(before.icc, abs=1e-6)
    assert -0.5 <= before.icc <= 1


def test_repeats_are_the_most_scans_within_90_days_of_one_person():
    age = np.array([70.0, 71, 71.1, 72, 60, 60.2, 60.24, 60.3, 80, 81, 50, 50.3])
    person = np.array(list("aaaabbbbccdd"))
    deltas = np.array([[9.0, 1, 2, 9, 3, 4, 5, 99, 9, 9, 9, 9]])
    result = repeat_reliability(deltas, age, person)
    assert (result.ensemble.n_persons, result.ensemble.n_scans) == (2, 5)
    assert result.ensemble == icc_oneway(np.array([1.0, 2, 3, 4, 5]), np.array([0, 0, 1, 1, 1]))
    edge = repeat_reliability(np.zeros((1, 2)), np.array([70.0, 70 + REPEAT_WINDOW_YEARS]), np.array([1, 1]))
    assert edge.ensemble.n_scans == 2


@LAW
@given(seed=st.integers(0, 999), order=st.permutations(range(3)), years=st.floats(-30, 30))
def test_reliability_permutes_with_the_seeds_and_ignores_a_shift(seed, order, years):
    rng = np.random.default_rng(seed)
    person, age = np.repeat(np.arange(10), 2), rng.uniform(60, 60.2, 20)
    deltas = rng.normal(0, 3, 10)[person] + rng.normal(0, 1, (3, 20))
    before = repeat_reliability(deltas, age, person)
    after = repeat_reliability(deltas[list(order)] + years, age + years, person)
    assert [x.icc for x in after.per_seed] == pytest.approx([before.per_seed[i].icc for i in order])
    assert after.mean_icc == pytest.approx(before.mean_icc)
    assert after.ensemble.interval == pytest.approx(before.ensemble.interval)
    assert before.ensemble.icc > 0.5


@pytest.mark.parametrize(
    ("values", "person", "icc", "reason"),
    [
        ([], [], None, "fewer than two people"),
        ([1.0, 2], ["a", "a"], None, "fewer than two people"),
        ([1.0, 2], ["a", "b"], None, "nobody was scanned twice"),
        ([1.0, 1, 1, 1], ["a", "a", "b", "b"], None, "all values are equal"),
        ([1.0, 1, 2, 2], ["a", "a", "b", "b"], 1.0, "agree exactly"),
    ],
)
def test_what_has_no_icc_says_why(values, person, icc, reason):
    result = icc_oneway(np.array(values), np.array(person, dtype=object))
    assert (result.icc, result.interval) == (icc, None)
    assert reason in result.reason


def test_nobody_and_no_repeats():
    empty = person_slopes(np.zeros((2, 0)), np.zeros(0), np.zeros(0))
    assert (empty.slopes.shape, empty.n_persons) == ((2, 0), 0)
    result = repeat_reliability(np.zeros((2, 3)), np.array([60.0, 70, 80]), np.array([1, 1, 1]))
    assert result.mean_icc is None
    assert result.ensemble.reason == "fewer than two people with repeat scans"


def test_bad_input_is_named():
    who, age = np.array([1, 1]), np.array([60.0, 61])
    with pytest.raises(DataError, match=r"\[0, 1\] is nan"):
        person_slopes(np.array([[0.0, np.nan]]), age, who)
    with pytest.raises(DataError, match=r"age \[1\] is inf"):
        repeat_reliability(np.zeros((1, 2)), np.array([60.0, np.inf]), who)
    with pytest.raises(DataError, match=r"Give \[n_seeds, n_scans\]"):
        person_slopes(np.zeros(2), age, who)
    with pytest.raises(DataError, match="belongs to no person"):
        icc_oneway(np.zeros(2), np.array(["a", None], dtype=object))
