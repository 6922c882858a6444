from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from brainage_ray.errors import DataError
from brainage_ray.evaluation.biomarker import Scans, mae_and_separation, row_correlations, row_kendalls
from brainage_ray.evaluation.comparisons import compare_pairs

SIZES = {"CN": 40, "MCI": 30, "AD": 20}


def experiment(seed=0, n_arms=6, n_seeds=2):
    """Arms of growing noise: the larger the error, the worse AD is told from MCI."""
    rng = np.random.default_rng(seed)
    diagnosis = np.repeat(list(SIZES), list(SIZES.values())).astype(object)
    age = rng.uniform(60, 90, len(diagnosis))
    delta = np.repeat([0.0, 2, 4], list(SIZES.values()))
    arms = {f"arm{i}": age + delta + rng.normal(0, 1 + i, (n_seeds, len(age))) for i in range(n_arms)}
    return arms, Scans(age, np.arange(len(age)), diagnosis)


def test_the_correlations_are_scipys():
    """scipy.stats.spearmanr and kendalltau; the AUC is that of evaluation.comparisons (Mann-Whitney U)."""
    arms, scans = experiment()
    found = mae_and_separation(arms, scans, n_draws=200)
    healthy = scans.diagnosis == "CN"
    mae = [np.abs(rows - scans.age)[:, healthy].mean() for rows in arms.values()]
    auc = [
        compare_pairs(rows - scans.age, scans.diagnosis, ["MCI", "AD"], "none")[0].auc_mean for rows in arms.values()
    ]
    assert found.mae_years == pytest.approx(mae)
    assert found.auc == pytest.approx(auc, abs=1e-6)
    assert found.spearman == pytest.approx(stats.spearmanr(mae, auc).statistic)
    assert found.kendall == pytest.approx(stats.kendalltau(mae, auc).statistic)
    assert found.kendall_p == pytest.approx(stats.kendalltau(mae, auc).pvalue)
    assert found.reason == ""


def test_a_planted_relation_is_found_and_its_interval_holds_it():
    arms, scans = experiment(n_arms=8)
    found = mae_and_separation(arms, scans)
    assert found.spearman < -0.7
    low, high = found.spearman_interval
    assert -1 <= low <= found.spearman <= high < 0
    assert found.kendall_interval[0] <= found.kendall <= found.kendall_interval[1]


def test_persons_are_drawn_with_all_their_scans():
    """Every scan twice, of the same persons, is the same experiment."""
    arms, scans = experiment()
    twice = Scans(*(np.tile(v, 2) for v in (scans.age, scans.person, scans.diagnosis)))
    once, both = (
        mae_and_separation(a, s, n_draws=200)
        for a, s in ((arms, scans), ({k: np.tile(v, 2) for k, v in arms.items()}, twice))
    )
    assert both.spearman_interval == pytest.approx(once.spearman_interval)
    assert both.auc == pytest.approx(once.auc)


def test_rows_of_correlations_are_scipys():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 4, (20, 6)).astype(float), rng.integers(0, 4, (20, 6)).astype(float)
    kept = (np.ptp(a, axis=1) > 0) & (np.ptp(b, axis=1) > 0)
    a, b = a[kept], b[kept]
    ranks = stats.rankdata(a, axis=1), stats.rankdata(b, axis=1)
    expected = [stats.spearmanr(x, y).statistic for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(row_correlations(*ranks), expected, atol=1e-12)
    expected = [stats.kendalltau(x, y).statistic for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(row_kendalls(a, b), expected, atol=1e-12)


@pytest.mark.parametrize("n_arms", [1, 3])
def test_few_arms_have_no_correlation(n_arms):
    found = mae_and_separation(*experiment(n_arms=n_arms))
    assert (found.spearman, found.kendall, found.spearman_interval) == (None, None, None)
    assert found.reason == f"{n_arms} of the 4 arms that a rank correlation needs"


@pytest.mark.parametrize(
    ("gone", "left", "reason"),
    [("AD", 0, "no person with AD"), ("MCI", 1, "only one person with MCI"), ("CN", 0, "no person with CN")],
)
def test_an_empty_group_says_so(gone, left, reason):
    arms, scans = experiment()
    diagnosis = scans.diagnosis.copy()
    diagnosis[np.flatnonzero(diagnosis == gone)[left:]] = "other"
    assert mae_and_separation(arms, replace(scans, diagnosis=diagnosis)).reason == reason


def test_arms_that_tie_say_so():
    arms, scans = experiment()
    same = dict.fromkeys(arms, arms["arm0"])
    found = mae_and_separation(same, scans)
    assert found.reason == "all arms have the same MAE"
    assert found.spearman is None


def test_too_few_persons_have_no_interval():
    arms, scans = experiment()
    keep = np.concatenate([np.flatnonzero(scans.diagnosis == d)[:2] for d in SIZES])
    few = Scans(scans.age[keep], scans.person[keep], scans.diagnosis[keep])
    found = mae_and_separation({arm: rows[:, keep] for arm, rows in arms.items()}, few, n_draws=500)
    assert found.spearman_interval is None
    assert found.reason.startswith("too few persons for an interval")


def test_bad_input_is_refused():
    arms, scans = experiment()
    with pytest.raises(DataError, match="brain age nan"):
        mae_and_separation(arms | {"arm1": np.full((2, 90), np.nan)}, scans)
    with pytest.raises(DataError, match="89 diagnoses for 90 scans"):
        mae_and_separation(arms, replace(scans, diagnosis=scans.diagnosis[1:]))
    with pytest.raises(DataError, match="7 draws"):
        mae_and_separation(arms, scans, n_draws=7)


LAW = settings(max_examples=15, deadline=None)


@LAW
@given(seed=st.integers(0, 99))
def test_swapping_the_diagnoses_flips_the_sign(seed):
    arms, scans = experiment(seed)
    forth, back = (mae_and_separation(arms, scans, pair, n_draws=100) for pair in (("MCI", "AD"), ("AD", "MCI")))
    assert back.spearman == pytest.approx(-forth.spearman)
    assert back.auc == pytest.approx([1 - auc for auc in forth.auc], abs=1e-6)


@LAW
@given(seed=st.integers(0, 99), years=st.integers(-20, 20), order=st.permutations(range(2)))
def test_shifting_ages_or_permuting_seeds_changes_nothing(seed, years, order):
    arms, scans = experiment(seed)
    moved = {arm: rows[list(order)] + years for arm, rows in arms.items()}
    found = mae_and_separation(moved, replace(scans, age=scans.age + years), n_draws=100)
    expected = mae_and_separation(arms, scans, n_draws=100)
    assert found.auc == pytest.approx(expected.auc, abs=1e-6)
    assert (found.spearman, found.kendall) == pytest.approx((expected.spearman, expected.kendall))
