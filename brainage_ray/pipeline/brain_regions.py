"""A map by region, as far as an atlas can be had without a download.

Where the map lies on ICBM152: grey matter, white matter and CSF by the tissue maps that nilearn carries, in each
hemisphere. Elsewhere: hemispheres and thirds of the height, by the brain's own box. No lobes and no nuclei: no atlas of
them comes with a package that this program needs.
"""

from __future__ import annotations

from collections.abc import Mapping

import nibabel as nib
import numpy as np
import pandas as pd
from numpy.typing import NDArray

_TISSUE = 0.5
"""Probability from which a voxel is grey or white matter; what is neither in the brain counts as CSF."""


def region_table(
    maps: Mapping[str, NDArray[np.float32]], inside: NDArray[np.bool_], affine: NDArray[np.float64], on_icbm152: bool
) -> pd.DataFrame:
    """Return one row a region and method: method, region, ml, years, share, density.

    years is the sum of the map over the region, share that of its absolute values in the whole brain's, and density the
    share over the region's share of the volume: 1 where a region matters no more than its size says.

    Args:
        maps: [X, Y, Z], years a voxel, RAS.
        inside: [X, Y, Z], where there are values.
        affine: voxel -> mm, 4 x 4.
        on_icbm152: whether that space is ICBM152's.
    """
    names = _tissues(inside, affine) if on_icbm152 else _thirds(inside)
    voxel_ml = abs(float(np.linalg.det(affine[:3, :3]))) / 1000
    rows = []
    for method, values in maps.items():
        whole = max(float(np.abs(values[inside]).sum()), 1e-12)
        for region in sorted(set(names[inside])):
            here = inside & (names == region)
            share = float(np.abs(values[here]).sum()) / whole
            rows.append({
                "method": method, "region": region, "ml": round(here.sum() * voxel_ml, 1),
                "years": round(float(values[here].sum()), 3), "share": round(share, 3),
                "density": round(share / (here.sum() / inside.sum()), 2),
            })  # fmt: skip
    return pd.DataFrame(rows)


def _tissues(inside: NDArray[np.bool_], affine: NDArray[np.float64]) -> NDArray[np.str_]:
    from nilearn.datasets import load_mni152_gm_template, load_mni152_wm_template
    from nilearn.image import resample_to_img

    grid = nib.Nifti1Image(inside.astype(np.uint8), affine)  # type: ignore[no-untyped-call]
    grey, white = (
        np.asarray(resample_to_img(load(resolution=1), grid, force_resample=True, copy_header=True).dataobj)
        for load in (load_mni152_gm_template, load_mni152_wm_template)
    )
    tissue = np.select([grey > np.maximum(white, _TISSUE), white > _TISSUE], ["grey matter", "white matter"], "CSF")
    x = affine[0, 0] * np.arange(inside.shape[0]) + affine[0, 3]
    side = np.where(x < 0, "left ", "right ")[:, None, None]
    return np.char.add(np.broadcast_to(side, inside.shape), tissue)


def _thirds(inside: NDArray[np.bool_]) -> NDArray[np.str_]:
    """Name each voxel by hemisphere and third of the height, counted in the brain's own box."""
    x, z = (np.flatnonzero(inside.any(axis=axes)) for axes in ((1, 2), (0, 1)))
    side = np.where(np.arange(inside.shape[0]) < x.mean(), "left ", "right ")[:, None, None]
    edges = np.quantile(z, [1 / 3, 2 / 3])
    third = np.array(["lower third", "middle third", "upper third"])[np.digitize(np.arange(inside.shape[2]), edges)]
    return np.char.add(np.broadcast_to(side, inside.shape), np.broadcast_to(third, inside.shape))
