"""Small invented brains on disk, for the tests of this folder."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

from brainage_ray.data.scan import Scan

SHAPE = (40, 48, 36)
MODALITIES = ("flair", "t1", "t1ce", "t2")


def brain(shape=SHAPE, mm=(2.0, 2.0, 2.0), seed=0):
    """An ellipsoid of 60 x 76 x 52 mm, brighter at the left and brightest in front, in RAS order."""
    rng = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*(np.arange(n) * s for n, s in zip(shape, mm, strict=True)), indexing="ij")
    middle = [(n - 1) * s / 2 for n, s in zip(shape, mm, strict=True)]
    inside = ((x - middle[0]) / 30) ** 2 + ((y - middle[1]) / 38) ** 2 + ((z - middle[2]) / 26) ** 2 < 1
    image = 100 + 30 * (x < middle[0]) + 60 * (y > middle[1]) + rng.normal(0, 3, shape)
    return np.where(inside, image, 0).astype(np.float32)


def save(path: Path, array, affine=None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.diag([2.0, 2.0, 2.0, 1.0]) if affine is None else affine), path)
    return path


def scan_of(path: Path, subject="S1", **facts) -> Scan:
    known = {"cohort": "C", "session": "1", "image": path.name, "age_years": 70.0, "diagnosis": "CN"}
    return Scan(subject=subject, files={"t1": path}, **{**known, **facts})


def write_tumour(folder: Path, case: str, values=(2, 1, 4), gaps=(12, 13, 20)) -> Scan:
    """Four modalities, and three labels in nested blocks; some slices are empty."""
    labels = np.zeros(SHAPE, np.uint8)
    for value, radius in zip(values, (6, 4, 2), strict=True):
        labels[14 - radius : 14 + radius, 28 - radius : 28 + radius, 18 - radius : 18 + radius] = value
    labels[:, :, list(gaps)] = 0
    files = {}
    for i, name in enumerate(MODALITIES):
        image = brain(seed=i)
        image[:, :, list(gaps)] = 0
        files[name] = save(folder / case / f"{case}_{name}.nii.gz", image)
    return Scan("B", case, "1", case, files, save(folder / case / f"{case}_seg.nii.gz", labels))
