"""Slices go back to where they came from."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainage_ray.config import PreprocessingConfig
from brainage_ray.data import Scan, preprocess_scan
from brainage_ray.data.placement import place_slices, unpage
from brainage_ray.data.slicing import pages

CONFIG = PreprocessingConfig(slice_shape=(48, 40), slice_range_mm=(10.0, 50.0), slice_step_mm=4.0)


@pytest.fixture
def scan(tmp_path: Path) -> Scan:
    """An ellipsoid with a bright corner in the right front, stored with its axes turned."""
    x, y, z = np.mgrid[:40, :50, :30] - np.array([20, 25, 15]).reshape(3, 1, 1, 1)
    inside = (x / 15) ** 2 + (y / 20) ** 2 + (z / 12) ** 2 < 1
    array = np.where(inside, 100 + x + 2 * y + 3 * z, 0).astype(np.float32)
    image = nib.Nifti1Image(array, np.array([[2.0, 0, 0, -40], [0, 2, 0, -50], [0, 0, 2, -30], [0, 0, 0, 1]]))
    nib.save(image.as_reoriented(nib.orientations.axcodes2ornt("PSR")), tmp_path / "brain.nii.gz")
    return Scan("Toy", "a", "", "a", files={"t1": tmp_path / "brain.nii.gz"})


def test_the_slices_are_those_of_the_preprocessing(scan: Scan):
    placed, slices = place_slices(scan, CONFIG), preprocess_scan(scan, CONFIG)
    assert np.array_equal(placed.images, slices.images)
    assert np.array_equal(placed.positions_mm, slices.positions_mm)


def test_every_voxel_of_a_slice_lies_where_it_was(scan: Scan):
    placed = place_slices(scan, CONFIG)
    volume = placed.volume(placed.images.astype(np.float32))
    i, j, k = np.nonzero(np.nan_to_num(volume) != 0)
    mm = (np.column_stack([i, j, k]) + placed.corner) @ placed.affine[:3, :3].T + placed.affine[:3, 3]
    planted = 100 + mm @ [0.5, 1.0, 1.5]
    assert np.corrcoef(planted, volume[i, j, k])[0, 1] > 0.9999
    assert np.isnan(volume[:, :, [z for z in range(volume.shape[2]) if z not in placed.levels]]).all()


@pytest.mark.parametrize("shape", [(9, 12, 4), (41, 50, 3), (40, 51, 3), (17, 60, 2)])
def test_pages_turn_back_into_the_volume_that_they_show(shape: tuple[int, int, int]):
    volume = np.random.default_rng(0).standard_normal(shape)
    back = unpage(pages(volume, CONFIG), shape[:2]).transpose(2, 1, 0)
    assert back.shape == shape
    shown = back != 0
    assert np.array_equal(back[shown], volume[shown])
    assert shown.sum() == min(shape[0], 40) * min(shape[1], 48) * shape[2]
