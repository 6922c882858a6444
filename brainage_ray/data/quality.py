"""Numbers that tell a bad scan from a good one: signal-to-noise in the brain, and how far from its cohort a scan is."""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

_DIFFERENCE = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float64)
"""Immerkaer's mask: the difference of two Laplacians. Its response to noise of sd 1 has the sd 6."""

_MASK_SD = 6.0
_NORMAL_MAD = 0.6745
"""Median absolute deviation of a normal distribution of sd 1; Iglewicz and Hoaglin round it so too."""
_NORMAL_MEAN_DEVIATION = math.sqrt(2 / math.pi)
"""Mean absolute deviation of a normal distribution of sd 1."""

OUTLIER_Z = 3.5
"""Iglewicz and Hoaglin's limit of |z|: beyond it a value is called an outlier."""


def noise_sd(image: np.ndarray, mask: np.ndarray) -> float:
    """Estimate the standard deviation of the noise inside a brain.

    Immerkaer's estimator (J. Immerkaer, Fast noise variance estimation, Computer Vision and Image Understanding 64
    (1996) 300-302): a mask that takes out planes and edges along the axes leaves six times the noise, axial slice by
    slice. Two things differ here, as a brain without its skull asks for: only voxels whose whole neighbourhood is
    brain count, and the spread of the responses is their median absolute value over 0.6745, on which the few
    sharp edges that remain have no hold.

    Args:
        image: X x Y x Z, any unit.
        mask: bool, X x Y x Z: the brain.

    Returns:
        In the unit of the image; NaN where no voxel has a neighbourhood of brain.
    """
    inner = ndimage.binary_erosion(mask, np.ones((3, 3, 1), bool))
    if not inner.any():
        return math.nan
    response = ndimage.correlate(image.astype(np.float64), _DIFFERENCE[:, :, None], mode="constant")[inner]
    return float(np.median(np.abs(response)) / _NORMAL_MAD / _MASK_SD)


def signal_to_noise(image: np.ndarray, mask: np.ndarray) -> float:
    """Return the mean signal in the brain over the sd of the noise there: the SNR of a scan without background.

    Where scans have been resampled, so has the noise: compare scans of one preprocessing and one cohort.

    Args:
        image: X x Y x Z, as the scanner scaled it, not z-scored.
        mask: bool, X x Y x Z: the brain.

    Returns:
        A ratio without unit; NaN where the noise cannot be told or is 0.
    """
    noise = noise_sd(image, mask)
    return float(image[mask].mean(dtype=np.float64)) / noise if noise > 0 else math.nan


def robust_z(values: np.ndarray) -> np.ndarray:
    """Return how many robust standard deviations each value lies from the median.

    The modified z-score of B. Iglewicz and D. C. Hoaglin, How to detect and handle outliers (1993):
    0.6745 (x - median) / MAD. Where more than half of the values are the same and the MAD is 0, the mean absolute
    deviation stands in, scaled for a normal distribution likewise.

    Args:
        values: n; NaN where a scan lacks the number.

    Returns:
        n; NaN where the value is, 0 everywhere if all are the same.
    """
    values = np.asarray(values, dtype=np.float64)
    known = values[~np.isnan(values)]
    if not known.size:
        return np.full(values.shape, math.nan)
    deviation = np.abs(known - np.median(known))
    spread = np.median(deviation) / _NORMAL_MAD or deviation.mean() / _NORMAL_MEAN_DEVIATION
    centred = values - np.median(known)
    with np.errstate(over="ignore"):  # infinitely far, where nearly all are the same
        return centred / spread if spread > 0 else np.where(np.isnan(values), math.nan, 0.0)
