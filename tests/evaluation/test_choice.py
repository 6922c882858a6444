from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats

from brainage_ray.errors import DataError
from brainage_ray.evaluation.arms import ArmComparison, compare_arms
from brainage_ray.evaluation.choice import Candidate, choose, declare_winner, standard_error

PEOPLE = 12


def candidate(name: int, sums: np.ndarray, n_scans: np.ndarray | None = None, **known) -> Candidate:
    scans = np.ones(sums.shape[1]) if n_scans is None else n_scans
    mae = float(sums.sum(axis=1).mean() / scans.sum())
    return Candidate(name, known.pop("mae_years", mae), sums_years=sums, n_scans=scans, **known)


@st.composite
def candidates(draw, most: int = 6) -> list[Candidate]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    hard, seeds = rng.gamma(4, 1, PEOPLE), draw(st.integers(1, 4))
    made = []
    for name in range(draw(st.integers(1, most))):
        noise = rng.normal(0, draw(st.sampled_from([0.0, 0.1, 1.0])), (seeds, PEOPLE))
        weights, epochs, changed = (draw(st.integers(1, 3)) for _ in range(3))
        made.append(candidate(name, np.abs(hard + noise), weights=weights, epochs=epochs, changed=changed))
    return made


@given(candidates(), st.sampled_from(["best", "one_standard_error"]))
def test_none_is_taken_that_lies_beyond_one_standard_error_of_the_best(made, rule):
    found = choose(made, rule)
    chosen, best = made[found.name], made[found.best]
    assert best.mae_years == min(c.mae_years for c in made)
    assert chosen.mae_years - best.mae_years <= standard_error(chosen, best)
    assert {found.name, found.best} <= set(found.within)
    if rule == "best":
        assert found.name == found.best


@given(candidates(), st.randoms(), st.sampled_from(["best", "one_standard_error"]))
def test_the_order_of_the_candidates_changes_nothing(made, random, rule):
    assert choose(random.sample(made, len(made)), rule) == choose(made, rule)


@given(candidates())
def test_nothing_within_is_cheaper_than_the_choice(made):
    found = choose(made, "one_standard_error")
    chosen = made[found.name]
    within = [made[name] for name in found.within]
    assert (chosen.weights, chosen.epochs, chosen.changed) == min((c.weights, c.epochs, c.changed) for c in within)
    assert set(found.within) == {
        c.name for c in made if c.mae_years - made[found.best].mae_years <= standard_error(c, made[found.best])
    }


@given(st.permutations(range(1, 5)))
def test_of_equals_the_cheapest_is_taken(order):
    sums = np.arange(1.0, 2 * PEOPLE + 1).reshape(2, PEOPLE)
    made = [candidate(name, sums, weights=weights) for name, weights in enumerate(order)]
    assert choose(made, "one_standard_error").name == order.index(1)
    assert choose(made, "one_standard_error").within == (0, 1, 2, 3)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"weights": 1, "epochs": 9}, {"weights": 2, "epochs": 1}),
        ({"epochs": 1, "changed": 9}, {"epochs": 2, "changed": 0}),
        ({"changed": 0}, {"changed": 1}),
    ],
)
def test_weights_come_before_epochs_and_epochs_before_settings(first, second):
    sums = np.ones((2, PEOPLE))
    assert choose([candidate(0, sums, **second), candidate(1, sums, **first)], "one_standard_error").name == 1


def test_a_clearly_worse_candidate_is_not_taken_however_cheap():
    rng = np.random.default_rng(0)
    hard = rng.gamma(4, 1, (3, PEOPLE))
    made = [candidate(0, hard, weights=1000), candidate(1, hard + 2 + rng.normal(0, 0.1, hard.shape), weights=1)]
    assert choose(made, "one_standard_error").within == (0,)


def test_without_their_errors_only_equals_stand_beside_the_best():
    made = [Candidate(0, 4.0, weights=9), Candidate(1, 4.0, weights=1), Candidate(2, 4.001, weights=0)]
    assert choose(made, "one_standard_error").within == (0, 1)
    assert choose(made, "one_standard_error").name == 1


@pytest.mark.parametrize("rule", ["best", "one_standard_error"])
def test_of_two_objectives_the_largest_auc_within_one_standard_error_of_the_best_mae_is_taken(rule):
    rng = np.random.default_rng(0)
    hard = rng.gamma(4, 1, (3, PEOPLE))
    close = hard + rng.normal(0, 1, hard.shape)
    close += (hard.sum() - close.sum()) / close.size + 0.01
    made = [
        candidate(0, hard, delta_auc=0.70, weights=1),
        candidate(1, close, delta_auc=0.80, weights=9),
        candidate(2, hard + 3, delta_auc=0.99),
    ]
    assert choose(made, rule).within == (0, 1)
    assert choose(made, rule).name == 1
    assert choose([replace(c, delta_auc=0.7) for c in made], rule).name == 0, "the cheaper where AUCs are equal"


