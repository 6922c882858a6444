from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from math import sqrt

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t as student

from brainage_ray.errors import DataError
from brainage_ray.evaluation.contrasts import Covariates, adjusted_contrasts

NAMES = ["CN", "MCI", "AD"]


def names_of(codes, names=NAMES):
    return np.array(names, dtype=object)[codes]


def simulate(seed=0, n=120, effect=6.0, n_sites=4):
    """AD people are older, and the delta falls half a year a year of age: the raw difference hides the effect."""
    rng = np.random.default_rng(seed)
    group = np.arange(n) % 3
    age = 70 + 6.0 * group + rng.normal(0, 5, n)
    sex, site = rng.integers(0, 2, n), rng.integers(0, n_sites, n)
    deltas = -0.5 * (age - 75) + effect / 2 * group + 1.5 * sex + 2.0 * site + rng.normal(0, 2, (3, n))
    covariates = Covariates(age, names_of(sex, ["F", "M"]), names_of(site, list("abcd")))
    return deltas, names_of(group), covariates


def formula_fit(deltas, diagnosis, covariates, formula, person=None):
    frame = pd.DataFrame({"delta": deltas.mean(axis=0), "diagnosis": diagnosis.astype(str), "age": covariates.age})
    frame["sex"], frame["site"] = covariates.sex.astype(str), covariates.site.astype(str)
    robust = {"cov_type": "HC3"} if person is None else {"cov_type": "cluster", "cov_kwds": {"groups": person}}
    return smf.ols(formula, frame).fit(use_t=True, **robust)


def close(first, second):
    for one, other in zip(first.contrasts, second.contrasts, strict=True):
        assert one.estimate_years == pytest.approx(other.estimate_years, abs=1e-7)
        assert one.interval_years == pytest.approx(other.interval_years, abs=1e-6)
        assert one.p == pytest.approx(other.p, rel=1e-5, abs=1e-12)


def test_worked_by_hand():
    """Means 2 and 7, sample variances 1 and 4; HC3 of a group of n is s^2 / (n - 1): se = sqrt(1/2 + 4/2), 4 df."""
    deltas = np.array([[1.0, 2, 3, 5, 7, 9]])
    result = adjusted_contrasts(deltas, names_of([0, 0, 0, 1, 1, 1], ["CN", "AD"]), ["CN", "AD"], Covariates())
    (pair,) = result.contrasts
    se = sqrt(2.5)
    assert pair.estimate_years == pytest.approx(5)
    assert pair.interval_years == pytest.approx((5 - 2.7764451 * se, 5 + 2.7764451 * se), abs=1e-6)
    assert pair.p == pair.p_adjusted == pytest.approx(2 * student.sf(5 / se, 4))
    assert result.adjusted_for == ()
    assert result.left_out == (("age", "not given"), ("sex", "not given"), ("site", "not given"))
    assert (result.standard_errors, result.n_scans, result.n_people) == ("HC3", 6, 6)


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("square", [False, True])
def test_agrees_with_statsmodels_formulas(several, square):
    deltas, diagnosis, covariates = simulate()
    person = np.arange(120) // 3 if several else None
    result = adjusted_contrasts(deltas, diagnosis, NAMES, replace(covariates, age_squared=square), person)
    terms = "diagnosis + age + C(sex) + C(site)" + (" + I(age ** 2)" if square else "")
    fit = formula_fit(deltas, diagnosis, covariates, f"delta ~ {terms}", person)  # the reference level is AD
    hypotheses = "diagnosis[T.MCI] - diagnosis[T.CN] = 0, -diagnosis[T.CN] = 0, -diagnosis[T.MCI] = 0"
    expected = fit.t_test(hypotheses)
    assert result.standard_errors == ("cluster" if several else "HC3")
    assert result.n_people == (40 if several else 120)
    assert result.adjusted_for == (*(("age", "age squared") if square else ("age",)), "sex", "site")
    np.testing.assert_allclose([c.estimate_years for c in result.contrasts], expected.effect, atol=1e-8)
    np.testing.assert_allclose([c.interval_years for c in result.contrasts], expected.conf_int(), atol=1e-7)
    np.testing.assert_allclose([c.p for c in result.contrasts], expected.pvalue, rtol=1e-5)


