from __future__ import annotations

import math

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from brains import brain, save, scan_of
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from brainage_ray.data.prepare import prepare_scan
from brainage_ray.data.preprocessing import preprocess_scan
from brainage_ray.data.quality import OUTLIER_Z, noise_sd, robust_z, signal_to_noise
from brainage_ray.data.quality_table import MEASURES, cohort_medians, rate_scans

NUMBERS = st.floats(-1e6, 1e6).map(lambda x: round(x, 3))
VALUES = arrays(np.float64, st.integers(1, 30), elements=NUMBERS)


def ball(radius=14, size=32):
    grid = np.indices((size, size, size)) - size / 2
    return (grid**2).sum(0) < radius**2


def noisy(sd, seed=0, signal=100.0):
    return signal + np.random.default_rng(seed).normal(0, sd, (32, 32, 32))


@pytest.mark.parametrize("sd", [1.0, 5.0, 20.0])
def test_the_noise_that_was_added_is_found(sd):
    assert noise_sd(noisy(sd), ball()) == pytest.approx(sd, rel=0.04)
    assert signal_to_noise(noisy(sd), ball()) == pytest.approx(100 / sd, rel=0.05)


def test_planes_and_edges_along_the_axes_are_no_noise():
    x, y, z = np.indices((32, 32, 32)).astype(float)
    smooth = 100 + 2 * x - 3 * y + 40 * (x > 16) + 25 * (y > 10) + 60 * (z > 12)
    assert noise_sd(smooth, ball()) == 0
    assert math.isnan(signal_to_noise(smooth, ball())), "no noise, no ratio"
    assert noise_sd(smooth + noisy(5.0, signal=0), ball()) == pytest.approx(5, rel=0.04)


def test_what_lies_outside_the_brain_does_not_count():
    image = noisy(5.0)
    other = np.where(ball(), image, 1e6)
    assert noise_sd(other, ball()) == noise_sd(image, ball())
    assert signal_to_noise(other, ball()) == signal_to_noise(image, ball())


def test_a_mask_without_an_inside_has_no_noise():
    thin = np.zeros((8, 8, 8), bool)
    thin[4, :, :] = True
    assert math.isnan(signal_to_noise(np.ones((8, 8, 8)), thin))


@given(st.floats(0.01, 1e4))
def test_the_ratio_does_not_know_the_scanners_unit(scale):
    image = noisy(5.0, seed=3)
    assert signal_to_noise(scale * image, ball()) == pytest.approx(signal_to_noise(image, ball()), rel=1e-9)


def test_the_modified_z_score_by_hand():
    # median 11, absolute deviations 1 0 2 1 89, MAD 1
    assert robust_z(np.array([10.0, 11, 9, 12, 100])) == pytest.approx(0.6745 * np.array([-1, 0, -2, 1, 89]))


def test_where_more_than_half_are_the_same_the_mean_deviation_stands_in():
    # median 5, mean absolute deviation 2 / 5
    expected = np.sqrt(2 / np.pi) * np.array([0, 0, 0, 0, 2]) / 0.4
    assert robust_z(np.array([5.0, 5, 5, 5, 7])) == pytest.approx(expected)


def test_it_is_the_usual_z_score_for_a_normal_distribution():
    values = np.random.default_rng(0).normal(50, 4, 20000)
    assert robust_z(values) == pytest.approx((values - 50) / 4, abs=0.15)


@given(VALUES, st.floats(0.1, 100), NUMBERS)
def test_it_knows_neither_unit_nor_origin(values, scale, shift):
    before, after = robust_z(values), robust_z(scale * values + shift)
    spread = np.abs(values - np.median(values)).max()
    if spread > 1e-3 * (np.abs(values).max() + abs(shift)):  # else rounding has the last word
        assert after == pytest.approx(before, rel=1e-6, abs=1e-6 * max(1.0, np.abs(before).max()))


@given(VALUES, st.integers(0, 5))
def test_scans_without_the_number_change_nothing(values, gaps):
    padded = np.concatenate([values, np.full(gaps, np.nan)])
    z = robust_z(padded)
    assert np.isnan(z[len(values) :]).all()
    np.testing.assert_array_equal(z[: len(values)], robust_z(values))


