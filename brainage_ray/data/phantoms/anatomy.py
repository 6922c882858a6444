"""The anatomy that phantoms are made of: tissue maps of a template, deformed into a person's own.

Axes of all arrays are X Y Z of the template's grid: 2 mm, RAS, cropped to the brain and a margin.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from brainage_ray.data.phantoms.ageing import Course
from brainage_ray.data.phantoms.fields import displacement, rigid_scaling

Array = NDArray[np.float32]

VOXEL_MM = 2.0
T1 = np.array([0.30, 0.65, 0.86], np.float32)
"""Brightness of CSF, grey and white matter, fitted by eye to the template."""
_MARGIN = 6
_REACH_MM = 15.0
"""Distance from the ventricles at which their push has fallen to 1/e."""
_VENTRICLE_BOX_MM = ((-40, 40), (-55, 40), (0, 36))


@dataclass(frozen=True)
class Template:
    """The ICBM152 (2009a, symmetric) average brain as this package uses it."""

    maps: Array
    """CSF, GM, WM (shares, sum 1 in the brain), sulcal rim (0..1), T1 residual; 5 X Y Z."""
    push: Array
    """Where a voxel's tissue comes from when the ventricles grow by 1 mm (mm along x, y, z), the length of
    that way (mm), and the distance to the ventricles (mm, below 0 inside); 5 X Y Z."""
    corner: tuple[int, int, int]
    """First voxel of the crop in the template's grid."""
    grid: tuple[int, int, int]
    """Shape of the template's grid."""
    affine: NDArray[np.float64]
    """Voxel of the template's grid -> mm, RAS; 4 x 4."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the crop."""
        x, y, z = self.maps.shape[1:]
        return x, y, z

    def embed(self, volume: NDArray[np.generic]) -> NDArray[np.generic]:
        """Put a crop back into the template's grid, 0 around it."""
        whole = np.zeros(self.grid, volume.dtype)
        whole[tuple(slice(c, c + n) for c, n in zip(self.corner, self.shape, strict=True))] = volume
        return whole


@dataclass(frozen=True)
class Tissues:
    """A person's tissue shares, each X Y Z, sum 1 in the brain and 0 outside."""

    csf: Array
    gm: Array
    wm: Array
    residual: Array
    """What the template's T1 has beyond its tissue shares: nuclei, fibre bundles."""
    brain: NDArray[np.bool_]


@lru_cache(maxsize=1)
def template() -> Template:
    """Load the ICBM152 maps that nilearn carries in its package (no download) and derive the rest."""
    # here, not above: the import takes seconds, and only making phantoms needs it
    from nilearn.datasets import load_mni152_gm_template, load_mni152_template, load_mni152_wm_template

    image = load_mni152_template(resolution=2)
    t1, gm, wm = (
        _values(i) for i in (image, load_mni152_gm_template(resolution=2), load_mni152_wm_template(resolution=2))
    )
    brain = ndimage.binary_fill_holes(t1 > 0.05)
    box = ndimage.find_objects(brain.astype(np.int8))[0]
    crop = tuple(
        slice(max(s.start - _MARGIN, 0), min(s.stop + _MARGIN, n)) for s, n in zip(box, brain.shape, strict=True)
    )
    t1, gm, wm, brain = t1[crop], gm[crop] * brain[crop], wm[crop] * brain[crop], brain[crop]
    corner = tuple(s.start for s in crop)
    csf = np.clip(brain - gm - wm, 0, 1)
    total = np.maximum(csf + gm + wm, 1e-6)
    csf, gm, wm = csf / total, gm / total, wm / total
    rim = np.clip(3 * ndimage.gaussian_filter(csf, 1.0) - 0.15, 0, 1)
    residual = (t1 - np.tensordot(T1, np.stack([csf, gm, wm]), 1)) * ndimage.binary_erosion(brain)
    push = _push(csf, brain, image.affine, corner)
    maps = np.stack([csf, gm, wm, rim, residual]).astype(np.float32)
    return Template(maps, push, corner, image.shape, np.asarray(image.affine))


def grow(rng: np.random.Generator, pose: np.random.Generator, course: Course) -> Tissues:
    """Make the tissues of one person at one time.

    Args:
        rng: of the person: the same state gives the same anatomy.
        pose: of the scan: how the head lies.
        course: how far ageing has come.
    """
    base = template()
    shape = base.shape
    points = rigid_scaling(shape, pose, VOXEL_MM) + displacement(shape, rng, rms_mm=1.5, modes=5)
    push = _sample(base.push, points)
    csf, gm, wm, rim, residual = _sample(base.maps, points + course.ventricle_mm * push[:3])
    flooded = np.clip(0.5 - (push[4] - course.ventricle_mm * push[3]) / VOXEL_MM, 0, 1)
    lost = gm * np.clip(course.thinning * rim, 0, 1)
    brain = csf + gm + wm > 0.5
    solid = brain / np.maximum(csf + gm + wm, 0.5) * (1 - flooded)
    return Tissues((csf + lost) * solid + flooded * brain, (gm - lost) * solid, wm * solid, residual * solid, brain)


def _values(image: object) -> Array:
    return np.asarray(image.dataobj, np.float32)  # type: ignore[attr-defined]


def _push(csf: Array, brain: NDArray[np.bool_], affine: NDArray[np.float64], corner: tuple[int, ...]) -> Array:
    """Return Template.push: tissue comes from nearer the ventricles, the less the farther it lies."""
    inside = ventricles(csf, brain, affine, corner)
    distance = ndimage.distance_transform_edt(~inside) - ndimage.distance_transform_edt(inside)
    distance = ndimage.gaussian_filter(distance * VOXEL_MM, 0.7)
    length = np.exp(-np.maximum(distance, 0) / _REACH_MM)
    return np.stack([*(-length * np.gradient(distance, VOXEL_MM)), length, distance]).astype(np.float32)


def ventricles(
    csf: Array, brain: NDArray[np.bool_], affine: NDArray[np.float64], corner: tuple[int, ...]
) -> NDArray[np.bool_]:
    """Find the lateral ventricles: deep CSF of the central brain, in pieces of 1 ml and more."""
    deep = (ndimage.distance_transform_edt(brain) * VOXEL_MM > 20) & (csf > 0.45)
    for axis, (low, high) in enumerate(_VENTRICLE_BOX_MM):
        at = affine[axis, 3] + VOXEL_MM * (np.arange(csf.shape[axis]) + corner[axis])
        shape = [1, 1, 1]
        shape[axis] = -1
        deep &= ((at > low) & (at < high)).reshape(shape)
    pieces, n = ndimage.label(deep)
    sizes = ndimage.sum_labels(deep, pieces, np.arange(1, n + 1)) * VOXEL_MM**3 / 1000
    found: NDArray[np.bool_] = np.isin(pieces, np.flatnonzero(sizes >= 1) + 1)
    return found


def _sample(maps: Array, points: Array) -> Array:
    """Read C maps at points (3 X Y Z, mm from the first voxel), linearly, 0 outside; C X Y Z."""
    top = np.array(maps.shape[1:], np.float32) - 1
    unit = points.transpose(1, 2, 3, 0) * (2 / (VOXEL_MM * top)) - 1  # torch wants -1..1, and z y x order
    grid = torch.from_numpy(np.ascontiguousarray(unit[..., ::-1], np.float32))
    read = torch.nn.functional.grid_sample(torch.from_numpy(maps)[None], grid[None], align_corners=True)
    out: Array = read[0].numpy()
    return out
