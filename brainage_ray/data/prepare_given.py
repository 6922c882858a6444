"""A scan that somebody gives to a model becomes the slices that the model reads, whatever state it comes in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from brainage_ray.config import PreprocessingConfig
from brainage_ray.data.appearance import appearance
from brainage_ray.data.prepare import PreparedScan, prepare_scan
from brainage_ray.data.preprocessing import LARGEST_BRAIN_ML
from brainage_ray.data.safety import map_array
from brainage_ray.data.scan import Scan
from brainage_ray.data.volumes import read_image
from brainage_ray.errors import DataError

ExtractionChoice = Literal["auto", "none", "template", "hd_bet", "synthstrip"]
"""auto: what the model was made with, but heads that it never saw are stripped with the template, and brains that are
stripped already are not stripped again."""


@dataclass(frozen=True)
class Given:
    """One input."""

    image: Path
    subject: str = ""
    session: str = ""
    age_years: float | None = None
    """Chronological age at the scan, years; None where nobody says it."""
    sex: str = ""
    """M, F or empty."""
    error: str = ""
    """Why its row of a table cannot be used."""


@dataclass(frozen=True)
class GivenSlices:
    """What a model reads of a scan."""

    prepared: PreparedScan
    note: str
    """What was done beside or instead of the model's own preprocessing; empty where nothing was."""
    appearance: tuple[float, ...]
    """See data.appearance."""


def prepare_given(
    image: Path, config: PreprocessingConfig, cache: Path, extraction: ExtractionChoice = "auto"
) -> GivenSlices:
    """Preprocess a whole head or a brain as a model's own scans were.

    Args:
        image: NIfTI file.
        config: the model's preprocessing.
        cache: folder for the slices.
        extraction: how the brain is taken out of a head.

    Raises:
        DataError: the file cannot be used; it is named with the fix.
        EngineError: a package or a program that a step needs is not installed.
        NoSpaceError: the disk of the cache is full.
    """
    if not image.is_file():
        raise DataError(f"There is no file {image}", "Give the path of a NIfTI file.")
    suited, note = _suited(image, config, extraction)
    scan = Scan(cohort="", subject=image.name, session="", image=image.name, files={"t1": image})
    prepared = prepare_scan(scan, suited, cache)
    return GivenSlices(prepared, note, tuple(round(float(x), 6) for x in appearance(map_array(prepared.images))))


def _suited(image: Path, config: PreprocessingConfig, extraction: ExtractionChoice) -> tuple[PreprocessingConfig, str]:
    """Return the preprocessing of one scan, and how it differs from the model's."""
    own = config.brain_extraction
    chosen = extraction
    if extraction == "auto":
        head = _is_head(image)
        chosen = ("template" if own == "none" else own) if head else "none"
    if chosen == own:
        return config, ""
    if chosen == "none":
        why = "the scan is stripped already" if extraction == "auto" else "as asked"
        return config.model_copy(update={"brain_extraction": "none"}), f"no brain extraction: {why}"
    if config.registration == "none" and config.slice_origin == "grid":
        problem = (
            f"{image} is a whole head, and the model counts slices from the grid of a template that heads are not on"
        )
        raise DataError(problem, "Extract its brain and register it to that template first.")
    note = f"whole head: brain extraction {chosen}, the model was made with {'brains' if own == 'none' else own}"
    return config.model_copy(update={"brain_extraction": chosen}), note


def _is_head(image: Path) -> bool:
    """Tell a head from a brain: more is not 0 than any brain has."""
    array, affine = read_image(image)
    voxel_ml = abs(float(np.linalg.det(affine[:3, :3]))) / 1000
    return bool(np.count_nonzero(array) * voxel_ml > LARGEST_BRAIN_ML)
