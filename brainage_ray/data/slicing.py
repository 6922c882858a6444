"""From a brain on isotropic voxels to slices: which ones, how bright, how they lie on the page.

This module and `resampling` need NumPy and SciPy alone: a MONAI bundle carries copies of both.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np

from brainage_ray.data.resampling import Brain

SMALLEST_COVER = 0.02
"""Share of slice_shape that the brain covers at least in a slice for segmentation."""


class SliceSettings(Protocol):
    """The settings of PreprocessingConfig that say how a brain is cut."""

    @property
    def voxel_mm(self) -> float:
        """Edge of the isotropic voxels, mm."""

    @property
    def slice_origin(self) -> str:
        """Grid or brain_top."""

    @property
    def slice_range_mm(self) -> tuple[float, float]:
        """First (included) and last (excluded) slice, mm from slice_origin."""

    @property
    def slice_step_mm(self) -> float:
        """From slice to slice, mm."""

    @property
    def slice_shape(self) -> tuple[int, int]:
        """Rows and columns, pixels."""


def standardise(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return a brain with mean 0 and sd 1 inside its mask, and 0 outside; X x Y x Z each."""
    inside = image[mask].astype(np.float64)
    return np.where(mask, (image - inside.mean()) / inside.std(), 0)


def slice_positions(
    brain: Brain, mask: np.ndarray, config: SliceSettings, segmentation: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return the z indices of the slices in the brain's box and their distances from the origin, mm.

    Args:
        brain: with its true z extent.
        mask: the brain's mask as pages, Z x rows x columns.
        config: says which positions.
        segmentation: take all positions with enough brain, not those in the range.
    """
    z = np.arange(len(mask))
    count = z + brain.lowest if config.slice_origin == "grid" else len(z) - 1 - z
    cover = mask.mean(axis=(1, 2))
    # A tolerance, since 3 x 0.1 > 0.3 in binary.
    first, last = (math.ceil(edge / config.voxel_mm - 1e-6) for edge in config.slice_range_mm)
    if segmentation:
        wanted = cover >= SMALLEST_COVER
        first = 0
    else:
        wanted = (cover > 0) & (count >= first) & (count < last)
    wanted &= (count - first) % round(config.slice_step_mm / config.voxel_mm) == 0
    chosen = np.flatnonzero(wanted)
    chosen = chosen[np.argsort(count[chosen])]
    return chosen, count[chosen] * config.voxel_mm


def pages(volume: np.ndarray, config: SliceSettings) -> np.ndarray:
    """Turn X x Y x Z into Z x rows x columns, the box centred on slices of slice_shape."""
    turned = volume.transpose(2, 1, 0)[:, ::-1]
    for axis, size in zip((1, 2), config.slice_shape, strict=True):
        turned = _centre(turned, axis, size)
    return turned


def _centre(array: np.ndarray, axis: int, size: int) -> np.ndarray:
    """Pad with zeros or cut an axis to a size, evenly on both sides; an odd pixel goes to the end."""
    missing = size - array.shape[axis]
    if missing < 0:
        start = -missing // 2
        return np.take(array, range(start, start + size), axis=axis)
    padding = [(0, 0)] * array.ndim
    padding[axis] = (missing // 2, missing - missing // 2)
    return np.pad(array, padding)
