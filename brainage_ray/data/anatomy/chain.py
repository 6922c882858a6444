"""From a scan as it was acquired to a brain on a template's grid: the configured steps in their order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from brainage_ray.config import PreprocessingConfig
from brainage_ray.data.anatomy.bias import correct_bias
from brainage_ray.data.anatomy.extraction import make_extraction
from brainage_ray.data.anatomy.images import Image, dice
from brainage_ray.data.anatomy.registration import align, carry
from brainage_ray.data.anatomy.templates import load_template, template_identity
from brainage_ray.data.anatomy.tools import package_version
from brainage_ray.errors import DataError

SMALLEST_BRAIN_ML, LARGEST_BRAIN_ML = 300.0, 3000.0
"""No brain that was extracted is smaller or larger."""
SMALLEST_OVERLAP = 0.5
"""Dice of brain and template below which a registration has failed."""


@dataclass(frozen=True, eq=False)
class Anatomy:
    """A brain after the steps."""

    brain: Image
    """0 outside the brain; on the template's grid where the scan was registered, else on its own."""
    template_dice: float
    """Overlap of the brain's mask with the template's; NaN where the scan was not registered."""


def anatomy_steps(config: PreprocessingConfig) -> tuple[str, ...]:
    """Return each configured step with the versions of what it stands on, in order; none for scans that need none.

    Raises:
        ConfigError: a template is not there.
        EngineError: a package or a program is not installed.
    """
    steps = []
    if (extraction := make_extraction(config)) is not None:
        steps.append(extraction.about())
    if config.bias_correction != "none":
        steps.append(f"bias correction {config.bias_correction} ({package_version('antspyx')})")
    if config.registration != "none":
        on = f"{package_version('antspyx')}, {template_identity(config)}"
        steps.append(f"registration {config.registration} ({on})")
    return tuple(steps)


def apply_anatomy(scan: Image, config: PreprocessingConfig) -> Anatomy:
    """Take the brain out of the head, correct its bias field, and lay it on the template, as configured.

    Args:
        scan: a T1: of a head, or of a brain where brain_extraction is none.
        config: says which steps.

    Raises:
        DataError: no brain is found, or it does not lie on the template in the end.
        EngineError: a package or a program is not installed.
    """
    mask = _brain_mask(scan, config)
    brain = scan.holding(scan.array * mask)
    if config.bias_correction == "n4":
        brain = correct_bias(brain, mask)
    if config.registration == "none":
        return Anatomy(brain, float("nan"))
    template = load_template(config)
    brain, mask = carry(brain, mask, template, align(brain, template, config.registration))
    if (overlap := dice(mask, template.mask)) < SMALLEST_OVERLAP:
        problem = f"the brain was not laid on the template {template.name}: they overlap by {overlap:.2f} (Dice)"
        raise DataError(problem, "Look at the scan: a part of the head, or one with a skull or without one?")
    return Anatomy(brain, round(overlap, 4))


def _brain_mask(scan: Image, config: PreprocessingConfig) -> np.ndarray:
    extraction = make_extraction(config)
    if extraction is None:
        return np.asarray(scan.array != 0)
    mask = extraction.mask(scan)
    volume_ml = float(mask.sum()) * scan.voxel_ml
    if not SMALLEST_BRAIN_ML <= volume_ml <= LARGEST_BRAIN_ML:
        problem = f"brain extraction {config.brain_extraction} finds {volume_ml:.0f} ml of brain"
        fix = "Look at the scan; if it is stripped already, set data.preprocessing.brain_extraction: none."
        raise DataError(problem, fix)
    return mask
