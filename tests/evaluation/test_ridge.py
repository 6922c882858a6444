from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, LeaveOneOut

from brainage_ray.config import PreprocessingConfig, TableSource
from brainage_ray.data.preprocessing import preprocess_scan
from brainage_ray.data.sources import read_source
from brainage_ray.errors import DataError
from brainage_ray.evaluation.null import null_model
from brainage_ray.evaluation.ridge import ALPHAS, BANDS, FEATURES, fit_ridge, score_ridge, slice_features

LAW = settings(max_examples=40, deadline=None)


def brain(age, n_slices, rng):
    """Slices of 24 x 24 with a square brain, of which 1 % a year beyond 40 is dark."""
    images = np.zeros((n_slices, 24, 24))
    inside = rng.normal(0.2, 0.5, (n_slices, 18, 18))
    dark = rng.random(inside.shape) < (age - 40) / 100
    images[:, 3:21, 3:21] = np.where(dark, -2, inside)
    return images


def cohort(seed, n):
    rng = np.random.default_rng(seed)
    age = rng.uniform(50, 90, n)
    return np.array([slice_features(brain(a, int(rng.integers(9, 30)), rng)) for a in age]), age


def test_features_by_hand():
    """Two slices of 2 x 3: two dark, one middle and one bright pixel; then no brain at all."""
    images = np.array([[[-2.0, -1.5, 0.4], [2.0, 0, 0]], np.zeros((2, 3))])
    first, second = slice_features(images, bands=2).reshape(2, 6)
    inside = np.array([-2.0, -1.5, 0.4, 2.0])
    np.testing.assert_allclose(first, [inside.mean(), inside.std(), 4 / 6, 0.5, 0.25, 0.25])
    assert second.tolist() == [0] * 6
    np.testing.assert_allclose(slice_features(images, bands=1), first / 2)


def test_bands_are_means_of_equal_parts_of_the_slices():
    images = brain(70, 16, np.random.default_rng(0))
    single = np.array([slice_features(image[None], 1) for image in images])
    np.testing.assert_allclose(slice_features(images).reshape(8, 6), single.reshape(8, 2, 6).mean(axis=1))
    three = slice_features(images[:3], 2).reshape(2, 6)
    np.testing.assert_allclose(three, [single[:2].mean(axis=0), single[1:3].mean(axis=0)])


@LAW
@given(seed=st.integers(0, 999), n_slices=st.integers(1, 40))
def test_any_number_of_slices_gives_the_same_features_and_repeating_slices_none_other(seed, n_slices):
    images = brain(70, n_slices, np.random.default_rng(seed))
    features = slice_features(images)
    assert features.shape == (BANDS * len(FEATURES),)
    np.testing.assert_allclose(features.reshape(BANDS, 6)[:, 3:].sum(axis=1), 1)
    if n_slices % BANDS == 0:
        np.testing.assert_allclose(slice_features(np.repeat(images, 2, axis=0)), features)


@LAW
@given(seed=st.integers(0, 999))
def test_mirroring_and_padding_a_slice_moves_nothing_but_the_share_of_brain(seed):
    images = brain(70, 10, np.random.default_rng(seed))
    features = slice_features(images)
    np.testing.assert_allclose(slice_features(images[:, ::-1, ::-1]), features)
    padded = slice_features(np.pad(images, [(0, 0), (0, 24), (0, 0)])).reshape(BANDS, 6)
    padded[:, 2] *= 2
    np.testing.assert_allclose(padded.ravel(), features)


def test_the_penalty_is_that_of_explicit_leave_one_out_and_the_line_that_of_the_normal_equations():
    rng = np.random.default_rng(0)
    features = rng.normal(3, 2, (30, 12))
    age = 70 + features @ rng.normal(0, 1, 12) + rng.normal(0, 6, 30)
    ridge = fit_ridge(features, age)
    scaled = (features - features.mean(axis=0)) / features.std(axis=0)
    search = GridSearchCV(Ridge(), {"alpha": ALPHAS}, cv=LeaveOneOut(), scoring="neg_mean_squared_error")
    assert ridge.alpha == pytest.approx(search.fit(scaled, age).best_params_["alpha"])
    weights = np.linalg.solve(scaled.T @ scaled + ridge.alpha * np.eye(12), scaled.T @ (age - age.mean()))
    np.testing.assert_allclose(ridge.predict(features), scaled @ weights + age.mean())
    assert (ridge.n_training, ridge.n_features) == (30, 12)


