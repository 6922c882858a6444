"""A volume and where it lies, and how to read it on another grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage


@dataclass(frozen=True, eq=False)
class Image:
    """One volume on one grid, in RAS order."""

    array: np.ndarray
    """float32, X x Y x Z."""
    affine: np.ndarray
    """Voxel -> mm, right, front and up; 4 x 4."""

    @property
    def spacing_mm(self) -> np.ndarray:
        """Distance of neighbouring voxels along the three axes, mm."""
        return np.asarray(np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0)))

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel, ml."""
        return float(self.spacing_mm.prod()) / 1000

    def holding(self, array: np.ndarray) -> Image:
        """Return other values on the same grid; they become float32."""
        return Image(np.ascontiguousarray(array, dtype=np.float32), self.affine)


def read_at(image: Image, grid: Image, through: np.ndarray | None = None) -> np.ndarray:
    """Read an image at the voxels of a grid, linearly; what lies outside is 0.

    Args:
        image: what to read.
        grid: where; its values do not matter.
        through: mm of the grid's space -> mm of the image's, 4 x 4; default: both lie in one space.

    Returns:
        float32, of the grid's shape.
    """
    matrix = np.linalg.inv(image.affine) @ (np.eye(4) if through is None else through) @ grid.affine
    return np.asarray(
        ndimage.affine_transform(
            image.array, matrix[:3, :3], matrix[:3, 3], output_shape=grid.array.shape, order=1, mode="grid-constant"
        )
    )


def at_spacing(image: Image, mm: float) -> Image:
    """Return an image on isotropic voxels of a given edge, mm; what becomes coarser is smoothed first.

    The Gaussian has (f - 1) / 2 voxels where voxels grow by a factor f, scikit-image's rule against aliasing.
    """
    factor = mm / image.spacing_mm
    if np.allclose(factor, 1, atol=1e-3):
        return image
    shape = np.maximum(np.ceil(np.array(image.array.shape) / factor), 1).astype(int)
    affine = image.affine @ np.diag([*factor, 1.0])
    smooth = ndimage.gaussian_filter(image.array, np.maximum(0, (factor - 1) / 2), mode="constant")
    return Image(read_at(image.holding(smooth), Image(np.empty(shape, np.float32), affine)), affine)


def dice(first: np.ndarray, second: np.ndarray) -> float:
    """Return the overlap of two masks of one shape, 2 |A and B| / (|A| + |B|) (Dice 1945); 0 where both are empty."""
    total = np.count_nonzero(first) + np.count_nonzero(second)
    return float(2 * np.count_nonzero(first & second) / total) if total else 0.0
