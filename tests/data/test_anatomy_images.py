from __future__ import annotations

import numpy as np
import pytest
from heads import AFFINE, SHAPE, brain, turned
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from brainage_ray.data.anatomy.images import Image, at_spacing, dice, read_at
from brainage_ray.data.anatomy.tools import load, matrix_of, package_version, to_ants, to_transform
from brainage_ray.errors import EngineError

masks = hnp.arrays(bool, (3, 4, 5))


@given(masks, masks)
def test_dice_is_symmetric_and_between_0_and_1(first, second):
    assert dice(first, second) == dice(second, first)
    assert 0 <= dice(first, second) <= 1
    assert dice(first, first) == (1 if first.any() else 0)


def test_dice_of_a_known_overlap():
    assert dice(np.array([True, True, True, False]), np.array([False, True, False, False])) == pytest.approx(0.5)


def test_an_image_read_on_its_own_grid_is_itself():
    image = brain()
    np.testing.assert_allclose(read_at(image, image), image.array, atol=1e-4)


@given(st.tuples(*[st.integers(-5, 5)] * 3))
@settings(max_examples=10, deadline=None)
def test_a_shift_by_whole_voxels_moves_the_values(shift):
    image = brain()
    through = np.eye(4)
    through[:3, 3] = np.array(shift) * 4.0
    np.testing.assert_allclose(
        read_at(image, image, through), np.roll(image.array, [-n for n in shift], axis=(0, 1, 2)), atol=1e-3
    )


def test_grids_meet_in_millimetres():
    """The same brain sampled on a turned and finer grid is what reading it there gives, edges aside."""
    grid = turned(20) @ AFFINE @ np.diag([0.75, 0.75, 0.75, 1])
    expected = brain(None, (60, 70, 60), grid)
    found = read_at(brain(), expected)
    assert np.abs(found - expected.array).mean() < 3


@pytest.mark.parametrize("mm", [2.0, 3.0, 8.0])
def test_other_voxels_keep_the_brain_where_it_is(mm):
    image = brain()
    other = at_spacing(image, mm)
    np.testing.assert_allclose(other.spacing_mm, mm)

    def centre(one):
        voxel = np.array([float((n * one.array).sum()) for n in np.indices(one.array.shape)]) / one.array.sum()
        return (one.affine @ [*voxel, 1])[:3]

    np.testing.assert_allclose(centre(other), centre(image), atol=0.2)
    assert other.array.sum() * other.voxel_ml == pytest.approx(image.array.sum() * image.voxel_ml, rel=0.01)


def test_voxels_that_fit_are_left_alone():
    image = brain()
    assert at_spacing(image, 4.0) is image


@given(hnp.arrays(float, (3, 3), elements=st.floats(-0.3, 0.3)), st.tuples(*[st.floats(-50, 50)] * 3))
@settings(max_examples=10, deadline=None)
def test_transforms_survive_the_way_to_ants_and_back(change, shift):
    matrix = np.eye(4)
    matrix[:3, :3] += change
    matrix[:3, 3] = shift
    np.testing.assert_allclose(matrix_of(to_transform(matrix)), matrix, atol=1e-4)


def test_ants_sees_the_same_millimetres():
    """A voxel's place in ANTs, which counts to the left and back, is its place here."""
    image = Image(brain().array, turned(10) @ AFFINE)
    there = to_ants(image)
    assert there.shape == SHAPE
    place = np.array(load("antspyx").transform_index_to_physical_point(there, (3, 4, 5)))
    np.testing.assert_allclose(place * [-1, -1, 1], (image.affine @ [3, 4, 5, 1])[:3], atol=1e-3)


def test_a_missing_package_is_named_with_the_extra():
    with pytest.raises(EngineError, match=r"need no-such-package.*pip install 'brainage_ray\[anatomy\]'"):
        package_version("no-such-package")
