"""From a scanner's grid to isotropic voxels, without letting the empty background bleed into the brain."""

from __future__ import annotations

import functools
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:  # a MONAI bundle carries a copy of this module: see slicing
    from brainage_ray.data.volumes import Volumes

SMALLEST_PIECE = 0.01
"""Of the largest piece: what is smaller is no brain."""


@dataclass(frozen=True)
class Brain:
    """A brain on isotropic voxels in RAS order, cut to its bounding box."""

    images: tuple[np.ndarray, ...]
    """One channel each, float32, X x Y x Z; 0 outside the mask."""
    mask: np.ndarray
    """bool, X x Y x Z."""
    labels: np.ndarray | None
    """uint8, X x Y x Z."""
    lowest: int
    """Index of the first z slice in the whole grid, counted from its lowest slice."""
    corner: tuple[int, int, int] = (0, 0, 0)
    """Index of the first voxel in the whole isotropic grid, whose first voxel is the scanner's."""


def resample_brain(volumes: Volumes, voxel_mm: float) -> Brain:
    """Resample a skull-stripped scan to isotropic voxels.

    The first voxel of the grid stays where it is; the others follow at `voxel_mm`. Where voxels grow
    by a factor f, the image is smoothed first with a Gaussian of (f - 1) / 2 voxels, scikit-image's rule
    against aliasing. Smoothing and linear interpolation are normalised by the mask, so that an edge of the
    brain, or of a slab of slices, keeps its brightness. Labels take the nearest voxel.

    Specks apart from the brain are dropped, since slices are counted from its highest voxel and centred on its
    box. A case with labels keeps all of its pieces, which may be slabs of a single slice.

    Args:
        volumes: at least one voxel of one channel is not 0.
        voxel_mm: edge of the voxels, mm.
    """
    step = np.round(voxel_mm / volumes.spacing_mm, 4)
    inside = functools.reduce(np.logical_or, (image != 0 for image in volumes.images))
    grid = _grid(inside, step)
    # Dark fluid may be stored as 0: what the brain encloses is brain.
    mask = ndimage.binary_fill_holes(inside[grid.box])
    weight = grid.smooth(mask.astype(np.float32))
    covered = grid.interpolate(mask.astype(np.float32)) > 0.501  # above a half: a slice half in a gap drops out
    if volumes.labels is None:
        covered = without_specks(covered)
    share = np.where(covered, grid.interpolate(weight), 1)
    images = tuple(grid.interpolate(grid.smooth(image[grid.box])) * covered / share for image in volumes.images)
    labels = None if volumes.labels is None else grid.nearest(volumes.labels[grid.box]) * covered
    corner = (int(grid.start[0]), int(grid.start[1]), int(grid.start[2]))
    return _cut(Brain(images, covered, labels, corner[2], corner))


@dataclass(frozen=True)
class _Grid:
    """Where the isotropic voxels around a brain lie among the scanner's."""

    box: tuple[slice, slice, slice]
    step: np.ndarray
    start: np.ndarray
    shape: tuple[int, ...]

    def smooth(self, volume: np.ndarray) -> np.ndarray:
        return np.asarray(ndimage.gaussian_filter(volume, np.maximum(0, (self.step - 1) / 2), mode="constant"))

    def interpolate(self, volume: np.ndarray) -> np.ndarray:
        return self._at(volume, order=1)

    def nearest(self, volume: np.ndarray) -> np.ndarray:
        return self._at(volume, order=0)

    def _at(self, volume: np.ndarray, order: int) -> np.ndarray:
        if (self.step == 1).all():
            return volume
        first = np.array([s.start for s in self.box])
        with warnings.catch_warnings():
            # SciPy before 1.16, which antspyx wants, warns of a change that was made in 0.18
            warnings.filterwarnings("ignore", "The behavior of affine_transform", UserWarning)
            return np.asarray(
                ndimage.affine_transform(
                    volume,
                    self.step,
                    self.start * self.step - first,
                    output_shape=self.shape,
                    order=order,
                    mode="grid-constant",
                    prefilter=False,
                )
            )


def _grid(inside: np.ndarray, step: np.ndarray) -> _Grid:
    box = bounding_box(inside)
    first = np.array([s.start for s in box])
    last = np.array([s.stop - 1 for s in box])
    start = np.floor(first / step).astype(int)
    stop = np.ceil(last / step).astype(int) + 1
    return _Grid((box[0], box[1], box[2]), step, start, tuple(int(n) for n in stop - start))


def _cut(brain: Brain) -> Brain:
    if not brain.mask.any():
        return brain
    box = bounding_box(brain.mask)
    labels = None if brain.labels is None else brain.labels[box]
    x, y, z = (first + side.start for first, side in zip(brain.corner, box, strict=True))
    return Brain(tuple(image[box] for image in brain.images), brain.mask[box], labels, z, (x, y, z))


def without_specks(mask: np.ndarray) -> np.ndarray:
    """Drop the pieces of a mask that are smaller than SMALLEST_PIECE of the largest.

    Args:
        mask: bool, X x Y x Z; voxels that touch at a face, an edge or a corner are of one piece.
    """
    pieces, _ = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0  # the background
    return np.asarray(mask & (sizes >= SMALLEST_PIECE * sizes.max())[pieces])


def bounding_box(mask: np.ndarray) -> tuple[slice, ...]:
    """Return the smallest box around the true voxels, of which there is one at least."""
    axes = range(mask.ndim)
    lines = [np.flatnonzero(mask.any(axis=tuple(a for a in axes if a != axis))) for axis in axes]
    return tuple(slice(int(line[0]), int(line[-1]) + 1) for line in lines)
