from __future__ import annotations

import gzip
import itertools
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from brains import SHAPE, brain, save, scan_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from brainage_ray.config import PreprocessingConfig
from brainage_ray.data.preprocessing import preprocess_scan
from brainage_ray.errors import DataError


def slices_of(path, config):
    return preprocess_scan(scan_of(path), config)


def test_shape_type_and_positions(scan, config):
    slices = preprocess_scan(scan, config)
    assert slices.images.shape == (20, 48, 40)
    assert slices.images.dtype == np.float16
    assert slices.labels is None
    np.testing.assert_array_equal(slices.positions_mm, np.arange(16, 56, 2))
    assert slices.brain_volume_ml == pytest.approx(4 / 3 * np.pi * 30 * 38 * 26 / 1000, rel=0.02)


def test_the_published_range_is_forty_slices(tmp_path):
    image = brain((90, 100, 75))
    image[20:70, 20:80] = 50 + np.random.default_rng(0).normal(0, 1, (50, 60, 75))
    slices = slices_of(save(tmp_path / "a.nii", image), PreprocessingConfig())
    assert slices.images.shape == (40, 96, 96)
    assert slices.positions_mm[[0, -1]].tolist() == [36, 114]


def test_anterior_is_up_and_left_is_left(scan, config):
    images = preprocess_scan(scan, config).images.astype(np.float32)
    top, bottom = images[:, :24], images[:, 24:]
    assert top[top != 0].mean() > bottom[bottom != 0].mean() + 0.5
    left, right = images[:, :, :20], images[:, :, 20:]
    assert left[left != 0].mean() > right[right != 0].mean() + 0.5


def test_zero_mean_and_unit_sd_inside_zero_outside(tmp_path):
    everything = PreprocessingConfig(slice_range_mm=(0.0, 100.0), slice_shape=(48, 40))
    images = slices_of(save(tmp_path / "a.nii", brain()), everything).images.astype(np.float64)
    inside = images[images != 0]
    assert inside.mean() == pytest.approx(0, abs=2e-3)
    assert inside.std() == pytest.approx(1, abs=2e-3)
    assert not images[:, 0].any()
    assert not images[:, :, 0].any()


def test_the_scale_of_the_intensities_does_not_matter(tmp_path, config):
    plain = slices_of(save(tmp_path / "a.nii", brain()), config)
    scaled = slices_of(save(tmp_path / "b.nii", brain() * 17), config)
    np.testing.assert_allclose(plain.images, scaled.images, atol=2e-3)


ORDERS = [
    (order, flips) for order in itertools.permutations(range(3)) for flips in itertools.product((1, -1), repeat=3)
]


@given(stored=st.sampled_from(ORDERS), mm=st.tuples(*[st.sampled_from([1.5, 2.0, 3.0])] * 3))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_stored_order_of_the_axes_does_not_matter(tmp_path, stored, mm):
    shape = tuple(round(n * 2 / s) for n, s in zip(SHAPE, mm, strict=True))
    image = nib.Nifti1Image(brain(shape, mm), np.diag([*mm, 1.0]))
    # nibabel's own reorientation, as a scanner would have stored it.
    turned = image.as_reoriented(np.array([[axis, flip] for axis, flip in zip(*stored, strict=True)]))
    config = PreprocessingConfig(slice_range_mm=(16.0, 56.0), slice_shape=(48, 40))
    expected = slices_of(save(tmp_path / "a.nii", image.get_fdata(dtype=np.float32), image.affine), config)
    found = slices_of(save(tmp_path / "b.nii", turned.get_fdata(dtype=np.float32), turned.affine), config)
    np.testing.assert_array_equal(found.images, expected.images)
    np.testing.assert_array_equal(found.positions_mm, expected.positions_mm)


def test_an_oblique_flipped_grid_keeps_its_own_axes(tmp_path, config):
    angle = np.radians(12)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    plain = np.diag([2.0, 2.0, 2.0, 1.0])
    flip = np.diag([-1.0, 1.0, -1.0, 1.0])
    flip[[0, 2], 3] = SHAPE[0] - 1, SHAPE[2] - 1
    expected = slices_of(save(tmp_path / "a.nii", brain(), plain), config)
    found = slices_of(save(tmp_path / "b.nii", brain()[::-1, :, ::-1], turn @ plain @ flip), config)
    np.testing.assert_array_equal(found.images, expected.images)


