from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap, f_oneway

from brainage_ray.errors import DataError
from brainage_ray.evaluation.shift import (
    Grouping,
    Resampling,
    describe_shift,
    group_by,
    group_by_decade,
    person_codes,
)

LAW = settings(max_examples=25, deadline=None)
FAST = Resampling(draws=199)
SITES = np.repeat(["a", "b", "c"], [20, 30, 25]).astype(object)


def people(n):
    return np.array([f"S{i:04d}" for i in range(n)], dtype=object)


def invent(seed, n_seeds=2, n=75, planted=0.0, site=SITES):
    """Deltas of sd 4; one site's are `planted` years off."""
    rng = np.random.default_rng(seed)
    age = rng.uniform(55, 90, n)
    return age + rng.normal(0, 4, (n_seeds, n)) + planted * (site == "b"), age


def test_mae_and_delta_by_hand():
    age = np.full(6, 70.0)
    brain = age + np.array([[1.0, -2, 3, 4, 5, -6], [1, -2, 5, 4, 5, -6]])
    shift = describe_shift(brain, age, people(6), group_by("site", np.array(["a", "a", "a", "b", "b", "b"])), FAST)
    first, second = shift.groups
    assert (first.mae_years, first.delta_years) == (pytest.approx(7 / 3), pytest.approx(1.0))
    assert (second.mae_years, second.delta_years) == (pytest.approx(5.0), pytest.approx(1.0))
    assert (first.n_scans, first.n_persons, shift.factor) == (3, 3, "site")


def test_interval_is_scipys_bootstrap_where_each_person_has_one_scan():
    brain, age = invent(0)
    draws = Resampling(9999, seed=3)
    row = describe_shift(brain, age, people(75), group_by("site", SITES), draws).groups[1]
    error = np.abs(brain - age).mean(axis=0)[SITES == "b"]
    expected = bootstrap((error,), np.mean, n_resamples=20000, rng=np.random.default_rng(8)).confidence_interval
    np.testing.assert_allclose(row.mae_interval, expected, atol=0.05)
    assert row.mae_interval[0] < row.mae_years < row.mae_interval[1]


def test_repeating_every_scan_leaves_the_interval_since_people_are_drawn():
    brain, age = invent(1)
    once = describe_shift(brain, age, people(75), group_by("site", SITES), FAST)
    thrice = (np.tile(x, 3) for x in (brain, age, people(75), SITES))
    brain, age, who, sites = thrice
    again = describe_shift(brain, age, who, group_by("site", sites), FAST)
    for one, three in zip(once.groups, again.groups, strict=True):
        np.testing.assert_allclose(three.mae_interval, one.mae_interval, rtol=1e-9)
        assert (three.n_scans, three.n_persons) == (3 * one.n_scans, one.n_persons)
    assert again.mae_test.p == once.mae_test.p


def test_intervals_cover_the_truth():
    """Half-normal errors of sd 4: MAE 4 x sqrt(2 / pi)."""
    hits = 0
    for seed in range(200):
        brain, age = invent(seed, n_seeds=1, n=40, site=np.full(40, "a", dtype=object))
        row = describe_shift(brain, age, people(40), group_by("s", np.full(40, "a")), Resampling(499, seed)).groups[0]
        hits += row.mae_interval[0] < 4 * np.sqrt(2 / np.pi) < row.mae_interval[1]
    assert 0.90 <= hits / 200 <= 0.98


def test_p_is_near_that_of_scipys_f_oneway_and_eta_squared_is_its_effect_size():
    """Normal deltas: the permutation of F and the F distribution agree (Fisher)."""
    brain, age = invent(5, planted=1.0)
    test = describe_shift(brain, age, people(75), group_by("site", SITES)).delta_test
    delta = (brain - age).mean(axis=0)
    f = f_oneway(*np.split(delta, [20, 50]))
    assert test.p == pytest.approx(f.pvalue, abs=0.01)
    assert (test.eta_squared / 2) / ((1 - test.eta_squared) / 72) == pytest.approx(f.statistic)


def test_a_planted_site_is_found_and_a_permuted_one_is_not():
    brain, age = invent(2, planted=7.0)
    found = describe_shift(brain, age, people(75), group_by("site", SITES))
    assert found.mae_test.p < 0.001
    assert found.delta_test.p < 0.001
    permuted = np.random.default_rng(4).permutation(SITES)
    lost = describe_shift(brain, age, people(75), group_by("site", permuted))
    assert lost.mae_test.p > 0.05
    assert lost.delta_test.p > 0.05


def test_five_per_cent_of_null_cohorts_with_repeat_scans_are_called_different():
    rng = np.random.default_rng(7)
    wrong = 0
    for _ in range(300):
        scans = rng.integers(1, 7, 45)
        who = np.repeat(people(45), scans)
        site = np.repeat(rng.permutation(np.repeat(["a", "b", "c"], 15)), scans)
        age = np.repeat(rng.uniform(55, 85, 45), scans)
        delta = np.repeat(rng.normal(0, 4, 45), scans) + rng.normal(0, 1, len(who))
        shift = describe_shift((age + delta)[None], age, who, Grouping("site", site, ("a", "b", "c")), FAST)
        assert shift.mae_test.n_persons == 45
        wrong += shift.mae_test.p <= 0.05
    assert 0.02 <= wrong / 300 <= 0.085


