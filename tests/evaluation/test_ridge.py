from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from brainage_ray.config import PreprocessingConfig, TableSource
from brainage_ray.data import prepare_scan
from brainage_ray.data.sources.table import Table
from brainage_ray.errors import DataError
from brainage_ray.evaluation.metrics import mean_absolute_error
from brainage_ray.evaluation.null import null_model
from brainage_ray.evaluation.ridge import ALPHAS, FEATURES, N_BANDS, RidgeBaseline, fit_ridge, slice_features

LAW = settings(max_examples=25, deadline=None)


def brain(rng, age, n_slices=16, size=24):
    """A disc of tissue with a dark ventricle whose radius grows with age; z-scored inside, 0 outside."""
    radius = np.hypot(*np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j])
    inside = np.broadcast_to(radius < 0.9, (n_slices, size, size))
    image = rng.normal(1.0, 0.3, inside.shape)
    image[:, radius < 0.2 + 0.004 * age + rng.normal(0, 0.01)] -= 3
    image = (image - image[inside].mean()) / image[inside].std()
    return np.where(inside, image, 0).astype(np.float16)


def cohort(seed, n=40, slices=(16,)):
    """Images, the scan and position of each slice, ages."""
    rng = np.random.default_rng(seed)
    age = rng.uniform(20, 90, n)
    scans = [brain(rng, years, slices[i % len(slices)]) for i, years in enumerate(age)]
    scan = np.repeat(np.arange(n), [len(images) for images in scans])
    position = np.concatenate([30 + 48 * np.arange(len(images)) / len(images) for images in scans])
    return np.concatenate(scans), scan, position, age


def invent(seed, n=40, p=12):
    rng = np.random.default_rng(seed)
    features = rng.normal(0, 1, (n, p))
    return features, 60 + 5 * features[:, 0] - 3 * features[:, 1] + rng.normal(0, 2, n)


def test_features_by_hand():
    """Two slices of 2 x 3: the first in the lower bands, the second in the upper ones."""
    images = np.array([[[0, 0, -2], [-1, 0.5, 1.5]], [[0, 0, 0], [0, 0, 1]]], dtype=np.float16)
    found = slice_features(images, np.array([0, 0]), 1, np.array([30.0, 33])).reshape(N_BANDS, len(FEATURES))
    sd = np.std([-2, -1, 0.5, 1.5])
    np.testing.assert_allclose(found[0], [4 / 6, -0.25, sd, 1 / 4, 2 / 4, 1 / 4], rtol=1e-12)
    np.testing.assert_allclose(found[7], [1 / 6, 1, 0, 0, 0, 1])
    np.testing.assert_array_equal(found[:5], found[[0] * 5])  # bands 2 and 6 have a slice; 4 is as near to both
    np.testing.assert_array_equal(found[5:], found[[7] * 3])


def test_each_band_takes_its_own_slices_and_one_without_brain_the_nearest():
    images = np.repeat(np.arange(1.0, 17) / 16, 4).reshape(16, 2, 2)
    images[8:10] = 0
    means = slice_features(images, np.zeros(16, dtype=int), 1, np.arange(16.0)).reshape(N_BANDS, -1)[:, 1]
    expected = (2 * np.arange(8) + 1.5) / 16
    expected[4] = expected[3]
    np.testing.assert_allclose(means, expected)


def test_the_number_of_slices_does_not_change_the_features():
    one = brain(np.random.default_rng(0), 60)
    twice, position = np.repeat(one, 2, axis=0), np.arange(32.0)
    once = slice_features(one, np.zeros(16, dtype=int), 1, position[:16])
    np.testing.assert_allclose(slice_features(twice, np.zeros(32, dtype=int), 1, position), once, rtol=1e-12)
    few = slice_features(one[:3], np.zeros(3, dtype=int), 1, position[:3])
    assert few.shape == (1, N_BANDS * len(FEATURES))
    assert np.isfinite(few).all()