@LAW
@given(seed=st.integers(0, 99), years=st.floats(-30, 30))
def test_shifting_all_ages_shifts_the_predictions_and_the_order_of_people_does_not_matter(seed, years):
    rng = np.random.default_rng(seed)
    features, age, order = rng.normal(size=(20, 5)), rng.uniform(50, 90, 20), rng.permutation(20)
    before, after = fit_ridge(features, age), fit_ridge(features[order], age[order] + years)
    assert after.alpha == pytest.approx(before.alpha)
    np.testing.assert_allclose(after.predict(features), before.predict(features) + years, atol=1e-6)


def test_invented_brains_are_aged_far_better_than_by_the_median():
    train, age = cohort(0, 60)
    test, test_age = cohort(1, 40)
    score = score_ridge(fit_ridge(train, age), test, test_age)
    assert score.mae_years < 0.25 * null_model(age, test_age).mae_years
    assert (score.n_training, score.n_scans, score.reason) == (60, 40, "")


@pytest.mark.shared_data
def test_real_brains_are_aged_far_better_than_by_the_median(shared_data):
    """Every second person of IXI, 20 to 86 years old, at 3 mm."""
    table = TableSource(kind="table", table=shared_data / "ixi" / "participants.csv", cohort="IXI")
    config = PreprocessingConfig(voxel_mm=3.0, slice_origin="brain_top", slice_range_mm=(30, 78), slice_step_mm=3.0)
    scans = read_source(table, shared_data)[::2]
    features = np.array([slice_features(preprocess_scan(scan, config).images) for scan in scans])
    age = np.array([scan.age_years for scan in scans])
    test = np.arange(len(age)) % 3 == 0
    score = score_ridge(fit_ridge(features[~test], age[~test]), features[test], age[test])
    assert score.mae_years < 0.7 * null_model(age[~test], age[test]).mae_years


def test_no_scans_give_an_empty_cell_with_its_reason():
    ridge = fit_ridge(*cohort(0, 10))
    score = score_ridge(ridge, np.zeros((0, 48)), np.zeros(0))
    assert (score.mae_years, score.n_scans) == (None, 0)
    assert "no scans" in score.reason
    assert ridge.predict(np.zeros((0, 48))).shape == (0,)


def test_ties_only_predict_the_mean_age():
    ridge = fit_ridge(np.ones((4, 3)), np.array([60.0, 70, 80, 90]))
    np.testing.assert_allclose(ridge.predict(np.ones((2, 3))), 75)


def test_bad_input_is_named():
    features, age = cohort(0, 5)
    with pytest.raises(DataError, match="too few"):
        fit_ridge(features[:2], age[:2])
    with pytest.raises(DataError, match=r"age \[1\] is nan"):
        fit_ridge(features, np.array([60, np.nan, 70, 80, 90]))
    with pytest.raises(DataError, match="age has the shape"):
        fit_ridge(features, age[:4])
    with pytest.raises(DataError, match="feature has the shape"):
        fit_ridge(features, age).predict(features[:, :5])
    features[2, 3] = np.inf
    with pytest.raises(DataError, match=r"feature \[2, 3\] is inf"):
        fit_ridge(features, age)
    for images, bands in ((np.zeros((0, 4, 4)), 8), (np.zeros((4, 4)), 8), (np.ones((2, 4, 4)), 0)):
        with pytest.raises(DataError, match="give no features"):
            slice_features(images, bands)
    with pytest.raises(DataError, match=r"pixel \[1, 0, 0\] is nan"):
        slice_features(np.array([[[1.0]], [[np.nan]]]))
