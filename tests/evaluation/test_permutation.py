from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu, permutation_test

from brainage_ray.errors import DataError
from brainage_ray.evaluation.permutation import PermutationSettings, compare_people

LAW = settings(deadline=None)
NAMES = ["CN", "AD"]
FEW = PermutationSettings(draws=199)
ALIKE = [1 / 6] * 6
MANY_VISITS, FEW_VISITS = [0.05, 0.1, 0.15, 0.2, 0.2, 0.3], [0.3, 0.2, 0.2, 0.15, 0.1, 0.05]
MALES, FEMALES = [19.0, 22, 16, 29, 24], [20.0, 11, 17, 12]


def one_scan_each(first, second):
    """Return deltas, diagnosis, person and age of people with one scan."""
    n = len(first) + len(second)
    labels = np.repeat(np.array(NAMES, dtype=object), [len(first), len(second)])
    return np.array([[*first, *second]], dtype=float), labels, np.arange(n), np.full(n, 70.0)


def simulate(rng, visits, n_people=40, effect=0.0, change=0.0):
    """People with 1-6 scans; the delta varies 4 years between people and 1.5 within (intraclass correlation 0.88)."""
    group = np.arange(n_people) % 2
    n_scans = np.where(group == 0, *(rng.choice(np.arange(1, 7), n_people, p=p) for p in visits))
    person = np.repeat(np.arange(n_people), n_scans)
    level = rng.normal(0, 4, n_people) + effect * group
    deltas = level[person] + rng.normal(0, 1.5, person.size)
    diagnosis = np.where((group[person] == 1) ^ (rng.random(person.size) < change), "AD", "CN").astype(object)
    return deltas[None], diagnosis, person, 60 + np.arange(person.size) / 100


@pytest.mark.parametrize(
    ("visits", "statistic", "change"),
    [
        ((ALIKE, ALIKE), "mean", 0),
        ((ALIKE, ALIKE), "auc", 0),
        ((MANY_VISITS, FEW_VISITS), "mean", 0),
        ((MANY_VISITS, FEW_VISITS), "auc", 0),
        ((MANY_VISITS, ALIKE), "mean", 0.3),
    ],
)
def test_type_one_error_is_five_percent_where_the_naive_test_is_far_above(visits, statistic, change):
    """2000 nulls: the standard error of the rate is 0.5 points; also where diagnoses differ in visits or change."""
    rng = np.random.default_rng(1)
    ours, naive = [], []
    for seed in range(2000):
        deltas, diagnosis, person, age = simulate(rng, visits, change=change)
        settings = PermutationSettings(199, seed, statistic)
        ours.append(compare_people(deltas, diagnosis, person, age, NAMES, settings)[0].p_max)
        naive.append(mannwhitneyu(deltas[0, diagnosis == "CN"], deltas[0, diagnosis == "AD"]).pvalue)
    assert 0.04 <= np.mean(np.array(ours) <= 0.05) <= 0.06
    assert np.mean(np.array(naive) <= 0.05) > (0.15 if change == 0 else 0.07)


def test_a_planted_difference_is_found_and_measured():
    deltas, diagnosis, person, age = simulate(np.random.default_rng(3), (ALIKE, ALIKE), n_people=120, effect=6.0)
    (mean,) = compare_people(deltas, diagnosis, person, age, NAMES)
    assert mean.p_max == pytest.approx(2 / 10_001)
    assert mean.estimate_mean == pytest.approx(6, abs=2)
    assert mean.estimate_mean == pytest.approx(
        deltas[0, diagnosis == "AD"].mean() - deltas[0, diagnosis == "CN"].mean()
    )
    (auc,) = compare_people(deltas, diagnosis, person, age, NAMES, PermutationSettings(statistic="auc"))
    u = mannwhitneyu(deltas[0, diagnosis == "AD"], deltas[0, diagnosis == "CN"]).statistic
    assert auc.estimate_mean == pytest.approx(u / np.multiply(*auc.n_scans))
    assert auc.p_max < 1e-3