@st.composite
def candidates_of_two_objectives(draw) -> list[Candidate]:
    """Some with equal MAE, some with equal AUC, most with both near others."""
    made = draw(candidates())
    copies = [replace(draw(st.sampled_from(made)), name=len(made) + i) for i in range(draw(st.integers(0, 3)))]
    aucs = st.sampled_from([0.5, 0.7, 0.7000001, 0.9])
    return [replace(c, delta_auc=draw(aucs), weights=draw(st.integers(1, 3))) for c in [*made, *copies]]


@given(candidates_of_two_objectives(), st.sampled_from(["best", "one_standard_error"]))
def test_the_choice_is_never_beaten_in_both_objectives(made, rule):
    found = choose(made, rule)
    chosen, best = made[found.name], made[found.best]
    for other in made:
        no_worse = other.mae_years <= chosen.mae_years and other.delta_auc >= chosen.delta_auc
        assert not no_worse or (other.mae_years, other.delta_auc) == (chosen.mae_years, chosen.delta_auc)
        if (other.mae_years, other.delta_auc) == (chosen.mae_years, chosen.delta_auc) and other.name in found.within:
            assert chosen.preference <= other.preference
    assert chosen.mae_years - best.mae_years <= standard_error(chosen, best)
    assert found.name in found.within


@pytest.mark.parametrize("rule", ["best", "one_standard_error"])
def test_of_equal_aucs_the_lowest_mae_is_taken_however_cheap_the_other(rule):
    rng = np.random.default_rng(1)
    hard = rng.gamma(4, 1, (3, PEOPLE))
    worse = hard + rng.normal(0, 1, hard.shape)
    worse += (hard.sum() - worse.sum()) / worse.size + 0.01
    made = [candidate(0, hard, delta_auc=0.8, weights=9), candidate(1, worse, delta_auc=0.8, weights=1)]
    assert choose([replace(c, delta_auc=None) for c in made], "one_standard_error").within == (0, 1)
    assert choose(made, rule).name == 0


@pytest.mark.parametrize("rule", ["best", "one_standard_error"])
def test_of_equal_maes_the_larger_auc_is_taken_then_the_cheaper(rule):
    made = [
        Candidate(0, 4.0, 1, delta_auc=0.7),
        Candidate(1, 4.0, 9, delta_auc=0.8),
        Candidate(2, 4.0, 5, delta_auc=0.8),
    ]
    found = choose(made, rule)
    assert (found.name, found.best) == (2, 2)


def test_a_candidate_that_one_beyond_the_standard_error_beats_does_not_stand():
    """Beyond: its difference from the best is small and sure; the other's is larger and noisy."""
    rng = np.random.default_rng(2)
    hard = rng.gamma(9, 1, (1, PEOPLE))
    noisy = hard + rng.normal(0, 4, hard.shape)
    noisy += (hard.sum() - noisy.sum()) / noisy.size + 0.3
    made = [
        candidate(0, hard, delta_auc=0.7),
        candidate(1, noisy, delta_auc=0.8),
        candidate(2, hard + 0.2, delta_auc=0.9),
    ]
    assert choose([replace(c, delta_auc=None) for c in made], "one_standard_error").within == (0, 1)
    assert choose(made, "one_standard_error").name == 0


@pytest.mark.parametrize("made", [[], [Candidate(0, float("nan"))]])
def test_nothing_to_choose_from_is_an_error(made):
    with pytest.raises(DataError, match="candidate"):
        choose(made, "best")


def test_candidates_of_different_people_are_refused():
    one, other = candidate(0, np.ones((2, 5))), candidate(1, np.ones((2, 6)))
    with pytest.raises(DataError, match="different people"):
        standard_error(one, other)


@pytest.mark.parametrize("seeds", [(2, 2), (3, 5)])
def test_the_standard_error_is_that_of_the_bootstrap_over_people_and_seeds(seeds):
    """compare_arms, whose interval is the standard error times Student's t at Satterthwaite's degrees of freedom."""
    rng = np.random.default_rng(5)
    person = np.repeat(np.arange(40), rng.integers(1, 4, 40))
    age, scans = rng.uniform(60, 90, len(person)), np.bincount(person).astype(float)
    hard = rng.normal(0, 2, 40)[person]
    ages = {
        arm: age + 9 + hard + rng.normal(0, 0.5, (n, 1)) + rng.normal(0, 1, (n, len(person)))
        for arm, n in zip("ab", seeds, strict=True)
    }
    (pair,) = compare_arms(ages, age, person, n_draws=100_000)
    sums = {arm: np.array([np.bincount(person, np.abs(row - age)) for row in rows]) for arm, rows in ages.items()}
    error = standard_error(candidate(0, sums["a"], scans), candidate(1, sums["b"], scans))
    assert error == pytest.approx(error_of(pair), rel=0.02)


def error_of(pair: ArmComparison) -> float:
    """The standard error and the degrees of freedom to which an interval and a p belong."""
    low, high = pair.interval

    def gap(freedom):
        t = abs(pair.difference_years) / ((high - low) / 2) * stats.t.ppf(0.975, freedom)
        return 2 * stats.t.sf(t, freedom) - pair.p

    return (high - low) / 2 / stats.t.ppf(0.975, optimize.brentq(gap, 1, 1000))