@given(VALUES)
def test_the_order_stays(values):
    z = robust_z(values)
    order = np.argsort(values, kind="stable")
    assert (np.diff(z[order]) >= 0).all()
    assert np.isfinite(z).all()


def manifest_of(volumes, snrs, cohort="A", **columns):
    n = len(volumes)
    return pd.DataFrame({"cohort": cohort, "image": [f"{cohort}{i}" for i in range(n)], "brain_volume_ml": volumes,
                         "snr": snrs, **columns})  # fmt: skip


def test_the_furthest_comes_first_and_says_by_which_number():
    volumes = [1400.0, 1410, 1390, 1420, 600, 1405]
    snrs = [20.0, 21, 19, 20, 20, 2]
    rated = rate_scans(manifest_of(volumes, snrs))
    assert list(rated["image"][:2]) == ["A4", "A5"]
    assert list(rated["worst"][:2]) == ["brain_volume_ml", "snr"]
    assert list(rated["outlier"]) == [True, True, False, False, False, False]
    assert rated["largest_z"].is_monotonic_decreasing


def test_each_cohort_is_its_own_measure():
    small = manifest_of([600.0, 610, 590, 605], [20.0] * 4, "Children")
    large = manifest_of([1400.0, 1410, 1390, 1405], [20.0] * 4)
    assert not rate_scans(pd.concat([small, large])).outlier.any()


def test_a_store_without_a_column_is_rated_by_the_others():
    old = manifest_of([1400.0, 1410, 1390, 700], [20.0] * 4).drop(columns="snr")
    rated = rate_scans(old)
    assert rated["image"][0] == "A3"
    assert rated["snr_z"].isna().all()
    nothing = rate_scans(old.drop(columns="brain_volume_ml"))
    assert list(nothing["worst"]) == [""] * 4
    assert not nothing["outlier"].any()


def test_overlap_counts_where_scans_were_registered():
    dice = [0.96, 0.95, 0.97, 0.96, 0.5]
    rated = rate_scans(manifest_of([1400.0] * 5, [20.0] * 5, template_dice=dice))
    assert (rated["image"][0], rated["worst"][0]) == ("A4", "template_dice")


@given(st.lists(st.tuples(st.floats(0, 3000), st.one_of(st.floats(0, 100), st.just(math.nan))), min_size=1))
def test_no_scan_is_lost_and_the_limit_is_kept(numbers):
    rated = rate_scans(manifest_of(*map(list, zip(*numbers, strict=True))))
    assert sorted(rated["image"]) == sorted(f"A{i}" for i in range(len(numbers)))
    assert (rated["outlier"] == (rated["largest_z"] > OUTLIER_Z)).all()
    assert set(rated["worst"]) <= {"", *(measure.column for measure in MEASURES)}


def test_medians_by_cohort():
    medians = cohort_medians(rate_scans(manifest_of([1.0, 2, 30], [5.0, math.nan, 7])))
    assert medians.loc["A", ["brain_volume_ml", "snr", "scans"]].tolist() == [2, 6, 3]


def test_a_prepared_scan_keeps_its_ratio(scan, config, tmp_path):
    prepared = prepare_scan(scan, config, tmp_path / "cache")
    assert prepared.snr == preprocess_scan(scan, config).snr
    assert prepare_scan(scan, config, tmp_path / "cache") == prepared
    image = brain()
    assert prepared.snr == pytest.approx(image[image != 0].mean() / 3, rel=0.1), "its noise has the sd 3"


def test_a_scan_without_noise_has_none(config, tmp_path):
    image = np.where(brain() != 0, 100.0, 0)
    image[:20] *= 1.5
    prepared = prepare_scan(scan_of(save(tmp_path / "s.nii.gz", image.astype(np.float32))), config, tmp_path / "cache")
    assert prepared.snr is None


def test_of_a_tumour_case_it_is_t1s(tumour, config):
    def spoil(name):
        image = np.asarray(nib.load(tumour.files[name]).dataobj)
        noise = np.random.default_rng(1).normal(0, 30, image.shape)
        save(tumour.files[name], np.where(image != 0, image + noise, 0).astype(np.float32))
        return preprocess_scan(tumour, config).snr

    before = preprocess_scan(tumour, config).snr
    assert spoil("flair") == before
    assert spoil("t1") < before / 3
