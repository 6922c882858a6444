"""How a scan looks to a network, in a dozen numbers: tells a T1 brain from other contrasts, organs and noise."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

_QUANTILES = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)
_MOST_SLICES = 12
"""Evenly spaced ones are looked at: more say the same."""
_RIM = 2
"""Pixels of a brain's rim: grey matter and fluid, dark in T1 and bright in T2."""

APPEARANCE = (
    *(f"brightness_{round(100 * q)}" for q in _QUANTILES),
    "rim", "inwards", "mirrored", "smooth", "edges", "area", "aspect", "filled", "pieces", "widest", "taper",
)  # fmt: skip
"""Names of the numbers, in their order."""


def appearance(images: np.ndarray) -> np.ndarray:
    """Describe the slices of one scan.

    Brightness: quantiles over the brain. rim: brightness of the outer RIM pixels less that of the rest. inwards:
    correlation of brightness with the distance from the brain's edge. mirrored: correlation with the slice mirrored
    left to right. smooth: correlation with the neighbouring pixel. edges: median step to the neighbouring pixel. area,
    aspect, filled and pieces: share of the slice that is brain, its height over its width, how much of its box it fills
    and how many pieces it has; widest: where in its height it is widest, which is behind the middle; all means over the
    slices. taper: how much larger the last slices are than the first, in shares of their mean.

    Args:
        images: n x rows x columns, mean 0 and sd 1 in the brain, 0 outside; n is at least 1.

    Returns:
        [len(APPEARANCE)], finite.
    """
    chosen = np.unique(np.linspace(0, len(images) - 1, _MOST_SLICES).round().astype(int))
    volume = np.asarray(images[chosen], dtype=np.float32)
    masks = np.stack([ndimage.binary_fill_holes(page != 0) for page in volume])
    inside = volume[masks]
    if inside.size < 2:
        return np.zeros(len(APPEARANCE))
    depth = np.stack([ndimage.distance_transform_edt(mask) for mask in masks])
    rim = masks & (depth <= _RIM)
    core = masks & ~rim
    both = masks[:, :, 1:] & masks[:, :, :-1]
    mirror = masks & masks[:, :, ::-1]
    steps = np.abs(volume[:, :, 1:] - volume[:, :, :-1])[both]
    return np.nan_to_num(np.array([
        *np.quantile(inside, _QUANTILES),
        _mean(volume[rim]) - _mean(volume[core]),
        _correlation(inside, depth[masks]),
        _correlation(volume[mirror], volume[:, :, ::-1][mirror]),
        _correlation(volume[:, :, 1:][both], volume[:, :, :-1][both]),
        float(np.median(steps)) if steps.size else 0.0,
        *_shape(masks),
    ], dtype=np.float64))  # fmt: skip


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else 0.0


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Return Pearson's correlation; 0 where one does not vary."""
    if first.size < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def _shape(masks: np.ndarray) -> tuple[float, ...]:
    """Return area, aspect, filled, pieces, widest and taper of the slices that hold some brain."""
    rows = []
    for mask in masks[masks.any(axis=(1, 2))]:
        height, width = (int(np.ptp(np.flatnonzero(mask.any(axis=axis)))) + 1 for axis in (1, 0))
        across = mask.sum(axis=1)
        top, wide = int(np.flatnonzero(across)[0]), np.flatnonzero(across >= 0.95 * across.max()).mean()
        pieces = ndimage.label(mask)[1]
        rows.append((mask.mean(), height / width, mask.sum() / (height * width), pieces, (wide - top) / height))
    areas = np.array([row[0] for row in rows])
    third = max(1, len(areas) // 3)
    taper = (areas[-third:].mean() - areas[:third].mean()) / areas.mean()
    return (*map(float, np.mean(rows, axis=0)), float(taper))
