"""Correction of the coil's uneven sensitivity."""

from __future__ import annotations

import numpy as np

from brainage_ray.data.anatomy.images import Image
from brainage_ray.data.anatomy.tools import load, to_ants

WORKING_MM = 4.0
"""The field is smooth: it is fitted on about this grid."""
_CONVERGENCE = {"iters": [50, 50, 50, 50], "tol": 1e-4}


def correct_bias(image: Image) -> Image:
    """Divide a T1 by the bias field that N4 finds (Tustison et al. 2010, IEEE TMI 29:1310), by ANTs.

    Args:
        image: with or without a skull; what is 0 stays 0.

    Raises:
        EngineError: antspyx is not installed.
    """
    shrink = max(1, round(WORKING_MM / float(image.spacing_mm.max())))
    inside = image.holding(foreground(image.array))
    corrected = load("antspyx").n4_bias_field_correction(
        to_ants(image), mask=to_ants(inside), shrink_factor=shrink, convergence=_CONVERGENCE
    )
    return image.holding(np.where(image.array == 0, 0, np.maximum(corrected.numpy(), 0)))


def foreground(array: np.ndarray) -> np.ndarray:
    """Return what is brighter than a tenth of the way from the 2nd to the 98th percentile (Smith 2002): tissue."""
    low, high = np.percentile(array, [2, 98])
    return np.asarray(array > low + 0.1 * (high - low))