@pytest.mark.parametrize("mm", [(1.0, 1.0, 1.0), (1.0, 1.25, 1.5), (0.9, 1.2, 2.0)])
def test_finer_grids_give_the_same_brain(tmp_path, mm):
    """Texture aside: smooth volumes sampled on any grid become about the same slices."""

    def smooth(shape, mm):
        x, y, _ = np.meshgrid(*(np.arange(n) * s for n, s in zip(shape, mm, strict=True)), indexing="ij")
        return np.where(brain(shape, mm) > 0, 100 + np.sin(x / 9) * 20 + y, 0).astype(np.float32)

    config = PreprocessingConfig(slice_range_mm=(20.0, 50.0), slice_shape=(48, 40))
    shape = tuple(int(n * 2 / s) for n, s in zip(SHAPE, mm, strict=True))
    coarse = slices_of(save(tmp_path / "a.nii", smooth(SHAPE, (2, 2, 2))), config)
    fine = slices_of(save(tmp_path / "b.nii", smooth(shape, mm), np.diag([*mm, 1.0])), config)
    assert fine.images.shape == coarse.images.shape
    assert fine.brain_volume_ml == pytest.approx(coarse.brain_volume_ml, rel=0.03)
    both = (fine.images != 0) & (coarse.images != 0)
    assert both.mean() > 0.97 * (coarse.images != 0).mean()
    assert np.abs(fine.images[both].astype(float) - coarse.images[both]).mean() < 0.1


def test_smoothing_does_not_darken_the_edge_of_the_brain(tmp_path, config):
    image = brain((80, 96, 72), (1, 1, 1))
    flat = np.where(image > 0, 100.0, 0).astype(np.float32)
    flat[40:] += np.where(flat[40:] > 0, 50, 0)
    slices = slices_of(save(tmp_path / "a.nii", flat, np.diag([1.0, 1, 1, 1])), config)
    values = np.unique(np.round(slices.images[slices.images != 0].astype(float), 1))
    assert set(values) >= {-1.0, 1.0}
    assert values.min() >= -1.0
    assert values.max() <= 1.0


def test_the_brain_is_centred_wherever_it_lies(tmp_path, config):
    shifted = np.roll(brain(), (3, -3), axis=(0, 1))
    expected = slices_of(save(tmp_path / "a.nii", brain()), config)
    found = slices_of(save(tmp_path / "b.nii", shifted), config)
    np.testing.assert_array_equal(found.images, expected.images)


def test_brain_top_counts_downwards_from_the_highest_voxel(tmp_path):
    config = PreprocessingConfig(slice_origin="brain_top", slice_range_mm=(10.0, 30.0), slice_shape=(48, 40))
    low = slices_of(save(tmp_path / "a.nii", brain()), config)
    high = slices_of(save(tmp_path / "b.nii", np.roll(brain(), 4, axis=2)), config)
    np.testing.assert_array_equal(low.positions_mm, np.arange(10, 30, 2))
    np.testing.assert_array_equal(low.images, high.images)
    cover = (low.images != 0).sum(axis=(1, 2))
    assert cover[0] < cover[-1], "the first is the nearest to the top"


def test_the_step_skips_slices(tmp_path, config):
    path = save(tmp_path / "a.nii", brain())
    every = slices_of(path, config)
    third = slices_of(path, config.model_copy(update={"slice_step_mm": 6.0}))
    np.testing.assert_array_equal(third.images, every.images[::3])
    np.testing.assert_array_equal(third.positions_mm, every.positions_mm[::3])


def test_positions_without_brain_are_left_out(tmp_path, config):
    image = brain()
    image[:, :, 10] = 0
    slices = slices_of(save(tmp_path / "a.nii", image), config)
    assert 20 not in slices.positions_mm
    assert len(slices.images) == 19


def test_dark_fluid_inside_counts_as_brain(tmp_path, config):
    image = brain()
    image[18:22, 22:26, 16:20] = 0
    slices = slices_of(save(tmp_path / "a.nii", image), config)
    middle = slices.images[10].astype(float)
    assert middle[22:26, 18:22].max() < -3


def test_a_trailing_axis_of_one_is_no_fourth_dimension(tmp_path, config):
    expected = slices_of(save(tmp_path / "a.nii", brain()), config)
    found = slices_of(save(tmp_path / "b.nii", brain()[..., None]), config)
    np.testing.assert_array_equal(found.images, expected.images)