@LAW
@given(seed=st.integers(0, 999))
def test_the_order_of_slices_and_scans_does_not_matter(seed):
    images, scan, position, _ = cohort(seed, n=6, slices=(16, 11, 5))
    rng = np.random.default_rng(seed)
    before = slice_features(images, scan, 6, position)
    shuffled, renamed = rng.permutation(len(scan)), rng.permutation(6)
    after = slice_features(images[shuffled], renamed[scan][shuffled], 6, position[shuffled])
    np.testing.assert_allclose(after[renamed], before, rtol=1e-12)
    np.testing.assert_array_equal(slice_features(list(images), scan, 6, position + 7), before)


def test_growing_ventricles_tell_the_age():
    images, scan, position, age = cohort(1, n=80, slices=(16, 20))
    features = slice_features(images, scan, 80, position)
    ridge = fit_ridge(features[:50], age[:50])
    error = mean_absolute_error(ridge.predict(features[50:]), age[50:])
    assert error < 0.4 * null_model(age[:50], age[50:]).mae_years
    assert (ridge.n_training, ridge.reason) == (50, "")


def test_shuffled_ages_are_not_told():
    features, age = invent(3, n=200)
    shuffled = np.random.default_rng(0).permutation(age)
    found = fit_ridge(features[:100], shuffled[:100]).predict(features[100:])
    assert mean_absolute_error(found, shuffled[100:]) > 0.9 * null_model(shuffled[:100], shuffled[100:]).mae_years


def test_it_is_sklearns_ridge_with_the_alpha_that_leaves_one_out_best():
    """The slow way: 40 fits for each alpha, of features standardised once."""
    features, age = invent(5)
    scaled = StandardScaler().fit_transform(features)
    squares = [((cross_val_predict(Ridge(a), scaled, age, cv=LeaveOneOut()) - age) ** 2).mean() for a in ALPHAS]
    alpha = ALPHAS[int(np.argmin(squares))]
    found = fit_ridge(features, age)
    assert found.alpha == pytest.approx(alpha)
    expected = make_pipeline(StandardScaler(), Ridge(alpha)).fit(features, age).predict(features)
    np.testing.assert_allclose(found.predict(features), expected, rtol=1e-9)


@LAW
@given(seed=st.integers(0, 999), years=st.floats(-50, 50))
def test_shifting_all_ages_shifts_the_predictions(seed, years):
    features, age = invent(seed)
    here, there = fit_ridge(features, age), fit_ridge(features, age + years)
    np.testing.assert_allclose(there.predict(features), here.predict(features) + years, atol=1e-6)
    assert here.alpha == there.alpha


@LAW
@given(seed=st.integers(0, 999))
def test_the_order_and_units_of_scans_and_features_do_not_matter(seed):
    features, age = invent(seed)
    rng = np.random.default_rng(seed)
    rows, columns, units = rng.permutation(40), rng.permutation(12), rng.uniform(0.1, 9, 12)
    before = fit_ridge(features, age).predict(features)
    moved = (features * units)[:, columns]
    np.testing.assert_allclose(fit_ridge(moved[rows], age[rows]).predict(moved), before, atol=1e-6)


