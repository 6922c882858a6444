"""A tree like BraTS'2020: four modalities and a label map a case, on its grid at half the resolution."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainage_ray.data.phantoms.ageing import draw_scatter, personal_course
from brainage_ray.data.phantoms.anatomy import grow, template
from brainage_ray.data.phantoms.cohort import person_rng
from brainage_ray.data.phantoms.imaging import scan, touch, write_nifti
from brainage_ray.data.phantoms.tumours import BRIGHTNESS, brightness, grow_tumour

GRID = (120, 120, 78)
"""The field of view of BraTS, 240 x 240 x 155 mm, at 2 mm instead of 1."""
AFFINE = np.array([[-2.0, 0, 0, 0], [0, -2.0, 0, 238.0], [0, 0, 2.0, 0], [0, 0, 0, 1]])
"""As in BraTS, x and y run to the left and to the back."""
_FIRST_SLICE = 2
_CASE_STREAM = 1 << 20


def write_brats(folder: Path, tumours: int, seed: int, done: Callable[[], None], images: bool = True) -> None:
    """Write `BraTS20_Training_001/BraTS20_Training_001_{flair,t1,t1ce,t2,seg}.nii.gz` and so on.

    The grid is that of BraTS'2020 at 2 mm instead of 1 (120 x 120 x 78), which keeps the files small.

    Args:
        folder: of the tree.
        tumours: cases.
        seed: of everything.
        done: called after each case.
        images: False leaves their files empty.
    """
    for index in range(tumours):
        case = f"BraTS20_Training_{index + 1:03d}"
        files = {name: folder / case / f"{case}_{name}.nii.gz" for name in (*BRIGHTNESS, "seg")}
        if images:
            _write_case(files, index, seed)
        else:
            for path in files.values():
                touch(path)
        done()


def _write_case(files: Mapping[str, Path], index: int, seed: int) -> None:
    rng = person_rng(seed, index, stream=_CASE_STREAM)
    course = personal_course(rng.uniform(40, 80), "CN", draw_scatter(rng))
    tissues = grow(rng, rng, course)
    labels = grow_tumour(tissues, rng)
    for modality in BRIGHTNESS:
        volume = scan(brightness(tissues, labels, modality), tissues.brain, rng)
        write_nifti(files[modality], _on_grid(volume), AFFINE)
    write_nifti(files["seg"], _on_grid(labels), AFFINE)


def _on_grid(volume: NDArray[np.generic]) -> NDArray[np.generic]:
    """Turn a crop of the template's grid into the axes and the field of view of BraTS."""
    whole = template().embed(volume)[::-1, ::-1, _FIRST_SLICE : _FIRST_SLICE + GRID[2]]
    out = np.zeros(GRID, volume.dtype)
    x, y = ((g - n) // 2 for g, n in zip(GRID, whole.shape[:2], strict=False))
    out[x : x + whole.shape[0], y : y + whole.shape[1]] = whole
    return out