def test_a_planted_effect_is_recovered_from_under_the_age():
    """+6 years, in 200 data sets: no bias, and the interval holds it in 95 % of them (standard error 1.5 points)."""
    raw, adjusted = [], []
    for seed in range(200):
        deltas, diagnosis, covariates = simulate(seed)
        raw.append(deltas[:, diagnosis == "AD"].mean() - deltas[:, diagnosis == "CN"].mean())
        adjusted.append(adjusted_contrasts(deltas, diagnosis, NAMES, covariates, correction="none").contrasts[1])
    assert np.mean(raw) == pytest.approx(0, abs=0.3)
    assert np.mean([pair.estimate_years for pair in adjusted]) == pytest.approx(6, abs=0.1)
    assert 0.91 <= np.mean([pair.interval_years[0] < 6 < pair.interval_years[1] for pair in adjusted]) <= 0.99
    assert max(pair.p for pair in adjusted) < 1e-6


def test_type_one_error_with_repeat_scans():
    """Clustered errors hold 5 % (a little above is known of 60 people); taking scans as people is far above."""
    rng = np.random.default_rng(4)
    clustered, naive = [], []
    person = np.repeat(np.arange(60), rng.integers(1, 7, 60))
    diagnosis = names_of(person % 2, ["CN", "AD"])
    for _ in range(400):
        deltas = (rng.normal(0, 4, 60)[person] + rng.normal(0, 1, person.size))[None]
        for who, into in ((person, clustered), (None, naive)):
            into.append(adjusted_contrasts(deltas, diagnosis, ["CN", "AD"], Covariates(), who).contrasts[0].p)
    assert 0.02 < np.mean(np.array(clustered) < 0.05) < 0.09
    assert np.mean(np.array(naive) < 0.05) > 0.2


def test_holm_over_the_pairs():
    """Holm, Scand J Stat 6:65 (1979): the smallest p three times, the next twice, never falling."""
    deltas, diagnosis, covariates = simulate(effect=1.0)
    pairs = sorted(adjusted_contrasts(deltas, diagnosis, NAMES, covariates).contrasts, key=lambda pair: pair.p)
    expected = np.minimum(1, np.maximum.accumulate([3 * pairs[0].p, 2 * pairs[1].p, pairs[2].p]))
    np.testing.assert_allclose([pair.p_adjusted for pair in pairs], expected)
    plain = adjusted_contrasts(deltas, diagnosis, NAMES, covariates, correction="none")
    assert all(pair.p == pair.p_adjusted for pair in plain.contrasts)


def test_sites_with_one_scan_are_pooled():
    deltas, diagnosis, covariates = simulate()
    site = covariates.site.copy()
    site[[5, 11]] = ["x", "y"]
    result = adjusted_contrasts(deltas, diagnosis, NAMES, replace(covariates, site=site))
    assert result.pooled_sites == ("x", "y")
    assert result.n_left_out == 0
    site[[5, 11]] = "one name"
    close(result, adjusted_contrasts(deltas, diagnosis, NAMES, replace(covariates, site=site)))


def test_a_scan_alone_at_its_site_says_nothing_of_the_contrasts():
    deltas, diagnosis, covariates = simulate()
    site = covariates.site.copy()
    site[7] = "x"
    result = adjusted_contrasts(deltas, diagnosis, NAMES, replace(covariates, site=site))
    fit = formula_fit(deltas, diagnosis, replace(covariates, site=site), "delta ~ diagnosis + age + C(sex) + C(site)")
    assert (result.n_scans, result.n_left_out, result.pooled_sites) == (119, 1, ())
    assert result.contrasts[1].estimate_years == pytest.approx(-fit.params["diagnosis[T.CN]"])


def test_what_does_not_vary_or_is_missing_is_left_out_and_named():
    deltas, diagnosis, covariates = simulate()
    sex, site = covariates.sex.copy(), np.full(120, "a", dtype=object)
    sex[:20] = None
    result = adjusted_contrasts(deltas, diagnosis, NAMES, Covariates(np.full(120, 70.0), sex, site, age_squared=True))
    assert result.adjusted_for == ()
    assert dict(result.left_out) == {
        "age": "does not vary",
        "age squared": "does not vary",
        "sex": "missing for 20 of 120 scans",
        "site": "does not vary",
    }
    assert result.contrasts == adjusted_contrasts(deltas, diagnosis, NAMES, Covariates()).contrasts


