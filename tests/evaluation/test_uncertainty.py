from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import median_abs_deviation, norm, spearmanr

from brainage_ray.errors import DataError, LeakageError
from brainage_ray.evaluation.uncertainty import LEVELS, UncertaintyScale, calibrate, fit_scale, scan_uncertainty

LAW = settings(max_examples=50, deadline=None)


def invent(seed, n_seeds=3, n_scans=6):
    """Slices of scans with 2 to 9 slices each, in random order."""
    rng = np.random.default_rng(seed)
    scan = rng.permutation(np.repeat(np.arange(n_scans), rng.integers(2, 10, n_scans)))
    return rng.normal(70, 5, (n_seeds, n_scans)), rng.normal(70, 3, (n_seeds, len(scan))), scan


def test_by_hand():
    """Seeds 60 and 64: sd sqrt(8); slices of variances 2 and 8, of which the mean is 5; 8 + 5 = 13."""
    result = scan_uncertainty(np.array([[60.0], [64]]), np.array([[1.0, 3], [1, 5]]), np.array([0, 0]))
    assert result.over_seeds.tolist() == [pytest.approx(np.sqrt(8))]
    assert result.over_slices.tolist() == [pytest.approx(np.sqrt(5))]
    assert result.combined.tolist() == [pytest.approx(np.sqrt(13))]


@pytest.mark.parametrize(
    ("spread", "reference"),
    [("sd", lambda v: np.std(v, ddof=1)), ("mad", lambda v: median_abs_deviation(v, scale="normal"))],
)
def test_slice_spreads_are_those_of_numpy_and_scipy(spread, reference):
    ages, values, scan = invent(0, n_seeds=1)
    result = scan_uncertainty(ages, values, scan, spread)
    np.testing.assert_allclose(result.over_slices, [reference(values[0, scan == i]) for i in range(6)])
    assert (result.over_seeds, result.combined) == (None, None)
    assert result.reason == "fewer than two seeds have no spread"


@LAW
@given(seed=st.integers(0, 999), order=st.permutations(range(3)), years=st.floats(-30, 30))
def test_neither_the_order_of_seeds_and_slices_nor_a_shift_of_all_ages_matters(seed, order, years):
    ages, values, scan = invent(seed)
    shuffled = np.random.default_rng(seed).permutation(len(scan))
    before = scan_uncertainty(ages, values, scan)
    after = scan_uncertainty(ages[list(order)] + years, values[list(order)][:, shuffled] + years, scan[shuffled])
    np.testing.assert_allclose(after.combined, before.combined)
    assert (before.combined >= np.maximum(before.over_seeds, before.over_slices)).all()


def test_one_slice_has_no_spread():
    result = scan_uncertainty(np.full((2, 2), 70.0), np.zeros((2, 3)), np.array([0, 0, 1]))
    assert result.over_slices is result.combined is None
    assert result.over_seeds.tolist() == [0, 0]
    assert result.reason == "scan 1 has one slice, which has no spread"


def test_no_scans():
    result = scan_uncertainty(np.zeros((2, 0)), np.zeros((2, 0)), np.zeros(0, dtype=int))
    assert result.combined.shape == (0,)
    assert calibrate(np.zeros(0), np.zeros(0)).reason == "no scans"


def test_coverage_by_hand_and_wilsons_interval():
    """z(0.5) = 0.6745; 3 of 4 inside: Wilson's 95 % interval is 0.3006 to 0.9544 (R: prop.test, correct = FALSE)."""
    result = calibrate(np.full(4, 2.0), np.array([1.0, -1.3, 1.4, 0]), [0.5])
    assert (result.coverages[0].share, result.coverages[0].level) == (0.75, 0.5)
    assert result.coverages[0].interval == pytest.approx((0.3006, 0.9544), abs=1e-4)
    assert (result.spearman, result.reason) == (None, "all uncertainties are equal")


def test_true_standard_deviations_are_calibrated_and_ordered():
    rng = np.random.default_rng(0)
    sd = rng.uniform(1, 8, 20_000)
    error = rng.normal(0, sd)
    result = calibrate(sd, error)
    for coverage, level in zip(result.coverages, LEVELS, strict=True):
        assert coverage.share == pytest.approx(level, abs=0.01)
    assert result.spearman == pytest.approx(spearmanr(sd, np.abs(error)).statistic)
    assert 0.3 < result.spearman_interval[0] < result.spearman < result.spearman_interval[1]


def test_interval_of_the_rank_correlation():
    """Normal pairs with r = 0.5 have Spearman's rho 6 / pi x asin(r / 2) = 0.4826; the first is made positive."""
    rng, hits = np.random.default_rng(1), 0
    for _ in range(400):
        x, y = rng.multivariate_normal([0, 0], [[1, 0.5], [0.5, 1]], 40).T
        low, high = calibrate(np.exp(x), np.exp(y)).spearman_interval
        hits += low < 6 / np.pi * np.arcsin(0.25) < high
    assert 0.92 <= hits / 400 <= 0.98


