"""From tissues to the NIfTI file of a scanner: brightness, bias field, noise, arbitrary scale."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from brainage_ray.data.phantoms.anatomy import T1, Tissues
from brainage_ray.data.phantoms.fields import smooth_field

Array = NDArray[np.float32]


def t1_brightness(tissues: Tissues, contrast: float) -> Array:
    """Return T1 brightness, X Y Z, about 0.3 in CSF and 0.86 in white matter.

    Args:
        tissues: of one person.
        contrast: difference of white and grey matter, relative to the template's.
    """
    csf, gm, wm = T1
    white = gm + np.float32(contrast) * (wm - gm)
    brightness: Array = csf * tissues.csf + gm * tissues.gm + white * tissues.wm + tissues.residual
    return brightness


def scan(brightness: Array, brain: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.int16]:
    """Image a brightness, X Y Z: bias field, Rician noise (sd 0.03, white matter is 0.86), scale by chance.

    Outside the brain all stays exactly 0, as after skull-stripping; inside nothing is.
    """
    scale = 10 ** rng.uniform(2.3, 3.3)
    bias = np.exp(np.float32(0.06) * smooth_field(brain.shape, rng, modes=3))
    signal = (brightness * bias)[brain]
    real, imaginary = np.float32(0.03) * rng.standard_normal((2, signal.size), dtype=np.float32)
    image = np.zeros(brain.shape, np.int16)
    image[brain] = np.clip(np.rint(scale * np.hypot(signal + real, imaginary)), 1, 32767)
    return image


def write_nifti(path: Path, volume: NDArray[np.generic], affine: NDArray[np.float64]) -> None:
    """Write a `.nii.gz` whose bytes depend on its content alone: no time, no file name in it."""
    image = nib.Nifti1Image(volume, affine)  # type: ignore[no-untyped-call]
    image.header.set_xyzt_units("mm")  # type: ignore[no-untyped-call]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(image.to_bytes(), compresslevel=1, mtime=0))


def touch(path: Path) -> None:
    """Write an empty file: an image that is there to be listed, and not to be opened."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