@LAW
@given(seed=st.integers(0, 999), years=st.floats(-30, 30), order=st.permutations(range(3)))
def test_seeds_commute_and_shifting_all_ages_moves_nothing(seed, years, order):
    brain, age = invent(seed, n_seeds=3)
    site = group_by("site", SITES)
    before = describe_shift(brain, age, people(75), site, FAST)
    after = describe_shift(brain[list(order)] + years, age + years, people(75), site, FAST)
    for here, there in zip(before.groups, after.groups, strict=True):
        assert (here.mae_years, here.delta_years) == pytest.approx((there.mae_years, there.delta_years))
        assert here.mae_interval == pytest.approx(there.mae_interval)
    assert before.mae_test.p == pytest.approx(after.mae_test.p, abs=0.011)


@LAW
@given(seed=st.integers(0, 999))
def test_renaming_and_swapping_groups_moves_only_the_rows(seed):
    brain, age = invent(seed)
    swapped = np.array([{"a": "c", "b": "b", "c": "a"}[s] for s in SITES], dtype=object)
    forth = describe_shift(brain, age, people(75), group_by("site", SITES), FAST)
    back = describe_shift(brain, age, people(75), group_by("site", swapped), FAST)
    for here, there in zip(forth.groups, back.groups[::-1], strict=True):
        assert (here.mae_years, here.mae_interval) == (there.mae_years, there.mae_interval)
    assert forth.mae_test.eta_squared == pytest.approx(back.mae_test.eta_squared)


def test_small_and_empty_groups_are_shown_with_a_reason_and_stay_out_of_the_test():
    brain, age = invent(0, n=12, site=np.full(12, "a"))
    site = np.array(["a"] * 7 + ["b"] * 4 + ["c"], dtype=object)
    shift = describe_shift(brain, age, people(12), Grouping("site", site, ("a", "b", "c", "d")), FAST)
    a, b, c, d = shift.groups
    assert a.mae_interval is not None
    assert (b.mae_interval, b.reason) == (None, "4 people are too few for an interval")
    assert b.mae_years == pytest.approx(np.abs(brain - age).mean(axis=0)[7:11].mean())
    assert c.reason == "1 person is too few for an interval"
    assert (d.n_scans, d.mae_years, d.delta_years, d.reason) == (0, None, None, "no scans of d")
    assert (shift.mae_test.p, shift.mae_test.groups) == (None, ("a",))
    assert shift.mae_test.reason == "fewer than two groups of 5 people or more"


def test_equal_values_have_no_interval_and_no_test():
    age = np.linspace(50, 80, 12)
    shift = describe_shift(age[None] + 1, age, people(12), group_by("sex", np.repeat(["F", "M"], 6)), FAST)
    assert [row.reason for row in shift.groups] == ["all values are equal"] * 2
    assert shift.groups[0].mae_years == pytest.approx(1)
    assert shift.delta_test.p is shift.delta_test.eta_squared is None
    assert shift.delta_test.reason == "all values are equal"


def test_groups_that_are_each_constant_are_told_apart_without_a_warning():
    age = np.full(12, 70.0)
    shift = describe_shift((age + np.repeat([1, 2], 6))[None], age, people(12), group_by("s", np.repeat(["F", "M"], 6)))
    assert shift.mae_test.eta_squared == pytest.approx(1)
    assert shift.mae_test.p == pytest.approx(2 / 924)  # of 12 choose 6 partitions, exactly


def test_nobody_gives_empty_results():
    shift = describe_shift(np.zeros((2, 0)), np.zeros(0), np.zeros(0), group_by("site", np.zeros(0)), FAST)
    assert shift.groups == ()
    assert shift.mae_test.reason


def test_a_person_who_moves_on_counts_once_in_the_group_of_the_youngest_scan():
    brain, age = invent(3, n=14, site=np.full(14, "a"))
    age[:] = np.repeat([65.0, 75], 7)
    who = people(14)
    who[7] = who[0]
    test = describe_shift(brain, age, who, group_by_decade(age), FAST).mae_test
    assert (test.n_persons, test.groups) == (13, ("60-69", "70-79"))


def test_labels():
    decades = group_by_decade(np.array([100.0, 69.99, 70, 9]))
    assert decades.groups == ("0-9", "60-69", "70-79", "100-109")
    assert decades.labels.tolist() == ["100-109", "60-69", "70-79", "0-9"]
    sex = group_by("sex", np.array(["M", "", None, np.nan, "F"], dtype=object))
    assert sex.groups == ("F", "M", "unknown")
    brain, age = invent(0, n=20, site=np.full(20, "a"))
    half = np.array(["M"] * 10 + [""] * 10, dtype=object)
    shift = describe_shift(brain, age, people(20), group_by("sex", half), FAST)
    assert shift.groups[1].mae_interval is not None
    assert shift.mae_test.groups == ("M",)


def test_bad_input_is_named():
    site = group_by("site", np.array(["a", "b"]))
    who, age = people(2), np.array([60.0, 70])
    with pytest.raises(DataError, match=r"brain age \[0, 1\] is nan"):
        describe_shift(np.array([[60.0, np.nan]]), age, who, site)
    with pytest.raises(DataError, match=r"age \[0\] is inf"):
        describe_shift(age[None], np.array([np.inf, 70]), who, site)
    with pytest.raises(DataError, match="3 labels"):
        describe_shift(age[None], age, who, group_by("site", np.array(["a", "b", "c"])))
    with pytest.raises(DataError, match="scan 1 belongs to no person"):
        person_codes(np.array(["a", ""], dtype=object), 2)
    with pytest.raises(DataError, match="Name one person a scan"):
        person_codes(who, 3)
    with pytest.raises(DataError, match="age"):
        group_by_decade(np.array([60.0, np.nan]))
