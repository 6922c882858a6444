"""A scan becomes axial slices.

A slice looks as on a page: anterior is up (row 0 is the front) and the patient's left is at the left
(column 0): the neurological convention.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from brainage_ray.config import PreprocessingConfig
from brainage_ray.data.anatomy import Image, anatomy_steps, apply_anatomy
from brainage_ray.data.quality import signal_to_noise
from brainage_ray.data.resampling import resample_brain
from brainage_ray.data.scan import Scan
from brainage_ray.data.slicing import pages, slice_positions, standardise
from brainage_ray.data.volumes import MODALITIES, Volumes, read_volumes
from brainage_ray.errors import DataError

PREPROCESSING_VERSION = 3
"""Goes up with every change of this code that changes a slice or a number beside it; kept with every scan and store."""

LARGEST_BRAIN_ML = 3000.0
"""More than any brain has: such a mask still holds skull or background."""

LARGEST_LOSS = 0.05
"""Share of the brain that may lie outside slice_shape."""


@dataclass(frozen=True)
class Slices:
    """The axial slices of one scan, nearest to the origin first."""

    images: np.ndarray
    """float16, n x rows x columns, for segmentation n x 4 x rows x columns; mean 0 and sd 1 inside the brain of
    the whole volume, 0 outside."""
    labels: np.ndarray | None
    """uint8, n x rows x columns: 0 background, 1 necrosis, 2 oedema, 3 enhancing tumour."""
    positions_mm: np.ndarray
    """float32, n: distance from the config's slice_origin, mm."""
    brain_volume_ml: float
    """Of the mask, ml."""
    snr: float
    """Signal-to-noise ratio in the brain, on the resampled voxels, of T1; NaN where it cannot be told."""
    template_dice: float = float("nan")
    """Overlap of the brain's mask with the template's; NaN where the scan was not registered."""
    voxel_mm: float = float("nan")
    """Longest edge of the voxels as they were acquired, mm."""
    field_mm: float = float("nan")
    """Shortest side of the field of view, mm."""


def preprocessing_steps(scan: Scan, config: PreprocessingConfig) -> tuple[str, ...]:
    """Return what is done to a scan, each step with its version.

    Raises:
        ConfigError: a template is not there.
        EngineError: a package or a program that a step needs is not installed.
    """
    steps = anatomy_steps(config) if scan.segmentation is None else ()
    return (*steps, f"slices {PREPROCESSING_VERSION}")


def preprocess_scan(scan: Scan, config: PreprocessingConfig) -> Slices:
    """Turn a scan into slices.

    A scan with a segmentation gives every axial position, at slice_step_mm, where the brain covers two per cent of
    the slice; any other scan gives the positions in slice_range_mm that hold some brain.

    Raises:
        EngineError: a package or a program that a step needs is not installed.
        DataError: a file cannot be used, no brain is found or registered, the volume still has its skull, the brain is
            larger than slice_shape, constant, or in none of the slices.
    """
    acquired = read_volumes(scan)
    volumes, template_dice = _after_anatomy(acquired, scan, config)
    brain = resample_brain(volumes, config.voxel_mm)
    name = str(scan.files["t1"])
    volume_ml = float(brain.mask.sum()) * config.voxel_mm**3 / 1000
    if volume_ml > LARGEST_BRAIN_ML:
        problem = f"{name} has {volume_ml:.0f} ml that are not 0, more than any brain"
        raise DataError(problem, "Set data.preprocessing.brain_extraction: template, or strip the skull first.")
    mask = pages(brain.mask, config)
    if (lost := 1 - mask.sum() / max(brain.mask.sum(), 1)) > LARGEST_LOSS:
        problem = f"{name}: {lost:.0%} of the brain lie outside slices of {config.slice_shape} pixels"
        raise DataError(problem, "Give a larger data.preprocessing.slice_shape or voxel_mm.")
    chosen, positions_mm = slice_positions(brain, mask, config, scan.segmentation is not None)
    if not len(chosen):
        problem = f"{name} has no brain in the range {list(config.slice_range_mm)} mm from {config.slice_origin}"
        raise DataError(problem, "Correct data.preprocessing.slice_range_mm or slice_origin.")
    images = [pages(_standardise(image, brain.mask, name), config)[chosen] for image in brain.images]
    labels = None if brain.labels is None else pages(brain.labels, config)[chosen]
    stacked = images[0] if labels is None else np.stack(images, axis=1)
    t1 = brain.images[0 if labels is None else MODALITIES.index("t1")]
    snr = round(signal_to_noise(t1, brain.mask), 2)  # the last digits differ from machine to machine
    return Slices(
        stacked.astype(np.float16), labels, positions_mm.astype(np.float32), volume_ml, snr, template_dice,
        voxel_mm=round(float(acquired.spacing_mm.max()), 3),
        field_mm=round(float((acquired.spacing_mm * acquired.images[0].shape).min()), 1),
    )  # fmt: skip


def _after_anatomy(volumes: Volumes, scan: Scan, config: PreprocessingConfig) -> tuple[Volumes, float]:
    """Return the brain that the anatomical steps make of a T1, and its overlap with the template."""
    if scan.segmentation is not None or not anatomy_steps(config):
        return volumes, float("nan")
    try:
        found = apply_anatomy(Image(volumes.images[0], volumes.affine), config)
    except DataError as error:
        raise DataError(f"{scan.files['t1']}: {error.problem}", error.fix) from error
    return Volumes((found.brain.array,), None, found.brain.affine), found.template_dice


def _standardise(image: np.ndarray, mask: np.ndarray, name: str) -> np.ndarray:
    inside = image[mask].astype(np.float64)
    if inside.std() <= 1e-6 * abs(inside.mean()):
        raise DataError(f"{name} is constant inside the brain ({inside.mean():g})", "It is a mask; give the image.")
    return standardise(image, mask)
