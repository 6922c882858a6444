from __future__ import annotations

import numpy as np
import pytest

from brainage_ray.data.phantoms.fields import displacement, rigid_scaling, smooth_field

SHAPE = (20, 30, 25)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("modes", [2, 3, 5, 9])
def test_a_field_has_mean_square_about_one(modes):
    squares = [np.mean(smooth_field(SHAPE, rng(seed), modes) ** 2) for seed in range(60)]
    assert 0.5 < np.mean(squares) < 1.2


def test_a_field_has_the_shape_asked_for_and_is_single_precision():
    field = smooth_field(SHAPE, rng(), 4)
    assert field.shape == SHAPE
    assert field.dtype == np.float32


def test_a_field_is_smooth_along_every_axis():
    field = smooth_field(SHAPE, rng(), 3)
    for axis, n in enumerate(SHAPE):
        assert np.abs(np.diff(field, axis=axis)).max() < 20 / n


def test_a_field_varies_along_every_axis():
    field = smooth_field(SHAPE, rng(), 3)
    assert all(field.std(axis=axis).max() > 0.1 for axis in range(3))


def test_same_generator_same_field():
    assert np.array_equal(smooth_field(SHAPE, rng(1), 3), smooth_field(SHAPE, rng(1), 3))
    assert not np.array_equal(smooth_field(SHAPE, rng(1), 3), smooth_field(SHAPE, rng(2), 3))


def test_displacements_are_in_millimetres():
    one, three = displacement(SHAPE, rng(), 1, 4), displacement(SHAPE, rng(), 3, 4)
    assert one.shape == (3, *SHAPE)
    np.testing.assert_allclose(3 * one, three, rtol=1e-5)


def test_a_pose_is_close_to_lying_straight():
    straight = 2.0 * np.stack(np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij"))
    distances = [np.linalg.norm(rigid_scaling(SHAPE, rng(seed), 2.0) - straight, axis=0) for seed in range(20)]
    assert 0.5 < np.mean(distances) < 5
    assert np.max(distances) < 15


def test_a_pose_is_affine():
    points = rigid_scaling(SHAPE, rng(), 2.0)
    for axis in range(1, 4):
        assert np.abs(np.diff(points, n=2, axis=axis)).max() < 1e-4
