from __future__ import annotations

from itertools import combinations
from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kruskal, mannwhitneyu, norm
from statsmodels.stats.weightstats import DescrStatsW

from brainage_ray.errors import DataError
from brainage_ray.evaluation.group_tests import delta_intervals, jonckheere_trend, kruskal_wallis

LAW = settings(deadline=None)
NAMES = ["CN", "MCI", "AD"]
MUCUS = [2.9, 3.0, 2.5, 2.6, 3.2], [3.8, 2.7, 4.0, 2.4], [2.8, 3.4, 3.7, 2.2, 2.0]
STAYS = [7, 1, 2, 6, 11, 8], [4, 7, 16, 11, 21], [20, 25, 13, 9, 14, 11]

GROUPS = st.tuples(*[st.lists(st.integers(-15, 15), min_size=2, max_size=9)] * 3).filter(
    lambda groups: len({value for group in groups for value in group}) > 1
)


def arrange(groups, names=NAMES):
    """Return one row of deltas and the diagnosis of each scan."""
    labels = np.repeat(np.array(names, dtype=object), [len(group) for group in groups])
    return np.concatenate([np.asarray(group, dtype=float) for group in groups])[None], labels


def jonckheere_by_the_book(groups):
    """Return J and its one-sided p by the textbook formula with ties.

    Hollander, Wolfe and Chicken, Nonparametric Statistical Methods, 3rd ed. (2014), equations 6.13 to 6.19; also
    the SAS/STAT manual, PROC FREQ, "Jonckheere-Terpstra Test".
    """
    j = sum(mannwhitneyu(b, a).statistic for a, b in combinations(groups, 2))
    sizes = np.array([len(group) for group in groups])
    ties = np.unique(np.concatenate(groups), return_counts=True)[1]
    n = sizes.sum()
    mean = (n**2 - (sizes**2).sum()) / 4
    one, two, three = (
        lambda k: (k * (k - 1) * (2 * k + 5)).sum(),
        lambda k: (k * (k - 1) * (k - 2)).sum(),
        lambda k: (k * (k - 1)).sum(),
    )
    variance = (
        (n * (n - 1) * (2 * n + 5) - one(sizes) - one(ties)) / 72
        + two(sizes) * two(ties) / (36 * n * (n - 1) * (n - 2))
        + three(sizes) * three(ties) / (8 * n * (n - 1))
    )
    return j, mean, norm.sf((j - mean) / sqrt(variance))


def test_kruskal_wallis_of_rs_documentation():
    """R, ?kruskal.test (Hollander and Wolfe 1973, p. 116): chi-squared = 0.77143, p-value = 0.68.

    Epsilon squared by effectsize's h_to_epsilon: H / ((n^2 - 1) / (n + 1)) = 0.77143 / 13.
    """
    test = kruskal_wallis(*arrange(MUCUS), NAMES)
    assert test.n_scans == (5, 4, 5)
    assert test.h[0] == pytest.approx(0.77143, abs=5e-6)
    assert test.p_mean == test.p_max == pytest.approx(0.68, abs=5e-5)
    assert test.epsilon_squared_mean == pytest.approx(0.77143 / 13, abs=1e-6)


def test_jonckheere_of_a_published_worked_example():
    """Bewick, Cheek and Ball, Crit Care 8:196 (2004), table 1: U = 23 + 34.5 + 19.5, one-sided P = 0.005."""
    deltas, labels = arrange(STAYS)
    j, mean, p = jonckheere_by_the_book([np.array(group) for group in STAYS])
    assert j == 23 + 34.5 + 19.5
    trend = jonckheere_trend(deltas, labels, NAMES)
    assert trend.p_increasing[0] == pytest.approx(0.005, abs=5e-4)
    assert trend.p_increasing[0] == pytest.approx(p, abs=1e-12)
    assert trend.p_max == pytest.approx(2 * p, abs=1e-12)
    pairs, untied = 6 * 5 + 6 * 6 + 5 * 6, sum(a != b for a, b in combinations(deltas[0], 2))
    assert trend.tau_mean == pytest.approx((2 * j - pairs) / sqrt(pairs * untied))
    assert mean == pairs / 2