def test_with_one_scan_a_person_it_is_scipys_exact_tests():
    """scipy.stats.permutation_test with all arrangements, and scipy's documented exact Mann-Whitney p = 0.1111."""
    scans = one_scan_each(MALES, FEMALES)
    exact = permutation_test(
        (FEMALES, MALES), lambda a, b, axis: a.mean(axis) - b.mean(axis), vectorized=True, n_resamples=np.inf
    )
    (mean,) = compare_people(*scans, NAMES, PermutationSettings(draws=40_000))
    assert mean.estimate_mean == pytest.approx(exact.statistic)
    assert mean.p_mean == pytest.approx(exact.pvalue, abs=0.006)
    (auc,) = compare_people(*scans, NAMES, PermutationSettings(draws=40_000, statistic="auc"))
    assert auc.estimate_mean == pytest.approx(3 / 20)
    assert auc.p_mean == pytest.approx(0.1111111111111111, abs=0.006)


def test_labels_move_only_between_people_with_as_many_scans():
    """By enumerating every arrangement: 3 people with one scan (1 AD), 5 with two (2 AD), one CN person with three."""
    n_scans = np.array([1, 1, 1, 2, 2, 2, 2, 2, 3])
    group = np.array([0, 0, 1, 0, 0, 0, 1, 1, 0])
    person = np.repeat(np.arange(9), n_scans)
    deltas = np.random.default_rng(5).normal(size=person.size) + 0.8 * group[person]
    difference = []
    for one, two in product(combinations(range(3), 1), combinations(range(3, 8), 2)):
        second = np.isin(person, [*one, *two])
        difference.append(deltas[second].mean() - deltas[~second].mean())
    observed = deltas[group[person] == 1].mean() - deltas[group[person] == 0].mean()
    tails = [np.mean(np.array(difference) >= observed - 1e-9), np.mean(np.array(difference) <= observed + 1e-9)]
    diagnosis = np.array(NAMES, dtype=object)[group[person]]
    (ours,) = compare_people(
        deltas[None], diagnosis, person, np.arange(person.size), NAMES, PermutationSettings(draws=40_000)
    )
    assert ours.n_exchangeable == 8
    assert ours.p_mean == pytest.approx(min(1, 2 * min(tails)), abs=0.01)


def test_a_person_counts_with_the_first_diagnosis_while_it_lasts():
    deltas = np.array([[1.0, 2, 3, 50, 5, 6, 7, 8]])
    diagnosis = np.array(["CN", "CN", "CN", "AD", "AD", "AD", "AD", "AD"], dtype=object)
    person = np.array(["a", "b", "b", "b", "c", "d", "d", "e"], dtype=object)
    age = np.array([60.0, 70, 71, 73, 80, 82, 81, 90])
    (pair,) = compare_people(deltas, diagnosis, person, age, NAMES, FEW)
    assert (pair.n_people, pair.n_scans, pair.n_left_out) == ((2, 3), (3, 4), 1)
    assert pair.estimate_mean == pytest.approx((5 + 6 + 7 + 8) / 4 - (1 + 2 + 3) / 3)
    assert pair.n_exchangeable == 5
    later_first = compare_people(deltas, diagnosis, person, -age, NAMES, FEW)[0]
    assert (later_first.n_people, later_first.n_scans, later_first.n_left_out) == ((1, 4), (1, 5), 2)


def test_three_diagnoses_are_corrected_within_each_seed():
    rng = np.random.default_rng(0)
    diagnosis = np.repeat(np.array(["CN", "MCI", "AD"], dtype=object), 20)
    deltas = rng.normal(0, 3, (2, 60)) + np.repeat([0.0, 2, 4], 20)
    pairs = compare_people(deltas, diagnosis, np.arange(60), np.full(60, 70.0), ["CN", "MCI", "AD"], FEW)
    assert [(pair.first, pair.second) for pair in pairs] == [("CN", "MCI"), ("CN", "AD"), ("MCI", "AD")]
    for seed in range(2):
        p, adjusted = ([getattr(pair, name)[seed] for pair in pairs] for name in ("p", "p_adjusted"))
        order, highest = np.argsort(p), 0.0
        for rank, i in enumerate(order):  # Holm, Scand J Stat 6:65 (1979)
            highest = max(highest, min(1, (3 - rank) * p[i]))
            assert adjusted[i] == pytest.approx(highest)


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        ([], [1.0, 2], "no CN people"),
        ([1.0, 2], [3.0], "only one AD person"),
        ([3.0, 3], [3.0, 3], "all deltas are equal"),
    ],
)
def test_what_cannot_be_tested_says_why(first, second, reason):
    (pair,) = compare_people(*one_scan_each(first, second), NAMES, FEW)
    assert pair.reason == reason
    assert pair.p == pair.estimate == pair.p_adjusted == ()
    assert pair.p_mean is pair.p_max is pair.estimate_mean is None


