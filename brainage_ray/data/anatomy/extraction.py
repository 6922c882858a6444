"""Where the brain is in a whole head. Each way is one small class: a head in, a mask on its grid out."""

from __future__ import annotations

import contextlib
import io
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Protocol

import nibabel as nib
import numpy as np
from scipy import ndimage

from brainage_ray.config import PreprocessingConfig
from brainage_ray.data.anatomy.images import Image, at_spacing, read_at
from brainage_ray.data.anatomy.registration import WORKING_MM, align, mask_by_deformation
from brainage_ray.data.anatomy.templates import Template, load_template, template_identity
from brainage_ray.data.anatomy.tools import load, package_version
from brainage_ray.data.files import sha256_of
from brainage_ray.data.volumes import read_image
from brainage_ray.errors import DataError, EngineError

ROUNDS = 3
"""Of affine registration: each is given the brain that the one before found."""
BET_STEPS = 500
"""Of the surface; it moves little after."""
_MARGIN = 10
"""Voxels of air around a head, so that BET's surface never leaves the volume."""


class Extraction(Protocol):
    """A way to find the brain."""

    def about(self) -> str:
        """Return its name and the versions of what it stands on.

        Raises:
            EngineError: something that it needs is not installed.
        """

    def mask(self, head: Image) -> np.ndarray:
        """Return where the brain is: bool, on the head's grid.

        Raises:
            DataError: it cannot be told.
            EngineError: something that it needs is not installed.
        """


@dataclass(frozen=True)
class TemplateExtraction:
    """BET, then a template's mask, carried back by registration; needs no trained weights.

    The template has no skull and the head has one, so ANTs cannot register them at once. BET (Smith 2002, Hum Brain
    Mapp 17:143) gives a rough brain; an affine registration of that lays the template's mask on the head, and what
    the mask cuts out is a better brain, which is registered again. At last the template is deformed to it.
    """

    config: PreprocessingConfig

    def about(self) -> str:
        """See Extraction."""
        parts = [package_version("brainextractor"), package_version("antspyx"), template_identity(self.config)]
        return f"brain extraction template ({', '.join(parts)})"

    def mask(self, head: Image) -> np.ndarray:
        """See Extraction."""
        working, template = at_spacing(head, WORKING_MM), load_template(self.config)
        found = refine(working, rough_brain(working), template)
        return read_at(working.holding(found), head) > 0.5


def refine(head: Image, mask: np.ndarray, template: Template) -> np.ndarray:
    """Let a template's mask take the place of a rough one.

    Args:
        head: on voxels of WORKING_MM.
        mask: bool, on its grid.
        template: without a skull.
    """
    transform = align(head.holding(head.array * mask), template, "affine")
    for _ in range(ROUNDS - 1):
        mask = _carried_back(template, head, transform)
        transform = align(head.holding(head.array * mask), template, "affine", transform)
    mask = _carried_back(template, head, transform)
    return mask_by_deformation(head.holding(head.array * mask), template, transform)


def _carried_back(template: Template, head: Image, transform: np.ndarray) -> np.ndarray:
    """Return the template's mask on the head, a voxel wider, so that the next step sees the edge."""
    mask = read_at(template.brain.holding(template.mask), head, np.linalg.inv(transform)) > 0.5
    return np.asarray(ndimage.binary_dilation(mask))


def rough_brain(head: Image) -> np.ndarray:
    """Return BET's brain: bool, on the grid of the head, whose voxels are isotropic.

    Raises:
        DataError: BET ends in nothing.
        EngineError: brainextractor is not installed.
    """
    bet = load("brainextractor").BrainExtractor
    with contextlib.redirect_stdout(io.StringIO()):  # it prints every step
        run = bet(_nifti(Image(np.pad(head.array, _MARGIN), head.affine)))
        run.run(BET_STEPS)
        mask = run.compute_mask()[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN, _MARGIN:-_MARGIN] > 0
    if not mask.any():
        raise DataError("BET finds no brain", "Look at the scan; it may be no T1 of a head.")
    return np.asarray(mask)


@dataclass(frozen=True)
class CommandExtraction:
    """A program of its own that reads a NIfTI file and writes a mask; runs where it is installed."""

    name: str
    """As the experiment file has it."""
    command: tuple[str, ...]
    """{head}, {mask} and {out} stand for files in a folder of its own."""
    install: str
    """What to do where it is missing."""
    mask_file: str = "mask.nii.gz"
    """What the program calls the mask."""

    def about(self) -> str:
        """See Extraction; the version is that which pip knows, or the program's own."""
        program = shutil.which(self.command[0])
        if program is None:
            problem = f"data.preprocessing.brain_extraction is {self.name}, but {self.command[0]} is not installed"
            raise EngineError(problem, self.install)
        return f"brain extraction {self.name} ({_version(self.command[0], Path(program))})"

    def mask(self, head: Image) -> np.ndarray:
        """See Extraction."""
        self.about()
        with tempfile.TemporaryDirectory(prefix="brainage-") as folder:
            files = {name: str(Path(folder) / f"{name}.nii.gz") for name in ("head", "mask", "out")}
            nib.save(_nifti(head), files["head"])
            command = [part.format(**files) for part in self.command]
            run = subprocess.run(command, capture_output=True, text=True, check=False)
            written = Path(folder) / self.mask_file
            if run.returncode or not written.is_file():
                last = " ".join((run.stderr or run.stdout).split()[-60:])
                raise DataError(f"{' '.join(command)} failed ({run.returncode}): {last}", self.install)
            array, affine = read_image(written)
        return read_at(Image(array, affine), head) > 0.5


def make_extraction(config: PreprocessingConfig) -> Extraction | None:
    """Return the way that an experiment names; None where scans are stripped already."""
    if config.brain_extraction == "none":
        return None
    return TemplateExtraction(config) if config.brain_extraction == "template" else _COMMANDS[config.brain_extraction]


_COMMANDS = {
    "hd_bet": CommandExtraction(
        "hd_bet",
        ("hd-bet", "-i", "{head}", "-o", "{out}", "-device", "cpu", "--disable_tta", "--save_bet_mask"),
        "pip install 'brainage_ray[hd-bet]'. It loads its weights on first use; where there is no network, lay them in "
        "~/hd-bet_params/release_2.0.0. Or choose data.preprocessing.brain_extraction: template.",
        "out_bet.nii.gz",
    ),
    "synthstrip": CommandExtraction(
        "synthstrip",
        ("mri_synthstrip", "-i", "{head}", "-m", "{mask}"),
        "Install FreeSurfer (surfer.nmr.mgh.harvard.edu), whose mri_synthstrip it is, and put it on the PATH. Or "
        "choose data.preprocessing.brain_extraction: template.",
    ),
}


def _nifti(image: Image) -> nib.Nifti1Image:
    return nib.Nifti1Image(image.array, image.affine)  # type: ignore[no-untyped-call]


def _version(command: str, program: Path) -> str:
    """Return what tells one version from another: pip's number, FreeSurfer's stamp, or the program's checksum."""
    with contextlib.suppress(PackageNotFoundError):
        return f"{command} {version(command)}"
    stamp = program.parent.parent / "build-stamp.txt"
    said = stamp.read_text(encoding="utf-8").strip() if stamp.is_file() else f"sha256:{sha256_of(program)[:16]}"
    return f"{command} {said}"
