"""Linear and deformable registration of a brain to a template, by ANTs; same input, same bytes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np

from brainage_ray.data.anatomy.images import Image, at_spacing, read_at
from brainage_ray.data.anatomy.templates import Template
from brainage_ray.data.anatomy.tools import load, matrix_of, to_ants, to_transform

WORKING_MM = 2.0
"""Edge of the voxels on which transforms are found, whatever the scan's and the template's: bounds time and memory."""

_COARSE, _FINE = (500, 500, 0, 0), (500, 500, 200, 10)
"""Steps of linear registration at 12, 8, 4 and 2 mm."""


def align(
    brain: Image, template: Template, kind: Literal["rigid", "affine"], start: np.ndarray | None = None
) -> np.ndarray:
    """Find the linear transform that lays a brain on a template, by mutual information.

    The affine transform starts from the rigid one: started from the centres of mass, it trades turns for shears.

    Args:
        brain: 0 outside the brain.
        template: to lay it on.
        kind: six or twelve degrees of freedom.
        start: what an earlier call returned; default: centres of mass, then, for affine, a rigid transform.

    Returns:
        mm of the template's space -> mm of the brain's, 4 x 4: what `read_at` takes to carry the brain over.

    Raises:
        EngineError: antspyx is not installed.
    """
    moving, fixed = at_spacing(brain, WORKING_MM), template.at_spacing(WORKING_MM)
    if kind == "rigid":
        return _linear(moving, fixed, "Rigid", start, _FINE)
    if start is None:
        start = _linear(moving, fixed, "Rigid", None, _COARSE)
    return _linear(moving, fixed, "Affine", start, _FINE)


def _linear(
    brain: Image, template: Template, kind: str, start: np.ndarray | None, steps: tuple[int, ...]
) -> np.ndarray:
    with _registered(brain, template, kind, start, aff_iterations=steps) as found:
        return matrix_of(load("antspyx").read_transform(found["fwdtransforms"][0]))


def mask_by_deformation(brain: Image, template: Template, start: np.ndarray) -> np.ndarray:
    """Deform a template to a brain, and carry its mask along.

    SyN (Avants et al. 2008, Med Image Anal 12:26) by mutual information, at 8 and 4 mm: the outline follows the
    brain's own shape, but no single sulcus.

    Args:
        brain: 0 outside the brain, on voxels of about WORKING_MM.
        template: whose mask is wanted.
        start: mm of the template's space -> mm of the brain's, as `align` returns.

    Returns:
        bool, on the grid of the brain.
    """
    fixed = template.at_spacing(WORKING_MM)
    with _registered(brain, fixed, "SyNOnly", start, reg_iterations=(40, 20, 0)) as found:
        carried = load("antspyx").apply_transforms(
            to_ants(brain),
            to_ants(fixed.brain.holding(fixed.mask)),
            found["invtransforms"],
            whichtoinvert=[True, False],
            interpolator="linear",
        )
        return np.asarray(carried.numpy() > 0.5)


@contextmanager
def _registered(
    brain: Image, template: Template, kind: str, start: np.ndarray | None = None, **settings: Any
) -> Iterator[dict[str, Any]]:
    """Run ANTs' registration; its files are there until the block ends."""
    ants = load("antspyx")
    with tempfile.TemporaryDirectory(prefix="brainage-") as folder:
        if start is not None:
            settings["initial_transform"] = str(Path(folder) / "start.mat")
            ants.write_transform(to_transform(start), settings["initial_transform"])
        yield ants.registration(to_ants(template.brain), to_ants(brain), kind, outprefix=f"{folder}/", **settings)


def carry(brain: Image, mask: np.ndarray, template: Template, transform: np.ndarray) -> tuple[Image, np.ndarray]:
    """Carry a brain and its mask to the template's own grid, linearly, normalised by the mask.

    Args:
        brain: the scan; what is outside the mask does not matter.
        mask: bool, on its grid.
        template: gives the grid.
        transform: as `align` returns.

    Returns:
        The brain, 0 outside its mask, and the mask.
    """
    share = read_at(brain.holding(mask), template.brain, transform)
    inside = share > 0.5
    values = read_at(brain.holding(brain.array * mask), template.brain, transform)
    return template.brain.holding(np.where(inside, values / np.where(inside, share, 1), 0)), inside
