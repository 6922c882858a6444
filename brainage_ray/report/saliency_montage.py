"""Which pixels made a brain look older or younger, over the slices of a montage."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from brainage_ray.report.qc_montage import COLUMNS, draw_tiles, enlarged, positions, webp

OLDER, YOUNGER = (213, 94, 0), (0, 114, 178)
"""Red, green, blue 0-255: vermilion and blue of Okabe and Ito, told apart with any colour vision."""
FULL = 99.5
"""Percentile of the sizes that is drawn in full colour."""
_OPACITY = 0.85


def saliency_montage(slices: np.ndarray, attributions: np.ndarray) -> tuple[bytes, float]:
    """Draw attributions over a montage of the same slices.

    Args:
        slices: n x rows x columns, as report.qc_montage.montage takes them.
        attributions: rows of the slices that a montage shows, positions(n): m x rows x columns, years a pixel, above 0
            where a pixel made the brain look older.

    Returns:
        A WebP picture, and the attribution in full colour, years a pixel; 0 where all are 0.
    """
    page = draw_tiles(slices).astype(np.float32)
    chosen = positions(len(slices))
    if len(chosen) != len(attributions):
        raise ValueError(f"{len(attributions)} attributions do not fit the {len(chosen)} slices of a montage")
    smooth = [ndimage.gaussian_filter(np.asarray(one, np.float32), 1.0) for one in attributions]  # as eyes would
    limit = float(np.percentile(np.abs(smooth), FULL)) if smooth else 0.0
    height, width = slices.shape[1:]
    factor = enlarged(height, width)
    for i, values in enumerate(smooth):
        top, left = (i // COLUMNS) * height * factor, (i % COLUMNS) * width * factor
        part = page[top : top + height * factor, left : left + width * factor]
        part[:] = _blend(part, ndimage.zoom(values, factor, order=1, grid_mode=True, mode="nearest"), limit)
    return webp(page.astype(np.uint8)), limit


def _blend(pixels: np.ndarray, values: np.ndarray, limit: float) -> np.ndarray:
    share = np.clip(np.abs(values) / limit, 0, 1) if limit > 0 else np.zeros_like(values)
    opacity = _OPACITY * share[..., None] ** 1.3
    colours = np.where((values > 0)[..., None], np.array(OLDER, np.float32), np.array(YOUNGER, np.float32))
    return np.asarray((1 - opacity) * pixels + opacity * colours)
