from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import trim_mean

from brainage_ray.errors import DataError
from brainage_ray.evaluation.slice_ages import (
    RULES,
    TRIMMED_SHARE,
    SliceAges,
    analyse_slices,
    combine,
    errors_by_position,
    scan_mae,
)


def slices_of(seed: int = 0, scans: int = 12, places: int = 10, models: int = 3) -> SliceAges:
    rng = np.random.default_rng(seed)
    age = rng.uniform(50, 90, scans)
    scan = np.repeat(np.arange(scans), places)
    position = np.tile(30.0 + 4 * np.arange(places), scans)
    years = age[scan] + rng.normal(0, 4, (models, scans * places))
    return SliceAges(years, scan, position, age)


def changed(slices: SliceAges, **fields) -> SliceAges:
    return SliceAges(**(vars(slices) | fields))


def test_errors_by_position_by_hand():
    slices = SliceAges(
        np.array([[60.0, 70.0, 53.0, 50.0], [64.0, 70.0, 53.0, 50.0]]), np.array([0, 0, 1, 1]),
        np.array([36.02, 30.0, 36.0, 30.0]), np.array([62.0, 50.0]),
    )  # fmt: skip
    low, high = errors_by_position(slices)
    assert (low.position_mm, low.n_slices, low.mae_years, low.delta_years) == (30.0, 2, 4.0, 4.0)
    assert (high.position_mm, high.n_slices, high.mae_years, high.delta_years) == (36.0, 2, 2.5, 1.5)


def test_a_position_that_reads_badly_is_seen():
    slices = slices_of()
    years = slices.years + np.where(slices.position_mm == 42.0, 15.0, 0.0)
    worst = max(errors_by_position(changed(slices, years=years)), key=lambda row: row.mae_years)
    assert worst.position_mm == 42.0
    assert worst.delta_years == pytest.approx(15, abs=3)


@pytest.mark.parametrize("rule", RULES)
def test_the_rules_are_numpys_and_scipys(rule):
    slices = slices_of()
    expected = {"median": np.median, "mean": np.mean, "trimmed": lambda part: trim_mean(part, TRIMMED_SHARE)}[rule]
    found = combine(slices.years[0], slices.scan, 12, rule)
    assert found == pytest.approx([expected(slices.years[0][slices.scan == i]) for i in range(12)])


def test_the_rule_is_chosen_on_validation_and_ties_keep_the_experiments():
    test, validation = slices_of(1), slices_of(2)
    outlier = validation.years + np.where(validation.position_mm == 30.0, 60.0, 0.0)
    result = analyse_slices(test, changed(validation, years=outlier), "mean")
    assert result.best_on_validation in ("median", "trimmed")
    by_rule = {row.rule: row for row in result.rules}
    assert by_rule["mean"].validation_years > by_rule["median"].validation_years
    equal = changed(validation, years=np.repeat(validation.age[validation.scan][None], 2, axis=0))
    assert [analyse_slices(test, equal, rule).best_on_validation for rule in RULES] == list(RULES)
    assert analyse_slices(test, None, "median").best_on_validation is None


@given(st.integers(0, 50), st.permutations(range(3)), st.floats(-20, 20))
def test_neither_the_order_of_models_and_slices_nor_a_shift_of_all_ages_matters(seed, models, shift):
    slices = slices_of(seed)
    order = np.random.default_rng(seed).permutation(slices.scan.size)
    other = SliceAges(slices.years[list(models)][:, order] + shift, slices.scan[order], slices.position_mm[order],
                      slices.age + shift)  # fmt: skip
    for rule in RULES:
        assert scan_mae(other, rule) == pytest.approx(scan_mae(slices, rule))
    for one, two in zip(errors_by_position(slices), errors_by_position(other), strict=True):
        assert (one.position_mm, one.n_slices) == (two.position_mm, two.n_slices)
        assert (one.mae_years, one.delta_years) == pytest.approx((two.mae_years, two.delta_years))


def test_what_does_not_fit_is_refused():
    slices = slices_of()
    with pytest.raises(DataError, match="do not fit"):
        scan_mae(changed(slices, position_mm=slices.position_mm[1:]), "mean")
    with pytest.raises(DataError, match="slice 5 of scan 0 has the age nan"):
        errors_by_position(changed(slices, years=np.where(np.arange(120) == 5, np.nan, slices.years)))
    with pytest.raises(DataError, match="no slices"):
        scan_mae(changed(slices, age=np.append(slices.age, 70.0)), "trimmed")
    assert scan_mae(None, "median") is None