def test_people_who_cannot_change_places_give_no_number():
    diagnosis = np.array(["CN", "CN", "AD", "AD", "AD", "AD"], dtype=object)
    (pair,) = compare_people(np.arange(6.0)[None], diagnosis, [0, 1, 2, 2, 3, 3], np.arange(6.0), NAMES, FEW)
    assert pair.reason == "no two people, one CN and one AD, have as many scans as each other"
    assert compare_people(np.zeros((0, 6)), diagnosis, range(6), np.arange(6.0), NAMES, FEW)[0].reason == "no seeds"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"deltas": np.array([[1.0, np.nan, 3, 4]])}, r"scan 1 \(CN\) has the delta nan"),
        ({"deltas": np.array([[1.0, 2, 3, -np.inf]])}, r"scan 3 \(AD\) has the delta -inf"),
        ({"age": np.array([60.0, 70, np.nan, 80])}, "scan 2 has the age nan"),
        ({"person": np.array(["a", "", "b", "c"], dtype=object)}, "scan 1 belongs to no person"),
        ({"person": np.array(["a", "b", None, "c"], dtype=object)}, "scan 2 belongs to no person"),
        ({"person": np.arange(3)}, "do not fit"),
        ({"settings": PermutationSettings(draws=0)}, "0 draws"),
    ],
)
def test_bad_input_is_named(change, message):
    deltas, diagnosis, person, age = one_scan_each([1.0, 2], [3.0, 4])
    good = {"deltas": deltas, "diagnosis": diagnosis, "person": person, "age": age, "diagnoses": NAMES}
    with pytest.raises(DataError, match=message):
        compare_people(**(good | change))


SEEDS = st.integers(0, 999)


@LAW
@given(seed=SEEDS, shift=st.integers(-50, 50), statistic=st.sampled_from(["mean", "auc"]))
def test_shifting_all_ages_equally_changes_nothing(seed, shift, statistic):
    deltas, *scans = simulate(np.random.default_rng(seed), (ALIKE, ALIKE), n_people=16)
    settings = PermutationSettings(99, seed, statistic)
    before = compare_people(deltas, *scans, NAMES, settings)[0]
    after = compare_people(deltas + shift, *scans[:2], scans[2] + shift, NAMES, settings)[0]
    assert after.p == before.p
    assert after.estimate == pytest.approx(before.estimate, abs=1e-9)


@LAW
@given(seed=SEEDS, statistic=st.sampled_from(["mean", "auc"]))
def test_swapping_groups_mirrors_the_estimate(seed, statistic):
    scans = simulate(np.random.default_rng(seed), (ALIKE, ALIKE), n_people=16)
    settings = PermutationSettings(99, seed, statistic)
    forth, back = (compare_people(*scans, names, settings)[0] for names in (NAMES, NAMES[::-1]))
    mirrored = -back.estimate_mean if statistic == "mean" else 1 - back.estimate_mean
    assert forth.estimate_mean == pytest.approx(mirrored)
    assert forth.p == pytest.approx(back.p)
    assert forth.n_people == back.n_people[::-1]


@LAW
@given(seed=SEEDS, order=st.permutations(range(3)))
def test_permuting_seeds_permutes_p_and_nothing_else(seed, order):
    rng = np.random.default_rng(seed)
    deltas, *scans = simulate(rng, (ALIKE, ALIKE), n_people=16)
    deltas = deltas + rng.normal(size=(3, deltas.shape[1]))
    before = compare_people(deltas, *scans, NAMES, FEW)[0]
    after = compare_people(deltas[list(order)], *scans, NAMES, FEW)[0]
    assert after.p == tuple(before.p[i] for i in order)
    assert after.estimate_mean == pytest.approx(before.estimate_mean)


def test_many_draws_are_made_in_chunks_of_the_same_stream(monkeypatch):
    scans = one_scan_each(MALES, FEMALES)
    whole = compare_people(*scans, NAMES, FEW)
    monkeypatch.setattr("brainage_ray.evaluation.permutation.CHUNK", 7 * 9)
    assert compare_people(*scans, NAMES, FEW) == whole