def test_scale_recovers_a_planted_factor_and_calibrates():
    rng = np.random.default_rng(2)
    sd = rng.uniform(1, 4, 20_000)
    scale = fit_scale(sd / 2.5, rng.normal(0, sd), "validation")
    assert scale.factor == pytest.approx(2.5, rel=0.02)
    assert (scale.n, scale.split) == (20_000, "validation")
    for coverage in calibrate(scale.apply(sd / 2.5), rng.normal(0, sd)).coverages:
        assert coverage.interval[0] - 0.01 < coverage.level < coverage.interval[1] + 0.01


@LAW
@given(seed=st.integers(0, 999), ratio=st.floats(0.1, 10))
def test_the_factor_makes_the_errors_most_likely(seed, ratio):
    rng = np.random.default_rng(seed)
    sd = rng.uniform(0.5, 4, 20)
    error = rng.normal(0, 5, 20)
    factor = fit_scale(sd, error, "validation").factor
    assert norm.logpdf(error, 0, factor * sd).sum() >= norm.logpdf(error, 0, ratio * factor * sd).sum() - 1e-9
    assert fit_scale(ratio * sd, error, "validation").factor == pytest.approx(factor / ratio)


@LAW
@given(seed=st.integers(0, 999), order=st.permutations(range(9)))
def test_calibration_ignores_signs_and_the_order_of_scans_and_covers_more_at_higher_levels(seed, order):
    rng = np.random.default_rng(seed)
    sd, error = rng.uniform(0, 4, 9), rng.normal(0, 3, 9)
    before, after = calibrate(sd, error), calibrate(sd[list(order)], -error[list(order)])
    assert before.coverages == after.coverages
    assert before.spearman == pytest.approx(after.spearman)
    shares = [coverage.share for coverage in before.coverages]
    assert shares == sorted(shares)


def test_only_validation_may_be_fitted_on_and_used():
    with pytest.raises(LeakageError, match='split "test"'):
        fit_scale(np.ones(3), np.ones(3), "test")
    with pytest.raises(LeakageError, match="would leak"):
        UncertaintyScale("test", 3, 1.0).apply(np.ones(3))


@pytest.mark.parametrize(
    ("uncertainty", "error", "reason"),
    [([], [], "fewer than two"), ([1.0, 0], [1.0, 2], "scan 1 has an uncertainty of 0"), ([1.0, 1], [0, 0], "are 0")],
)
def test_no_scale_says_why(uncertainty, error, reason):
    scale = fit_scale(np.array(uncertainty), np.array(error), "validation")
    assert scale.factor is None
    assert reason in scale.reason
    with pytest.raises(DataError, match="no scale of uncertainty"):
        scale.apply(np.ones(2))


@pytest.mark.parametrize(
    ("uncertainty", "error", "rho", "reason"),
    [
        ([1.0, 2, 3], [1.0, 2, 3], None, "3 scans are too few"),
        ([1.0, 2, 3, 4], [2.0, -2, 2, 2], None, "all errors are equal"),
        ([1.0, 2, 3, 4], [1.0, -2, 3, 5], 1, "perfectly ordered"),
        ([4.0, 3, 2, 1], [1.0, -2, 3, 5], -1, "perfectly ordered"),
    ],
)
def test_a_missing_rank_correlation_says_why(uncertainty, error, rho, reason):
    result = calibrate(np.array(uncertainty), np.array(error))
    assert (result.spearman, result.spearman_interval) == (rho, None)
    assert reason in result.reason
    assert len(result.coverages) == 4


def test_bad_input_is_named():
    with pytest.raises(DataError, match=r"uncertainty \[1\] is nan"):
        calibrate(np.array([1.0, np.nan]), np.ones(2))
    with pytest.raises(DataError, match=r"error \[0\] is inf"):
        calibrate(np.ones(2), np.array([np.inf, 0]))
    with pytest.raises(DataError, match=r"uncertainty \[1\] is -1"):
        calibrate(np.array([1.0, -1]), np.ones(2))
    with pytest.raises(DataError, match="between 0 and 1"):
        calibrate(np.ones(2), np.ones(2), [95])
    with pytest.raises(DataError, match="no spread"):
        scan_uncertainty(np.ones((1, 1)), np.ones((1, 2)), np.zeros(2, dtype=int), "iqr")
    with pytest.raises(DataError, match="no matrices"):
        scan_uncertainty(np.ones(1), np.ones((1, 2)), np.zeros(2, dtype=int))
    with pytest.raises(DataError, match="scan 1 has no slices"):
        scan_uncertainty(np.ones((1, 2)), np.ones((1, 2)), np.zeros(2, dtype=int))
    with pytest.raises(DataError, match=r"slice value \[0, 1\] is nan"):
        scan_uncertainty(np.ones((1, 1)), np.array([[1, np.nan]]), np.zeros(2, dtype=int))
