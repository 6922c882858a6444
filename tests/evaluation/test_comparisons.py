from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainage_ray.evaluation.comparisons import adjust_p, auc_interval, auc_standard_error, compare_pairs
from brainage_ray.evaluation.deltas import brain_age_delta, delta_by_diagnosis

MALES, FEMALES = [19.0, 22, 16, 29, 24], [20.0, 11, 17, 12]


def pair_of(first, second, correction="holm"):
    deltas = np.array([list(first) + list(second)], dtype=float)
    labels = np.array(["CN"] * len(first) + ["AD"] * len(second), dtype=object)
    return compare_pairs(deltas, labels, ["CN", "AD"], correction)[0]


def test_scipys_worked_example():
    """scipy.stats.mannwhitneyu documentation: U1 = 17 of 20 for the males, exact p = 0.1111111111111111."""
    pair = pair_of(MALES, FEMALES)
    assert pair.p_mean == pair.p_max == pytest.approx(0.1111111111111111)
    assert pair.auc == pytest.approx((3 / 20,))
    assert pair.rank_biserial_mean == pytest.approx(-0.7)
    assert (pair.n_first, pair.n_second) == (5, 4)


def test_holms_worked_example():
    """Wikipedia, Holm-Bonferroni method: 0.01, 0.04, 0.03, 0.005; the first and last are rejected at 0.05."""
    adjusted = adjust_p(np.array([[0.01], [0.04], [0.03], [0.005]]), "holm")
    np.testing.assert_allclose(adjusted[:, 0], [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_array_equal(adjust_p(np.array([[0.01], [0.04]]), "none"), [[0.01], [0.04]])


def test_hanley_and_mcneils_worked_example():
    """Radiology 143:29 (1982), tables I and II: area 0.893, 58 normal and 51 abnormal, standard error 0.032."""
    assert auc_standard_error(0.893, 58, 51) == pytest.approx(0.0325, abs=2e-4)
    low, high = auc_interval(0.893, 58, 51)
    assert 0.80 < low < 0.893 - 0.05 < 0.893 < high < 0.95


def test_auc_by_its_definition():
    pair = pair_of([1.0, 2, 2], [2.0, 3])
    wins = [(b > a) + 0.5 * (b == a) for a in (1, 2, 2) for b in (2, 3)]
    assert pair.auc_mean == pytest.approx(np.mean(wins))


def test_three_groups_give_three_pairs_corrected_within_each_seed():
    rng = np.random.default_rng(0)
    labels = np.repeat(["CN", "MCI", "AD"], 30).astype(object)
    deltas = rng.normal(size=(3, 90)) + np.repeat([0, 0.6, 2], 30)
    pairs = compare_pairs(deltas, labels, ["CN", "MCI", "AD"], "holm")
    assert [(p.first, p.second) for p in pairs] == [("CN", "MCI"), ("CN", "AD"), ("MCI", "AD")]
    for seed in range(3):
        expected = adjust_p(np.array([[p.p[seed]] for p in pairs]), "holm")[:, 0]
        np.testing.assert_allclose([p.p_adjusted[seed] for p in pairs], expected)
    assert pairs[1].p_max < 1e-6
    assert pairs[1].p_adjusted_max == max(pairs[1].p_adjusted)
    assert pairs[1].auc_interval[0] < pairs[1].auc_mean < pairs[1].auc_interval[1]


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        ([], [1.0, 2], "no CN scans"),
        ([1.0, 2], [], "no AD scans"),
        ([1.0], [1.0, 2], "only one CN scan"),
        ([3.0, 3], [3.0, 3, 3], "all deltas are equal"),
    ],
)
def test_what_cannot_be_tested_says_why(first, second, reason):
    pair = pair_of(first, second)
    assert pair.reason == reason
    assert pair.p == pair.auc == pair.p_adjusted == ()
    assert pair.p_mean is pair.p_adjusted_max is pair.auc_mean is None


def test_an_empty_group_does_not_enter_the_correction_of_the_others():
    labels = np.array(["CN"] * 5 + ["AD"] * 4, dtype=object)
    pairs = compare_pairs(np.array([MALES + FEMALES]), labels, ["CN", "MCI", "AD"], "holm")
    assert [bool(pair.p) for pair in pairs] == [False, True, False]
    assert pairs[1].p_adjusted == pairs[1].p


def test_perfect_separation_has_no_interval():
    pair = pair_of([0.0, 1], [2.0, 3])
    assert pair.auc_mean == 1.0
    assert pair.auc_interval is None


GROUP = st.lists(st.integers(-40, 40), min_size=2, max_size=12).filter(lambda v: len(set(v)) > 1)


@given(first=GROUP, second=GROUP)
def test_swapping_groups_mirrors_the_auc(first, second):
    forth, back = pair_of(first, second), pair_of(second, first)
    assert forth.auc_mean == pytest.approx(1 - back.auc_mean)
    assert forth.rank_biserial_mean == pytest.approx(-back.rank_biserial_mean)
    assert forth.p_mean == pytest.approx(back.p_mean)


@given(first=GROUP, second=GROUP, shift=st.integers(-50, 50))
def test_shifting_all_ages_equally_leaves_p_unchanged(first, second, shift):
    moved = pair_of([v + shift for v in first], [v + shift for v in second])
    assert moved.p == pair_of(first, second).p


@given(seed=st.integers(0, 99), order=st.permutations(range(4)))
def test_permuting_seeds_permutes_p_and_nothing_else(seed, order):
    deltas = np.random.default_rng(seed).normal(size=(4, 12))
    labels = np.repeat(["CN", "AD"], 6).astype(object)
    before = compare_pairs(deltas, labels, ["CN", "AD"], "holm")[0]
    after = compare_pairs(deltas[list(order)], labels, ["CN", "AD"], "holm")[0]
    assert after.p == tuple(before.p[i] for i in order)
    assert after.p_max == before.p_max
    assert after.auc_mean == pytest.approx(before.auc_mean)


def test_deltas_by_diagnosis():
    deltas = brain_age_delta(np.array([[61.0, 73, 85, 90], [63.0, 75, 85, 90]]), np.array([60.0, 70, 80, 80]))
    cn, mci, ad = delta_by_diagnosis(deltas, np.array(["CN", "CN", "AD", "x"], dtype=object), ["CN", "MCI", "AD"])
    assert (cn.n_scans, cn.per_seed_mean_years, cn.mean_years) == (2, (2.0, 4.0), 3.0)
    assert cn.sd_years == pytest.approx(np.sqrt(2))
    assert (mci.n_scans, mci.mean_years, mci.reason) == (0, None, "no MCI scans")
    assert (ad.mean_years, ad.sd_years, ad.reason) == (5.0, None, "one AD scan has no spread")