def test_nothing_is_random():
    features, age = invent(2)
    first, second = (fit_ridge(features, age).predict(features) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_a_feature_that_is_constant_in_training_counts_for_nothing():
    features, age = invent(4)
    more = np.column_stack([features, np.full(40, 0.1)])
    ridge = fit_ridge(more, age)
    more[:, -1] = 1000.0
    np.testing.assert_allclose(ridge.predict(more), fit_ridge(features, age).predict(features), atol=1e-6)


@pytest.mark.parametrize(
    ("features", "age", "reason"),
    [
        (np.zeros((0, 4)), [], "0 scans of the 3"),
        (np.zeros((1, 4)), [60.0], "1 scan of the 3"),
        (np.eye(4), [60.0] * 4, "all ages are equal"),
        (np.full((4, 2), 0.1), [50.0, 60, 70, 80], "all scans have the same features"),
        (np.zeros((4, 0)), [50.0, 60, 70, 80], "all scans have the same features"),
    ],
)
def test_no_model_says_why_and_predicts_nothing(features, age, reason):
    ridge = fit_ridge(features, np.array(age))
    assert reason in ridge.reason
    assert (ridge.alpha, ridge.model, ridge.n_training) == (None, None, len(age))
    with pytest.raises(DataError, match=f"no ridge baseline: .*{reason}"):
        ridge.predict(features)


def test_nobody_has_no_features_and_no_ages():
    nothing = slice_features(np.zeros((0, 4, 4)), np.zeros(0), 0, np.zeros(0))
    assert nothing.shape == (0, N_BANDS * len(FEATURES))
    features, age = invent(0)
    assert fit_ridge(features, age).predict(features[:0]).shape == (0,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"position": [0.0, 1.0]}, "2 positions do not fit"),
        ({"position": [0.0, np.nan, 2]}, r"position \[1\] is nan"),
        ({"slice_scan": [0, 0, 2]}, "2 scans"),
        ({"slice_scan": [0, 0, 0]}, "scan 1 has no slices"),
        ({"slice_scan": [0.0, 0, 1]}, "slice_scan is float64"),
        ({"images": np.zeros((3, 4, 4))}, "scan 0 has no brain in its 2 slices"),
        ({"images": np.ones((3, 4, 4, 4))}, r"slice 0 of scan 0 has the shape \(4, 4, 4\)"),
        ({"images": np.full((3, 4, 4), np.float16(np.inf))}, "slice 0 of scan 0 has a pixel that is not finite"),
        ({"images": [np.ones((4, 4)), np.full((4, 4), np.nan), np.ones((4, 4))]}, "slice 1 of scan 0 has a pixel"),
    ],
)
def test_bad_slices_are_named(change, message):
    good = {"images": np.ones((3, 4, 4)), "slice_scan": [0, 0, 1], "position": [0.0, 1, 2]}
    arguments = {key: value if key == "images" else np.array(value) for key, value in (good | change).items()}
    with pytest.raises(DataError, match=message):
        slice_features(**arguments, n_scans=2)


def test_bad_features_are_named():
    features, age = invent(0)
    ridge = fit_ridge(features, age)
    with pytest.raises(DataError, match="11 features a scan, but the ridge was fitted on 12"):
        ridge.predict(features[:, 1:])
    with pytest.raises(DataError, match=r"features have the shape \(12,\)"):
        ridge.predict(features[0])
    with pytest.raises(DataError, match="age has the shape"):
        fit_ridge(features, age[1:])
    with pytest.raises(DataError, match=r"age \[0\] is inf"):
        fit_ridge(features, np.where(np.arange(40) == 0, np.inf, age))
    features[3, 2] = np.nan
    for refuse in (ridge.predict, lambda rows: fit_ridge(rows, age)):
        with pytest.raises(DataError, match=r"feature \[3, 2\] is nan"):
            refuse(features)


def test_importing_it_does_not_load_scikit_learn():
    code = f"import sys, {RidgeBaseline.__module__}; print('sklearn.linear_model' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.slow
@pytest.mark.shared_data
def test_sixty_real_people_are_told_better_than_by_the_median_age(shared_data, tmp_path):
    """Every second of IXI's 141, as experiments/ixi.yaml prepares them; two folds."""
    table = TableSource(kind="table", table=shared_data / "ixi" / "participants.csv", cohort="IXI")
    scans = Table(table).read().scans[::2][:60]
    config = PreprocessingConfig(
        voxel_mm=3.0, slice_origin="brain_top", slice_range_mm=(30.0, 78.0), slice_step_mm=3.0, slice_shape=(64, 56)
    )
    prepared = [prepare_scan(scan, config, tmp_path) for scan in scans]
    images = np.concatenate([np.load(scan.images) for scan in prepared])
    scan = np.repeat(np.arange(60), [scan.n_slices for scan in prepared])
    features = slice_features(images, scan, 60, np.concatenate([scan.positions_mm for scan in prepared]))
    age = np.array([scan.age_years for scan in scans])
    errors, nulls = [], []
    for fold in (np.arange(60) % 2 == 0, np.arange(60) % 2 == 1):
        errors.append(mean_absolute_error(fit_ridge(features[~fold], age[~fold]).predict(features[fold]), age[fold]))
        nulls.append(null_model(age[~fold], age[fold]).mae_years)
    assert np.mean(errors) < np.mean(nulls) - 2
