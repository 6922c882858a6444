"""An invented brain in an invented head, and that brain as a template."""

from __future__ import annotations

import numpy as np
from brains import save
from scipy import ndimage

from brainage_ray.config import PreprocessingConfig
from brainage_ray.data.anatomy import Image

SHAPE = (44, 52, 46)
AFFINE = np.array([[4.0, 0, 0, -86], [0, 4, 0, -102], [0, 0, 4, -90], [0, 0, 0, 1]])
"""4 mm; the middle of the grid is at 0, 0, 0 mm."""
SEMI_AXES_MM = np.array([56.0, 72.0, 50.0])


def points(shape=SHAPE, affine=AFFINE):
    """mm of each voxel, X x Y x Z x 3."""
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    return grid @ affine[:3, :3].T + affine[:3, 3]


def at(mm):
    """Brightness at points of the template's space: a brain that no turn maps onto itself. 0 outside."""
    x, y, z = np.moveaxis(mm, -1, 0)
    radius = np.sqrt(((mm / SEMI_AXES_MM) ** 2).sum(axis=-1))
    image = 100 + 40 * (radius < 0.72) + 12 * np.sin(x / 13) * np.cos(y / 17) + 10 * np.sin(z / 11)
    for centre, size in (((-12, 10, 8), (8, 22, 9)), ((14, 6, 8), (7, 19, 8)), ((0, -40, -22), (20, 14, 9))):
        image = np.where((((mm - centre) / size) ** 2).sum(axis=-1) < 1, 45, image)
    return np.where(radius < 1, image, 0.0)


def brain(moved=None, shape=SHAPE, affine=AFFINE):
    """The brain as a scan sees it; moved: mm of the scan's space -> mm of the template's, 4 x 4."""
    moved = np.eye(4) if moved is None else moved
    mm = points(shape, affine)
    return Image(at(mm @ moved[:3, :3].T + moved[:3, 3]).astype(np.float32), affine)


def head(moved=None, seed=0):
    """That brain in fluid, bone and scalp, with a neck, noise and air; and the brain's mask."""
    inside = brain(moved)
    mask = inside.array > 0
    distance = ndimage.distance_transform_edt(~mask, sampling=4.0)
    x, y, z = np.moveaxis(points(), -1, 0)
    neck = (np.hypot(x, y + 15) < 45) & (z < -45)
    image = np.select([mask, distance < 5, distance < 13, distance < 21], [inside.array, 20, 10, 90], 0.0)
    image = np.where(neck & (distance >= 13), 70, image)
    noise = np.random.default_rng(seed).normal(0, 2, SHAPE)
    return inside.holding(np.maximum(image + noise, 0)), mask


def template_config(folder, **settings):
    """Write the template and return settings that name it."""
    path = save(folder / "template.nii.gz", brain().array, AFFINE)
    return PreprocessingConfig(template=path, **{"registration": "affine", **settings})


def turned(degrees=6.0, scale=(1.0, 1.0, 1.0), shift=(5.0, -4.0, 6.0)):
    """A turn about the left-right axis, scaling and a shift, 4 x 4, mm -> mm."""
    angle = np.radians(degrees)
    matrix = np.eye(4)
    matrix[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    matrix[:3, :3] = matrix[:3, :3] @ np.diag(scale)
    matrix[:3, 3] = shift
    return matrix
