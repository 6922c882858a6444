from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from brainage_ray.errors import DataError
from brainage_ray.evaluation import arms as module
from brainage_ray.evaluation.arms import compare_arms, person_errors, person_weights, satterthwaite
from brainage_ray.evaluation.comparisons import adjust_p

N = 60


def brain_ages_of(seed=0, arms=("a", "b", "c"), n_seeds=4):
    """Arms share the person's difficulty; each later one is half a year worse."""
    rng = np.random.default_rng(seed)
    age, hard = rng.uniform(60, 90, N), rng.normal(0, 3, N)
    predicted = {
        arm: age + hard * (1 + 0.15 * i) + rng.normal(0, 0.3, (n_seeds, 1)) + rng.normal(0, 1, (n_seeds, N))
        for i, arm in enumerate(arms)
    }
    return predicted, age, np.repeat(np.arange(N // 2), 2)


def same(value, other, **how):
    assert (value.difference_years, *value.interval, value.p) == pytest.approx(
        (other.difference_years, *other.interval, other.p), **how
    )


def test_with_seeds_alike_it_is_the_paired_t_test_over_persons():
    """scipy.stats.ttest_rel of the absolute errors."""
    predicted, age, _ = brain_ages_of()
    alike = {arm: np.repeat(rows[:1], 3, axis=0) for arm, rows in predicted.items()}
    pair = compare_arms(alike, age, np.arange(N))[0]
    expected = stats.ttest_rel(np.abs(alike["a"][0] - age), np.abs(alike["b"][0] - age))
    assert pair.difference_years < 0
    assert pair.interval == pytest.approx(tuple(expected.confidence_interval()), abs=0.02)
    assert pair.p == pytest.approx(expected.pvalue, rel=0.1)


def test_with_persons_alike_it_is_welchs_t_test_over_seeds():
    """scipy.stats.ttest_ind(equal_var=False) of the seeds' MAEs."""
    _, age, person = brain_ages_of()
    a, b = np.array([3.0, 3.3, 3.1, 3.4, 2.9]), np.array([3.2, 3.9, 3.6])
    pair = compare_arms({"a": age + a[:, None], "b": age - b[:, None]}, age, person, n_draws=50_000)[0]
    expected = stats.ttest_ind(a, b, equal_var=False)
    assert pair.difference_years == pytest.approx(a.mean() - b.mean())
    assert pair.interval == pytest.approx(tuple(expected.confidence_interval()), abs=0.02)
    assert pair.p == pytest.approx(expected.pvalue, rel=0.05)
    assert pair.n_seeds == (5, 3)


def test_all_scans_of_a_person_are_drawn_together():
    """statsmodels: the cluster-robust standard error of a mean, clusters of persons with 1 to 5 scans."""
    rng = np.random.default_rng(3)
    person = np.repeat(np.arange(80), rng.integers(1, 6, 80))
    age = rng.uniform(60, 90, len(person))
    difference = rng.normal(0, 2, 80)[person] + rng.normal(0, 0.5, len(person))
    predicted = {"a": np.tile(age + 20 + difference, (2, 1)), "b": np.tile(age + 20, (2, 1))}
    pair = compare_arms(predicted, age, person)[0]
    table = pd.DataFrame({"d": difference})
    fit = smf.ols("d ~ 1", table).fit(cov_type="cluster", cov_kwds={"groups": person}, use_t=True)
    assert pair.interval == pytest.approx(tuple(fit.conf_int().loc["Intercept"]), abs=0.03)
    assert pair.n_persons == 80


@pytest.mark.parametrize(
    ("persons", "seeds", "both"), [(1, 0, 0.01), (0, 0.3, 0.01), (0.5, 0.15, 1)], ids=["persons", "seeds", "mixed"]
)
def test_type_1_error_is_five_percent(persons, seeds, both):
    """1,000 null experiments: 5 % +- 2 whether persons, seeds or both make the difference."""
    rng = np.random.default_rng(1)
    person = np.repeat(np.arange(40), rng.integers(1, 4, 40))
    age = rng.uniform(60, 90, len(person))

    def arm():
        by_person = rng.normal(0, persons, 40) + rng.normal(0, seeds, (5, 1)) + rng.normal(0, both, (5, 40))
        return age + 9 + by_person[:, person] + rng.normal(0, 0.3, (5, len(person)))

    p = [compare_arms({"a": arm(), "b": arm()}, age, person, 300, i)[0].p for i in range(1000)]
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.05, abs=0.02)


def test_models_that_differ_by_nothing_but_noise_are_not_called_different_too_often():
    rng = np.random.default_rng(2)
    age = rng.uniform(60, 90, 40)
    noise = rng.normal(5, 1, (400, 2, 5, 40))
    p = [compare_arms({"a": age + a, "b": age + b}, age, np.arange(40), 300)[0].p for a, b in noise]
    assert np.mean(np.array(p) < 0.05) < 0.05


def test_holm_over_the_pairs():
    predicted, age, person = brain_ages_of()
    pairs = compare_arms(predicted, age, person, 1000)
    assert [(pair.first, pair.second) for pair in pairs] == [("a", "b"), ("a", "c"), ("b", "c")]
    expected = adjust_p(np.array([[pair.p] for pair in pairs]), "holm")[:, 0]
    assert [pair.p_adjusted for pair in pairs] == pytest.approx(list(expected))


def test_blocks_change_nothing_but_memory(monkeypatch):
    predicted, age, person = brain_ages_of()
    whole = compare_arms(predicted, age, person, 500)
    monkeypatch.setattr(module, "BLOCK_WEIGHTS", 7 * N)
    assert compare_arms(predicted, age, person, 500) == whole


def test_weights_are_draws_with_replacement():
    """Mean 1 and variance 1 - 1/n, of numpy's multinomial as well."""
    weights = np.concatenate(list(person_weights(8, 20_000, np.random.default_rng(0))))
    assert (weights.sum(axis=1) == 8).all()
    np.testing.assert_allclose(weights.mean(axis=0), 1, atol=0.03)
    np.testing.assert_allclose(weights.var(axis=0), 1 - 1 / 8, atol=0.03)


def test_satterthwaite_is_welchs():
    """scipy.stats.ttest_ind(equal_var=False) on 5 and 3 values."""
    a, b = np.array([3.0, 3.3, 3.1, 3.4, 2.9]), np.array([3.2, 3.9, 3.6])
    parts = [a.var(ddof=1) / 5, b.var(ddof=1) / 3]
    assert satterthwaite(parts, [4, 2], sum(parts)) == pytest.approx(stats.ttest_ind(a, b, equal_var=False).df)


def test_mae_is_that_of_all_scans():
    predicted, age, person = brain_ages_of()
    errors = person_errors(predicted, age, person)
    np.testing.assert_allclose(errors.mae_years["b"], np.abs(predicted["b"] - age).mean(axis=1))


def test_one_arm_has_no_pair():
    predicted, age, person = brain_ages_of(arms=("a",))
    assert compare_arms(predicted, age, person) == ()


def test_one_seed_leaves_the_difference_alone():
    predicted, age, person = brain_ages_of()
    predicted["b"] = predicted["b"][:1]
    ab, ac, bc = compare_arms(predicted, age, person, 500)
    assert ab.reason == bc.reason == "one seed of b: its spread between seeds is unknown"
    assert ab.difference_years is not None
    assert ab.interval is ab.p is ab.p_adjusted is None
    assert ac.p == ac.p_adjusted


def test_one_person_or_no_spread_says_so():
    predicted, age, _ = brain_ages_of()
    assert compare_arms(predicted, age, np.full(N, "x"))[0].reason == "one person has no spread"
    alike = {"a": np.tile(age + 1, (2, 1)), "b": np.tile(age + 2, (2, 1))}
    pair = compare_arms(alike, age, np.arange(N), 500)[0]
    assert (pair.p, pair.interval) == (None, None)
    assert pair.reason == "neither persons nor seeds differ in the difference"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p, a, n: (p | {"b": p["b"][:, :-1]}, a, n), "arm b have the shape (4, 59) for 60 scans"),
        (lambda p, a, n: (p | {"b": p["b"][:0]}, a, n), "arm b have the shape (0, 60)"),
        (lambda p, a, n: (p | {"b": np.where(np.arange(N) == 7, np.nan, p["b"])}, a, n), "scan 7 has brain age nan"),
        (lambda p, a, n: (p | {"b": np.where(np.arange(N) == 7, np.inf, p["b"])}, a, n), "scan 7 has brain age inf"),
        (lambda p, a, n: (p, np.where(np.arange(N) == 3, np.nan, a), n), "scan 3 has the age nan"),
        (lambda p, a, n: (p, a, n[:-1]), "ages (60,) and persons (59,)"),
        (lambda p, a, n: ({k: v[:, :0] for k, v in p.items()}, a[:0], n[:0]), "no scans"),
        (lambda p, a, n: (p, a, np.array([None, *n[1:]], dtype=object)), "belongs to no person"),
        (lambda p, a, n: (p, a, np.array(["", *n[1:]], dtype=object)), "belongs to no person"),
        (lambda p, a, n: ({}, a, n), "there are no arms"),
    ],
)
def test_bad_input_is_refused(change, words):
    with pytest.raises(DataError) as caught:
        compare_arms(*change(*brain_ages_of()))
    assert words in str(caught.value)