def test_a_few_scans_without_a_sex_are_left_out_instead():
    deltas, diagnosis, covariates = simulate()
    sex = covariates.sex.copy()
    sex[:3] = [None, "", np.nan]
    result = adjusted_contrasts(deltas, diagnosis, NAMES, replace(covariates, sex=sex))
    rest = Covariates(covariates.age[3:], sex[3:], covariates.site[3:])
    expected = adjusted_contrasts(deltas[:, 3:], diagnosis[3:], NAMES, rest)
    assert (result.n_scans, result.n_left_out) == (117, 3)
    assert "sex" in result.adjusted_for
    for ours, theirs in zip(result.contrasts, expected.contrasts, strict=True):
        assert ours.estimate_years == pytest.approx(theirs.estimate_years)
        assert ours.p == pytest.approx(theirs.p)


def test_an_age_of_two_values_has_no_square():
    deltas, diagnosis, covariates = simulate()
    age = np.where(covariates.age > 75, 80.0, 70.0)
    result = adjusted_contrasts(deltas, diagnosis, NAMES, replace(covariates, age=age, age_squared=True))
    assert result.adjusted_for == ("age", "sex", "site")
    assert result.left_out == (("age squared", "does not vary"),)


def assert_no_numbers(pair):
    assert pair.estimate_years is pair.interval_years is pair.p is pair.p_adjusted is None


def test_collinear_covariates_are_named():
    deltas, diagnosis, covariates = simulate()
    result = adjusted_contrasts(deltas, diagnosis, NAMES, replace(covariates, site=diagnosis))
    assert result.reason == "site is collinear with diagnosis, age, sex"
    for pair in result.contrasts:
        assert pair.reason == result.reason
        assert_no_numbers(pair)


@pytest.mark.parametrize(
    ("deltas", "diagnosis", "reason"),
    [
        ([], [], "fewer than two diagnoses have two people"),
        ([1.0, 2], ["CN", "CN"], "fewer than two diagnoses have two people"),
        ([3.0] * 6, ["CN"] * 3 + ["AD"] * 3, "all deltas are equal"),
        ([1.0, 1, 1, 2, 2, 2], ["CN"] * 3 + ["AD"] * 3, "the model fits every delta exactly"),
    ],
)
def test_what_has_no_model_says_why(deltas, diagnosis, reason):
    result = adjusted_contrasts(np.array([deltas]), np.array(diagnosis, dtype=object), ["CN", "AD"], Covariates())
    assert result.reason == reason
    assert result.contrasts[0].reason
    assert_no_numbers(result.contrasts[0])


def test_too_few_people_for_the_coefficients():
    deltas, diagnosis, covariates = simulate(n=6)
    alone = adjusted_contrasts(deltas, diagnosis, NAMES, Covariates(covariates.age))
    assert alone.contrasts[0].p is not None
    person = np.array([0, 1, 2, 1, 2, 0])
    shared = adjusted_contrasts(deltas, diagnosis, NAMES, Covariates(covariates.age), person)
    assert shared.reason == "only 3 people for 4 coefficients"
    assert_no_numbers(shared.contrasts[0])


def test_a_diagnosis_that_is_too_small_leaves_the_other_pairs():
    deltas, diagnosis, covariates = simulate()
    labels = diagnosis.copy()
    labels[labels == "AD"] = "x"
    labels[2] = "AD"
    result = adjusted_contrasts(deltas, labels, [*NAMES, "FTD"], covariates)
    reasons = {(pair.first, pair.second): pair.reason for pair in result.contrasts}
    assert reasons[("CN", "MCI")] == ""
    assert reasons[("CN", "AD")] == reasons[("MCI", "AD")] == "only one AD scan"
    assert reasons[("CN", "FTD")] == "no FTD scans"
    assert result.contrasts[0].p_adjusted == result.contrasts[0].p
    one_person = np.arange(120)
    one_person[labels == "CN"] = 0
    result = adjusted_contrasts(deltas, labels, ["CN", "MCI"], covariates, one_person)
    assert result.contrasts[0].reason == "fewer than two CN people"