@LAW
@given(groups=GROUPS)
def test_jonckheere_is_the_sum_of_the_mann_whitney_us(groups):
    trend = jonckheere_trend(*arrange(groups), NAMES)
    _, _, p = jonckheere_by_the_book([np.array(group) for group in groups])
    assert trend.p_increasing[0] == pytest.approx(p, abs=1e-10)
    assert trend.p[0] == pytest.approx(2 * min(p, 1 - p), abs=1e-10)


def test_planted_trends_and_none():
    rng = np.random.default_rng(2)
    labels = np.repeat(np.array(NAMES, dtype=object), 40)
    step = np.repeat([0.0, 3, 6], 40)
    noise = rng.normal(0, 5, (4, 120))
    up, down = jonckheere_trend(noise + step, labels, NAMES), jonckheere_trend(noise - step, labels, NAMES)
    assert up.p_increasing_max < 1e-3 < 0.99 < down.p_increasing_mean
    assert up.tau_mean > 0 > down.tau_mean
    assert kruskal_wallis(noise + step, labels, NAMES).p_max < 0.01
    assert jonckheere_trend(noise, labels, NAMES).p_mean > 0.05


def test_each_seed_has_its_own_test():
    deltas = np.vstack([arrange(STAYS)[0], arrange(STAYS)[0][:, ::-1]])
    labels = arrange(STAYS)[1]
    test = kruskal_wallis(deltas, labels, NAMES)
    for row, h, p in zip(deltas, test.h, test.p, strict=True):
        expected = kruskal(*[row[labels == name] for name in NAMES])
        assert (h, p) == pytest.approx((expected.statistic, expected.pvalue), abs=1e-12)
    assert test.p_max == max(test.p)


@pytest.mark.parametrize(
    ("groups", "reason"),
    [
        (([1.0, 2], [], [3.0, 4]), "no MCI scans"),
        (([1.0, 2], [2.0], [3.0, 4]), "only one MCI scan"),
        (([3.0, 3], [3.0, 3], [3.0, 3, 3]), "all deltas are equal"),
        (([0.1 + 0.2] * 2, [0.3] * 2, [0.3] * 2), "all deltas are equal"),
    ],
)
def test_what_cannot_be_tested_says_why(groups, reason):
    for test in (kruskal_wallis(*arrange(groups), NAMES), jonckheere_trend(*arrange(groups), NAMES)):
        assert test.reason == reason
        assert test.p == ()
        assert test.p_mean is test.p_max is None


def test_too_few_diagnoses_or_seeds():
    deltas, labels = arrange(MUCUS)
    assert kruskal_wallis(deltas, labels, ["CN"]).reason == "fewer than two diagnoses"
    assert jonckheere_trend(deltas[:0], labels, NAMES).reason == "no seeds"
    assert delta_intervals(deltas[:0], labels, NAMES)[0].reason == "no seeds"


@pytest.mark.parametrize("function", [kruskal_wallis, jonckheere_trend, delta_intervals])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_named(function, bad):
    deltas, labels = arrange(MUCUS)
    deltas[0, 6] = bad
    with pytest.raises(DataError, match=rf"scan 6 \(MCI\) has the delta {bad} in row 0"):
        function(deltas, labels, NAMES)
    with pytest.raises(DataError, match="do not fit"):
        function(deltas[0], labels, NAMES)


def test_interval_of_a_published_worked_example():
    """NIST/SEMATECH e-Handbook 1.3.5.2, ZARR13.DAT: n = 195, mean 9.261460, sd 0.022789, 95 % limits
    9.258242 and 9.264679; here two-point data with that mean and sd, and the t-interval of statsmodels for any."""
    sd = 0.022789 * sqrt(194 / 195)  # one value at the mean, the others one such sd to either side
    scans = 9.261460 + np.concatenate([[0.0], np.repeat([-1.0, 1.0], 97)]) * sd * sqrt(195 / 194)
    (interval,) = delta_intervals(scans[None], np.full(195, "CN", dtype=object), ["CN"])
    assert interval.mean_years == pytest.approx(9.261460)
    assert interval.interval_years == pytest.approx((9.258242, 9.264679), abs=2e-6)


