from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from brainage_ray.errors import DataError
from brainage_ray.evaluation.scan_intervals import NAMES, analyse_uncertainty
from brainage_ray.evaluation.slice_ages import SliceAges


def slices_of(seed: int, people: int = 60, models: int = 3, places: int = 12, worse: float = 1.0) -> SliceAges:
    """Scans differ in how well they can be read, in their slices as in their error."""
    rng = np.random.default_rng(seed)
    age, scan = rng.uniform(55, 92, people), np.repeat(np.arange(people), places)
    blur = rng.uniform(0.5, 4, people)
    error = worse * blur * rng.normal(size=people)
    years = (age + error)[scan] + blur[scan] * rng.normal(size=(models, len(scan)))
    return SliceAges(years, scan, np.tile(np.arange(places) * 2.0, people), age)


def scans_of(people: int) -> pd.DataFrame:
    rows = [("ADNI", f"s{i}", "bl", f"I{i}", "CN" if i % 2 else "AD") for i in range(people)]
    return pd.DataFrame(rows, columns=NAMES)


def found_of(test: SliceAges, validation: SliceAges | None, rule="mean"):
    people = test.age.size
    return analyse_uncertainty(scans_of(people), np.ones(people, dtype=bool), test, validation, rule)


@pytest.mark.parametrize("rule", ["mean", "median", "trimmed"])
def test_an_overconfident_spread_is_scaled_to_hold_what_it_promises(rule):
    found = found_of(slices_of(1, 800, worse=3.0), slices_of(2, 800, worse=3.0), rule)
    slices = next(row for row in found.results if row.spread == "slices")
    raw, scaled = (next(c.share for c in one.coverages if c.level == 0.95) for one in (slices.raw, slices.scaled))
    assert raw < 0.8
    assert scaled == pytest.approx(0.95, abs=0.03)
    assert slices.factor == pytest.approx(3, rel=0.15)
    assert slices.raw.spearman > 0.25


def test_the_interval_is_the_brain_age_and_its_scaled_spread():
    test = slices_of(3)
    found = found_of(test, slices_of(4))
    assert found.used == "seeds and slices"
    factor = found.results[0].factor
    for i, scan in enumerate(found.scans):
        mine = test.years[:, test.scan == i]
        assert scan.brain_age_years == pytest.approx(mine.mean())
        assert scan.sd_seeds_years == pytest.approx(mine.mean(axis=1).std(ddof=1))
        assert scan.sd_slices_years == pytest.approx(np.sqrt(np.mean(mine.var(axis=1, ddof=1))))
        margin = norm.ppf(0.975) * factor * np.hypot(scan.sd_seeds_years, scan.sd_slices_years)
        assert (scan.low_years, scan.high_years) == pytest.approx(
            (scan.brain_age_years - margin, scan.brain_age_years + margin)
        )
    assert [scan.image for scan in found.scans[:2]] == ["I0", "I1"]
    json.dumps(asdict(found))  # goes into analysis.json


def test_one_trial_on_validation_scales_the_spread_over_slices_alone():
    found = found_of(slices_of(5), slices_of(6, models=1))
    assert found.used == "slices"
    by_kind = {row.spread: row for row in found.results}
    assert by_kind["seeds"].factor is None
    assert "no spread over seeds" in by_kind["seeds"].reason
    assert by_kind["slices"].n_validation == 60


@pytest.mark.parametrize("validation", [None, slices_of(0, people=1)])
def test_without_enough_validation_there_is_a_spread_and_no_interval(validation):
    found = found_of(slices_of(7), validation)
    assert found.used is None
    assert all(row.reason and row.scaled is None for row in found.results)
    assert all(scan.low_years is None and scan.sd_slices_years > 0 for scan in found.scans)


def test_one_seed_has_no_spread_over_seeds_and_one_slice_none_over_slices():
    found = found_of(slices_of(8, models=1, places=1), slices_of(9, models=1, places=1))
    assert found.results == ()
    assert found.scans[0].sd_seeds_years is None
    assert found.scans[0].sd_slices_years is None


def test_only_scans_that_count_are_calibrated_and_all_get_an_interval():
    test = slices_of(10)
    counted = np.arange(60) < 20
    found = analyse_uncertainty(scans_of(60), counted, test, slices_of(11), "mean")
    assert all(row.raw.n_scans == 20 for row in found.results)
    assert len(found.scans) == 60
    nobody = analyse_uncertainty(scans_of(60), np.zeros(60, dtype=bool), test, slices_of(11), "mean")
    assert [row.reason for row in nobody.results] == ["no scans"] * 3
    assert all(scan.low_years is not None for scan in nobody.scans)


def test_marks_that_do_not_fit_the_scans_are_refused():
    with pytest.raises(DataError, match="59 marks"):
        analyse_uncertainty(scans_of(60), np.ones(59, dtype=bool), slices_of(12), None, "mean")


@given(seed=st.integers(0, 99), shift=st.floats(-20, 20))
def test_seeds_can_be_swapped_and_ages_shifted(seed, shift):
    test, validation = slices_of(seed, 12), slices_of(seed + 1000, 12)
    before = found_of(test, validation)
    moved = SliceAges(test.years[::-1] + shift, test.scan, test.position_mm, test.age + shift)
    after = found_of(moved, validation)
    for one, other in zip(before.scans, after.scans, strict=True):
        assert other.sd_seeds_years == pytest.approx(one.sd_seeds_years)
        assert other.low_years == pytest.approx(one.low_years + shift)
    assert [row.factor for row in before.results] == [row.factor for row in after.results]