def test_with_one_seed_it_is_the_cluster_robust_error_of_the_paired_difference():
    """statsmodels: the mean of the differences by scan, clusters of persons with 1 to 5 scans."""
    rng = np.random.default_rng(3)
    person = np.repeat(np.arange(80), rng.integers(1, 6, 80))
    difference = rng.normal(0, 2, 80)[person] + rng.normal(0, 0.5, len(person))
    scans = np.bincount(person).astype(float)
    sums = [np.bincount(person, errors)[None] for errors in (20 + difference, np.full(len(person), 20.0))]
    error = standard_error(candidate(0, sums[0], scans), candidate(1, sums[1], scans))
    fit = smf.ols("d ~ 1", pd.DataFrame({"d": difference})).fit(cov_type="cluster", cov_kwds={"groups": person})
    assert error == pytest.approx(fit.bse["Intercept"], rel=0.01)


def test_with_people_alike_it_is_the_error_of_welchs_test_over_seeds():
    a, b = np.array([3.0, 3.3, 3.1, 3.4, 2.9]), np.array([3.2, 3.9, 3.6])
    sums = [np.repeat(values[:, None], PEOPLE, axis=1) for values in (a, b)]
    expected = np.sqrt(a.var(ddof=1) / 5 + b.var(ddof=1) / 3)
    assert standard_error(candidate(0, sums[0]), candidate(1, sums[1])) == pytest.approx(expected)


def pair(first, second, difference, p):
    return ArmComparison(first, second, 50, (3, 3), difference, (difference - 1, difference + 1), p, p)


def test_an_arm_wins_that_is_told_apart_from_all_others():
    maes = {"a": 4.0, "b": 5.0, "c": 6.0}
    pairs = [pair("a", "b", -1.0, 0.01), pair("a", "c", -2.0, 0.001), pair("b", "c", -1.0, 0.2)]
    found = declare_winner(maes, pairs, {"a": (9,), "b": (1,), "c": (0,)})
    assert (found.champion, found.winner, found.undecided) == ("a", "a", ("a",))
    assert found.sentence == "a is better than every other arm on the validation split (largest corrected p 0.010)."


def test_among_equal_arms_nobody_wins_and_the_simplest_is_the_champion():
    maes = {"a": 4.0, "b": 4.1, "c": 9.0}
    pairs = [pair("a", "b", -0.1, 0.9), pair("a", "c", -5.0, 0.001), pair("b", "c", -4.9, 0.001)]
    simple = declare_winner(maes, pairs, {"a": (9,), "b": (1,), "c": (0,)})
    assert (simple.champion, simple.winner, simple.undecided) == ("b", None, ("a", "b"))
    assert simple.sentence == "No winner: a and b are equal within noise (smallest corrected p 0.90)."
    assert declare_winner(maes, pairs).champion == "a"


def test_arms_that_cannot_be_tested_have_no_winner_and_the_reason_is_told():
    reason = "one seed of a: its spread between seeds is unknown"
    found = declare_winner({"a": 4.0, "b": 3.0}, [ArmComparison("a", "b", 50, (1, 1), 1.0, reason=reason)])
    assert (found.champion, found.winner) == ("b", None)
    assert found.sentence == (
        f"No winner: a and b cannot be told apart: {reason}. To know it, set search.seeds_per_trial to 2 or more, or "
        "search.finalists to 1 or more."
    )


def test_seeds_are_asked_for_only_where_they_would_help():
    maes = {"a": 4.0, "b": 3.0, "c": 5.0}
    lone = ArmComparison("a", "b", 1, (3, 3), 1.0, reason="one person has no spread")
    assert "search." not in declare_winner({"a": 4.0, "b": 3.0}, [lone]).sentence
    tested = [pair("a", "b", 1.0, 0.9), pair("a", "c", -1.0, 0.01), pair("b", "c", -2.0, 0.01)]
    assert "search." not in declare_winner(maes, tested).sentence
    some = [tested[0], *(ArmComparison(arm, "c", 50, (3, 1), -1.0, reason="one seed of c") for arm in "ab")]
    assert "set search.seeds_per_trial to 2 or more" in declare_winner(maes, some).sentence
    beaten = [pair("a", "b", 1.0, 0.01), some[1], pair("b", "c", -2.0, 0.01)]
    assert "search." not in declare_winner(maes, beaten).sentence, "b has won"


def test_one_arm_is_taken_and_none_is_an_error():
    assert declare_winner({"a": 4.0}, []).champion == "a"
    assert declare_winner({"a": 4.0}, []).winner is None
    with pytest.raises(DataError, match="no arms"):
        declare_winner({}, [])


def test_an_arm_that_another_is_better_than_is_never_the_champion_however_simple():
    maes = {"a": 4.0, "b": 4.2, "c": 4.4}
    pairs = [pair("a", "b", -0.2, 0.5), pair("a", "c", -0.4, 0.5), pair("b", "c", -0.2, 0.01)]
    found = declare_winner(maes, pairs, {"a": (3,), "b": (2,), "c": (1,)})
    assert (found.champion, found.undecided) == ("b", ("a", "b"))
