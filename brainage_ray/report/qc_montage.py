"""A scan as one small picture: axial slices in a frame of fixed size, with the outline of the brain mask."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from scipy import ndimage

MONTAGE_VERSION = 1
"""Goes up when the picture changes; part of a thumbnail's name."""

COLUMNS, ROWS = 4, 2
"""Slices of a montage, across and down."""

TILE = 160
"""Pixels of a tile's longer side, about: slices grow by a whole factor."""

OUTLINE = (240, 160, 40)
"""Orange, red, green, blue 0-255: bright on grey in both themes and for the colour-blind."""

_WINDOW = (0.5, 99.5)
"""Percentiles of the brain's voxels that become black and white."""


def montage(slices: np.ndarray) -> bytes:
    """Draw evenly spaced slices of a scan, in their order, left to right and then down.

    The frame is that of the slices and not the brain's, so that a brain of the wrong size shows.

    Args:
        slices: n x rows x columns, any unit, 0 outside the brain; n is at least 1.

    Returns:
        A WebP picture, COLUMNS x ROWS tiles; tiles that a scan of few slices does not fill are black.
    """
    return webp(draw_tiles(slices))


def draw_tiles(slices: np.ndarray) -> np.ndarray:
    """Return the pixels of a montage: uint8, height x width x RGB; see montage."""
    chosen = np.asarray(slices[positions(len(slices))], dtype=np.float32)
    inside = chosen[chosen != 0]
    low, high = np.percentile(inside, _WINDOW) if inside.size else (0.0, 1.0)
    height, width = chosen.shape[1:]
    factor = enlarged(height, width)
    page = np.zeros((ROWS * height * factor, COLUMNS * width * factor, 3), np.uint8)
    for i, image in enumerate(chosen):
        top, left = (i // COLUMNS) * height * factor, (i % COLUMNS) * width * factor
        page[top : top + height * factor, left : left + width * factor] = _tile(image, (low, high), factor)
    return page


def webp(page: np.ndarray) -> bytes:
    """Return pixels, uint8, height x width x RGB, as a WebP picture: the same pixels, the same bytes."""
    file = io.BytesIO()
    Image.fromarray(page).save(file, "WEBP", quality=80, method=4)
    return file.getvalue()


def enlarged(height: int, width: int) -> int:
    """Return the factor by which slices grow."""
    return max(1, round(TILE / max(height, width)))


def positions(n: int) -> np.ndarray:
    """Return the places of at most COLUMNS x ROWS slices out of n, evenly spaced, the first and last among them."""
    return np.unique(np.linspace(0, n - 1, COLUMNS * ROWS).round().astype(int))


def _tile(image: np.ndarray, window: tuple[float, float], factor: int) -> np.ndarray:
    low, high = window
    mask = ndimage.binary_fill_holes(image != 0)  # a voxel of exactly the mean is 0 too
    grey = np.clip((image - low) / max(high - low, 1e-6), 0, 1) * mask
    size = (image.shape[1] * factor, image.shape[0] * factor)
    large = Image.fromarray((255 * grey).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    covered = ndimage.gaussian_filter(mask.repeat(factor, 0).repeat(factor, 1).astype(np.float32), factor / 3) > 0.5
    tile = np.repeat(np.asarray(large)[:, :, None], 3, axis=2)
    tile[covered & ~ndimage.binary_erosion(covered)] = OUTLINE
    return tile
