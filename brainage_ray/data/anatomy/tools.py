"""The optional programs that the steps stand on: found when they are needed, named with their version."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from brainage_ray.data.anatomy.images import Image
from brainage_ray.errors import EngineError

SEED = 1
"""Of ANTs' random sampling of voxels: the same scan gives the same bytes."""

_MODULES = {"antspyx": "ants", "brainextractor": "brainextractor"}
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def package_version(package: str) -> str:
    """Return "name version" of an installed package.

    Raises:
        EngineError: it is not installed.
    """
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        fix = "pip install 'brainage_ray[anatomy]', or leave the step out."
        raise EngineError(f"the steps in data.preprocessing need {package}, which is not installed", fix) from None


def load(package: str) -> Any:
    """Import a package of the extra `anatomy`, and have ANTs give the same bytes for the same scan.

    Raises:
        EngineError: it is not installed.
    """
    package_version(package)
    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"  # with more, sums differ from run to run
    os.environ["ANTS_RANDOM_SEED"] = str(SEED)  # antspyx' own setting would reseed NumPy as well
    return import_module(_MODULES[package])


def to_ants(image: Image) -> Any:
    """Return an image as ANTs' own, whose axes point left, back and up."""
    affine = _LPS @ image.affine
    spacing = image.spacing_mm
    return load("antspyx").from_numpy(
        np.ascontiguousarray(image.array, dtype=np.float32),
        origin=[float(mm) for mm in affine[:3, 3]],
        spacing=[float(mm) for mm in spacing],
        direction=affine[:3, :3] / spacing,
    )


def matrix_of(transform: Any) -> np.ndarray:
    """Return a linear transform of ANTs, of whichever kind, as a 4 x 4 matrix in RAS, mm -> mm."""
    points: Sequence[tuple[float, float, float]] = ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))
    origin, *corners = (np.array(transform.apply_to_point(point)) for point in points)
    matrix = np.eye(4)
    matrix[:3, 3] = origin
    matrix[:3, :3] = np.stack([corner - origin for corner in corners], axis=1)
    return np.asarray(_LPS @ matrix @ _LPS)


def to_transform(matrix: np.ndarray) -> Any:
    """Return a 4 x 4 matrix in RAS, mm -> mm, as a transform of ANTs."""
    lps = _LPS @ matrix @ _LPS
    return load("antspyx").create_ants_transform(
        transform_type="AffineTransform", matrix=lps[:3, :3].copy(), translation=lps[:3, 3].copy()
    )