def test_a_pair_without_variance_leaves_the_others():
    """By hand: CN 1 1, AD 1 5: the difference is 2, its HC3 variance 0 + 8 / 1, with 6 - 3 degrees of freedom."""
    deltas = np.array([[1.0, 1, 2, 2, 1, 5]])
    pairs = adjusted_contrasts(deltas, names_of([0, 0, 1, 1, 2, 2]), NAMES, Covariates()).contrasts
    assert pairs[0].reason == "the deltas do not vary within these diagnoses"
    assert_no_numbers(pairs[0])
    assert pairs[1].p == pytest.approx(2 * student.sf(2 / sqrt(8), 3))
    assert pairs[1].p_adjusted == 1.0  # twice 0.53, over the two pairs that have a p


def test_one_scan_that_decides_a_coefficient_is_not_hidden():
    deltas, diagnosis, _ = simulate(n=12)
    age = np.full(12, 70.0)
    age[4] = 90
    result = adjusted_contrasts(deltas, diagnosis, NAMES, Covariates(age))
    assert result.reason == "one scan alone decides a coefficient, HC3 has no value"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"deltas": np.array([[1.0, np.nan, 3, 4]])}, r"scan 1 \(CN\) has the delta nan"),
        ({"deltas": np.array([[1.0, 2, np.inf, 4]])}, r"scan 2 \(AD\) has the delta inf"),
        ({"covariates": Covariates(age=np.array([60.0, 70, np.nan, 80]))}, "scan 2 has the age nan"),
        ({"covariates": Covariates(sex=np.array(["M"]))}, r"sex \(1,\) and 4 scans do not fit"),
        ({"person": np.array(["a", None, "b", "c"], dtype=object)}, "scan 1 belongs to no person"),
        ({"person": np.arange(3)}, "do not fit"),
    ],
)
def test_bad_input_is_named(change, message):
    good = {"deltas": np.array([[1.0, 2, 3, 5]]), "diagnosis": names_of([0, 0, 2, 2]), "covariates": Covariates()}
    with pytest.raises(DataError, match=message):
        adjusted_contrasts(**(good | change), diagnoses=["CN", "AD"])


SEEDS = st.integers(0, 999)
LAW = settings(max_examples=40, deadline=None)


@LAW
@given(seed=SEEDS, shift=st.floats(-50, 50), square=st.booleans(), order=st.permutations(range(3)))
def test_shifting_ages_and_brain_ages_or_all_deltas_or_permuting_seeds_changes_no_contrast(seed, shift, square, order):
    deltas, diagnosis, covariates = simulate(seed, n=60)
    before = replace(covariates, age_squared=square)
    expected = adjusted_contrasts(deltas, diagnosis, NAMES, before, correction="none")
    older = replace(before, age=covariates.age + shift)
    close(expected, adjusted_contrasts(deltas, diagnosis, NAMES, older, correction="none"))
    close(expected, adjusted_contrasts(deltas[list(order)] + shift, diagnosis, NAMES, before, correction="none"))


@LAW
@given(seed=SEEDS, names=st.permutations(NAMES))
def test_swapping_groups_mirrors_the_estimate(seed, names):
    deltas, diagnosis, covariates = simulate(seed, n=60)
    forth = {
        (c.first, c.second): c
        for c in adjusted_contrasts(deltas, diagnosis, NAMES, covariates, correction="none").contrasts
    }
    back = {
        (c.first, c.second): c
        for c in adjusted_contrasts(deltas, diagnosis, names, covariates, correction="none").contrasts
    }
    for a, b in combinations(NAMES, 2):
        mirrored = back.get((b, a), back.get((a, b)))
        sign = -1 if (b, a) in back else 1
        assert forth[a, b].estimate_years == pytest.approx(sign * mirrored.estimate_years, abs=1e-8)
        assert forth[a, b].p == pytest.approx(mirrored.p, rel=1e-6)