def test_too_few_draws_are_refused():
    with pytest.raises(DataError, match="5 draws are too few"):
        compare_arms(*brain_ages_of(), n_draws=5)


LAW = settings(max_examples=20, deadline=None)


@LAW
@given(seed=st.integers(0, 99), order=st.permutations(range(4)))
def test_permuting_seeds_changes_nothing(seed, order):
    predicted, age, person = brain_ages_of(seed, ("a", "b"))
    shuffled = predicted | {"b": predicted["b"][list(order)]}
    same(compare_arms(shuffled, age, person, 300)[0], compare_arms(predicted, age, person, 300)[0])


@LAW
@given(seed=st.integers(0, 99), years=st.floats(-20, 20))
def test_shifting_all_ages_changes_nothing(seed, years):
    predicted, age, person = brain_ages_of(seed, ("a", "b"))
    moved = {arm: rows + years for arm, rows in predicted.items()}
    same(compare_arms(moved, age + years, person, 300)[0], compare_arms(predicted, age, person, 300)[0], rel=1e-6)


@LAW
@given(seed=st.integers(0, 99))
def test_swapping_arms_flips_the_sign(seed):
    predicted, age, person = brain_ages_of(seed, ("a", "b"))
    forth, back = (compare_arms({k: predicted[k] for k in order}, age, person, 300)[0] for order in ("ab", "ba"))
    assert back.difference_years == pytest.approx(-forth.difference_years)
    assert back.interval == pytest.approx((-forth.interval[1], -forth.interval[0]))
    assert back.p == pytest.approx(forth.p)
