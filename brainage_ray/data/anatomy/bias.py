"""Correction of the coil's uneven sensitivity."""

from __future__ import annotations

import numpy as np

from brainage_ray.data.anatomy.images import Image
from brainage_ray.data.anatomy.tools import load, to_ants

WORKING_MM = 6.0
"""The field is smooth: it is fitted on about this grid."""


def correct_bias(image: Image, mask: np.ndarray) -> Image:
    """Divide a T1 by the bias field that N4 finds (Tustison et al. 2010, IEEE TMI 29:1310), by ANTs.

    Args:
        image: the scan.
        mask: bool, where the brain is. Bone and scalp would mislead the histogram.

    Returns:
        The corrected brain, 0 outside the mask.

    Raises:
        EngineError: antspyx is not installed.
    """
    shrink = max(1, round(WORKING_MM / float(image.spacing_mm.max())))
    inside = to_ants(image.holding(mask & (image.array > 0)))
    corrected = load("antspyx").n4_bias_field_correction(to_ants(image), mask=inside, shrink_factor=shrink)
    return image.holding(np.where(mask, corrected.numpy(), 0))