def test_intervals_are_of_the_deltas_averaged_over_the_seeds():
    deltas = np.array([[1.0, 2, 4, 9, 0], [3.0, 2, 6, 9, 0]])
    labels = np.array(["CN", "CN", "CN", "AD", "x"], dtype=object)
    cn, mci, ad = delta_intervals(deltas, labels, NAMES)
    assert cn.interval_years == pytest.approx(DescrStatsW([2.0, 2, 5]).tconfint_mean(0.05))
    assert (cn.mean_years, cn.n_scans, cn.reason) == (3, 3, "")
    assert (mci.mean_years, mci.interval_years, mci.reason) == (None, None, "no MCI scans")
    assert (ad.mean_years, ad.interval_years, ad.reason) == (9, None, "only one AD scan")
    same = delta_intervals(np.full((2, 3), 4.0), np.full(3, "CN", dtype=object), ["CN"])[0]
    assert (same.mean_years, same.interval_years, same.reason) == (4, None, "all CN deltas are equal")


@LAW
@given(groups=GROUPS)
def test_reversing_the_diagnoses_mirrors_the_trend(groups):
    deltas, labels = arrange(groups)
    forth, back = jonckheere_trend(deltas, labels, NAMES), jonckheere_trend(deltas, labels, NAMES[::-1])
    assert forth.tau_mean == pytest.approx(-back.tau_mean)
    assert forth.p_mean == pytest.approx(back.p_mean)
    assert forth.p_increasing_mean == pytest.approx(1 - back.p_increasing_mean)
    h = kruskal_wallis(deltas, labels, NAMES[::-1]).h
    assert kruskal_wallis(deltas, labels, NAMES).h == pytest.approx(h, abs=1e-9)


@LAW
@given(groups=GROUPS, shift=st.integers(-50, 50))
def test_shifting_all_deltas_leaves_the_tests_and_moves_the_means(groups, shift):
    deltas, labels = arrange(groups)
    assert jonckheere_trend(deltas + shift, labels, NAMES) == jonckheere_trend(deltas, labels, NAMES)
    assert kruskal_wallis(deltas + shift, labels, NAMES) == kruskal_wallis(deltas, labels, NAMES)
    moved = delta_intervals(deltas + shift, labels, NAMES)
    for before, after in zip(delta_intervals(deltas, labels, NAMES), moved, strict=True):
        assert after.mean_years == pytest.approx(before.mean_years + shift, abs=1e-9)
        if before.interval_years:
            assert after.interval_years == pytest.approx(np.add(before.interval_years, shift), abs=1e-8)


@LAW
@given(seed=st.integers(0, 99), order=st.permutations(range(4)))
def test_permuting_seeds_permutes_p_and_nothing_else(seed, order):
    deltas = np.random.default_rng(seed).normal(size=(4, 12))
    labels = np.repeat(np.array(NAMES, dtype=object), 4)
    for function in (kruskal_wallis, jonckheere_trend):
        before, after = function(deltas, labels, NAMES), function(deltas[list(order)], labels, NAMES)
        assert after.p == tuple(before.p[i] for i in order)
        assert after.p_max == before.p_max
    before, after = delta_intervals(deltas, labels, NAMES), delta_intervals(deltas[list(order)], labels, NAMES)
    assert [i.mean_years for i in after] == pytest.approx([i.mean_years for i in before])


@LAW
@given(group=st.lists(st.integers(-15, 15), min_size=2, max_size=9).filter(lambda v: len(set(v)) > 1), groups=GROUPS)
def test_epsilon_squared_is_zero_for_equal_groups_and_at_most_one(group, groups):
    assert kruskal_wallis(*arrange([group] * 3), NAMES).epsilon_squared_mean == pytest.approx(0, abs=1e-9)
    assert -1e-9 <= kruskal_wallis(*arrange(groups), NAMES).epsilon_squared_mean <= 1 + 1e-9
