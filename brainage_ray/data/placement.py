"""Slices and where each of their pixels lies in the brain: the way back from pages to a volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from brainage_ray.config import PreprocessingConfig
from brainage_ray.data.anatomy import Image, anatomy_steps, apply_anatomy
from brainage_ray.data.resampling import Brain, resample_brain
from brainage_ray.data.scan import Scan
from brainage_ray.data.slicing import pages, slice_positions, standardise
from brainage_ray.data.volumes import Volumes, read_volumes
from brainage_ray.errors import DataError


@dataclass(frozen=True, eq=False)
class PlacedSlices:
    """The slices of one scan, and the grid that they come from."""

    images: np.ndarray
    """float16, n x rows x columns, as preprocess_scan gives them."""
    positions_mm: np.ndarray
    """float32, n: distance from slice_origin, mm."""
    shape: tuple[int, int, int]
    """Of the brain's box, voxels X x Y x Z."""
    levels: np.ndarray
    """int, n: z of each slice in the box."""
    corner: tuple[int, int, int]
    """Voxel of the box's first voxel in the whole grid."""
    affine: np.ndarray
    """Of the whole grid: voxel -> mm, 4 x 4."""

    def volume(self, values: np.ndarray) -> np.ndarray:
        """Lay values of pixels [n, rows, columns] into the brain's box [X, Y, Z]; NaN between the slices."""
        found = np.full(self.shape, np.nan, np.float32)
        found[:, :, self.levels] = unpage(values, self.shape[:2]).transpose(2, 1, 0)
        return found


def place_slices(scan: Scan, config: PreprocessingConfig) -> PlacedSlices:
    """Cut a scan into the slices that `preprocess_scan` makes of it, and keep where they lie.

    Raises:
        DataError: the file cannot be used, or there is no brain where slices are wanted.
        EngineError: a package that a step needs is not installed.
    """
    volumes = read_volumes(scan)
    if anatomy_steps(config):
        found = apply_anatomy(Image(volumes.images[0], volumes.affine), config).brain
        volumes = Volumes((found.array,), None, found.affine)
    brain = resample_brain(volumes, config.voxel_mm)
    chosen, positions_mm = slice_positions(brain, pages(brain.mask, config), config, segmentation=False)
    if not len(chosen):
        problem = f"{scan.files['t1']} has no brain in the range {list(config.slice_range_mm)} mm"
        raise DataError(problem, "Prepare it as the scans that the model was trained with.")
    images = pages(standardise(brain.images[0], brain.mask), config)[chosen].astype(np.float16)
    step = np.round(config.voxel_mm / volumes.spacing_mm, 4)
    affine = volumes.affine @ np.diag([*step, 1.0])
    return PlacedSlices(images, positions_mm.astype(np.float32), _shape(brain), chosen, brain.corner, affine)


def unpage(values: np.ndarray, sides: Sequence[int]) -> np.ndarray:
    """Return what `pages` would turn into these pages: [n, Y, X] of [n, rows, columns]; 0 where a page was cut.

    Args:
        values: pages.
        sides: X and Y of the box, voxels.
    """
    for axis, size in zip((1, 2), (sides[1], sides[0]), strict=True):
        missing = values.shape[axis] - size
        if missing >= 0:
            values = np.take(values, range(missing // 2, missing // 2 + size), axis=axis)
        else:
            start = missing // -2  # as `pages` cuts
            padding = [(0, 0)] * 3
            padding[axis] = (start, -missing - start)
            values = np.pad(values, padding)
    return values[:, ::-1]


def _shape(brain: Brain) -> tuple[int, int, int]:
    x, y, z = brain.mask.shape
    return x, y, z