def damaged(kind: str, folder: Path) -> Path:
    path = folder / f"{kind}.nii.gz"
    image = brain()
    volumes = {
        "nan": np.where(np.arange(image.size).reshape(image.shape) == 7, np.nan, image),
        "empty": np.zeros_like(image),
        "constant": (image > 0).astype(np.float32),
        "four": np.stack([image, image], axis=-1),
        "flat": image[:, :, 18],
        "skull": image + 1,
    }
    millimetres = {"skull": (4, 4, 4), "low": (2, 2, 0.2), "large": (3, 3, 2)}
    save(path, volumes.get(kind, image), np.diag([*millimetres.get(kind, (2, 2, 2)), 1.0]))
    content = path.read_bytes()
    if kind == "affine":
        raw = bytearray(gzip.decompress(content))
        raw[280:328] = bytes(48)  # srow_x, srow_y, srow_z of the NIfTI header
        content = gzip.compress(raw)
    broken = {"truncated": content[:-5000], "text": b"not a scan", "zipped text": gzip.compress(b"not a scan")}
    path.write_bytes(broken.get(kind, content))
    if kind == "missing":
        path.unlink()
    return path


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("nan", "1 voxels that are NaN"),
        ("empty", "every voxel is 0"),
        ("constant", "constant inside the brain"),
        ("four", "40 x 48 x 36 x 2, not three dimensions"),
        ("flat", "40 x 48, not three dimensions"),
        ("affine", "affine without a volume"),
        ("skull", "more than any brain"),
        ("low", "no brain in the range"),
        ("large", "of the brain lie outside"),
        ("truncated", "cannot be read"),
        ("text", "cannot be read"),
        ("zipped text", "cannot be read"),
        ("missing", "does not exist"),
    ],
)
def test_what_cannot_be_used_is_named_with_a_fix(tmp_path, config, kind, says):
    path = damaged(kind, tmp_path)
    with pytest.raises(DataError, match=says) as caught:
        slices_of(path, config)
    assert str(path) in caught.value.problem
    assert caught.value.fix.endswith(".")


@pytest.mark.shared_data
def test_a_real_brain_stored_as_psr(shared_data):
    path = shared_data / "ixi" / "t1_brain" / "IXI013-HH-1212_T1_brain.nii.gz"
    assert nib.aff2axcodes(nib.load(path).affine) == ("P", "S", "R")
    config = PreprocessingConfig(slice_origin="brain_top", slice_range_mm=(20.0, 90.0), slice_shape=(96, 80))
    slices = slices_of(path, config)
    assert slices.images.shape == (35, 96, 80)
    assert 1200 < slices.brain_volume_ml < 1900
    mask = slices.images[15:25] != 0
    rows, columns = mask.any(axis=(0, 2)).sum(), mask.any(axis=(0, 1)).sum()
    assert rows > 1.15 * columns, "a brain is longer than wide"
    mirrored = (mask & mask[:, :, ::-1]).sum() / mask.sum()
    assert mirrored > 0.9, "and the same at the left and at the right"


@pytest.mark.shared_data
def test_a_real_head_still_has_its_skull(shared_data):
    path = next(iter(sorted((shared_data / "ixi" / "t1_head").glob("*.nii.gz"))))
    with pytest.raises(DataError, match="strip the skull"):
        slices_of(path, PreprocessingConfig())


@pytest.mark.parametrize("place", [(20, 24, 35), (0, 24, 18), (39, 47, 0)])
@pytest.mark.parametrize("origin", ["brain_top", "grid"])
def test_a_speck_outside_the_brain_changes_nothing(tmp_path, place, origin):
    config = PreprocessingConfig(slice_origin=origin, slice_range_mm=(10.0, 50.0), slice_shape=(48, 40))
    image = brain()
    expected = slices_of(save(tmp_path / "a.nii", image), config)
    image[place] = 3
    found = slices_of(save(tmp_path / "b.nii", image), config)
    np.testing.assert_array_equal(found.images, expected.images)
    np.testing.assert_array_equal(found.positions_mm, expected.positions_mm)
    assert found.brain_volume_ml == expected.brain_volume_ml


def test_a_speck_on_a_finer_grid_changes_no_position(tmp_path):
    config = PreprocessingConfig(slice_origin="brain_top", slice_range_mm=(10.0, 30.0), slice_shape=(48, 40))
    image = brain((80, 96, 72), (1, 1, 1))
    expected = slices_of(save(tmp_path / "a.nii", image, np.eye(4)), config)
    image[40:43, 48:51, 68:71] = 3
    found = slices_of(save(tmp_path / "b.nii", image, np.eye(4)), config)
    np.testing.assert_array_equal(found.images, expected.images)


def test_a_brain_in_two_pieces_keeps_both(tmp_path, config):
    image = brain()
    image[:, :, 17:19] = 0
    slices = slices_of(save(tmp_path / "a.nii", image), config)
    assert slices.positions_mm.min() < 34 < 38 <= slices.positions_mm.max()
