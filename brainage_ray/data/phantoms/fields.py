"""Smooth random fields and poses on a grid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


def smooth_field(shape: tuple[int, int, int], rng: np.random.Generator, modes: int) -> Array:
    """Draw a smooth field of mean square about 1: low cosines along each axis with random weights.

    Args:
        shape: X Y Z.
        rng: the weights' source.
        modes: cosines along each axis; the finest wave is 2 / (modes - 1) of the grid long.
    """
    weights = rng.standard_normal((modes, modes, modes)).astype(np.float32)
    weights[0, 0, 0] = 0
    weights /= np.sqrt(((modes - 1) / 2 + 1) ** 3)  # a cosine's mean square is 1/2, the constant's is 1
    x, y, z = (_cosines(n, modes) for n in shape)
    plane = np.tensordot(np.tensordot(weights, z, (2, 0)), y, (1, 0))  # modes_x, Z, Y
    field: Array = np.tensordot(x, plane, (0, 0)).transpose(0, 2, 1)
    return field


def displacement(shape: tuple[int, int, int], rng: np.random.Generator, rms_mm: float, modes: int) -> Array:
    """Draw a smooth displacement, mm along x, y, z; 3 X Y Z."""
    return np.float32(rms_mm) * np.stack([smooth_field(shape, rng, modes) for _ in range(3)])


def rigid_scaling(shape: tuple[int, int, int], rng: np.random.Generator, voxel_mm: float) -> Array:
    """Draw a small pose: turns (sd 1.5 degrees), shifts (sd 1 mm) and sizes (sd 1.5 %) about the centre.

    Returns:
        The point of the template that each voxel shows, mm from the first voxel; 3 X Y Z.
    """
    a, b, c = np.deg2rad(1.5) * rng.standard_normal(3)
    turn = np.array([[1, -c, b], [c, 1, -a], [-b, a, 1]]) * (1 + 0.015 * rng.standard_normal(3))
    shift = rng.standard_normal(3)
    centre = (np.array(shape) - 1) / 2
    axes = [(voxel_mm * (np.arange(n) - m)).astype(np.float32) for n, m in zip(shape, centre, strict=True)]
    points = np.empty((3, *shape), np.float32)
    for i in range(3):
        x, y, z = (np.float32(turn[i, j]) * axes[j] for j in range(3))
        points[i] = x[:, None, None] + y[None, :, None] + z[None, None, :]
        points[i] += np.float32(shift[i] + voxel_mm * centre[i])
    return points


def _cosines(n: int, modes: int) -> Array:
    return np.cos(np.pi * np.outer(np.arange(modes), (np.arange(n) + 0.5) / n)).astype(np.float32)
