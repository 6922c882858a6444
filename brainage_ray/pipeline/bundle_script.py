"""From prepared brains to ages with MONAI, NumPy and SciPy alone: a MONAI bundle carries a copy as `scripts/brain_age`.

In the copy the two imports from `brainage_ray.data` name the copies beside it; nothing else differs.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from monai.transforms import MapTransform

from brainage_ray.data.resampling import resample_brain
from brainage_ray.data.slicing import pages, slice_positions, standardise

POSITION_UNIT_MM = 100.0


class BrainSlicesd(MapTransform):  # type: ignore[misc]  # MONAI is not typed
    """A brain [1, X, Y, Z] in RAS order, 0 outside, becomes its slices [n, 1, H, W]; `position` [n] is added.

    Args:
        keys: of the image, one.
        settings: the model's preprocessing: voxel_mm, slice_origin, slice_range_mm, slice_step_mm, slice_shape.
    """

    def __init__(self, keys: Sequence[str], settings: Mapping[str, Any]) -> None:
        super().__init__(keys)
        self.settings: Any = SimpleNamespace(**settings)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the item with slices in the place of the image.

        Raises:
            ValueError: the image is empty, or has no brain where the model looks.
        """
        found = dict(data)
        for key in self.keys:
            found[key], found["position"] = self._slices(data[key])
        return found

    def _slices(self, image: Any) -> tuple[torch.Tensor, torch.Tensor]:
        array = np.asarray(image, dtype=np.float32)[0]
        if not array.any() or not np.isfinite(array).all():
            raise ValueError("the image is empty or not finite; give a brain that is 0 outside")
        spacing = np.sqrt((np.asarray(image.affine)[:3, :3] ** 2).sum(axis=0))
        volumes: Any = SimpleNamespace(images=(array,), labels=None, spacing_mm=spacing)
        brain = resample_brain(volumes, self.settings.voxel_mm)
        chosen, positions_mm = slice_positions(brain, pages(brain.mask, self.settings), self.settings, False)
        if not len(chosen):
            raise ValueError("there is no brain in slice_range_mm; is it laid on the template?")
        images = pages(standardise(brain.images[0], brain.mask), self.settings)[chosen]
        rounded = images.astype(np.float16).astype(np.float32)  # as the slices that the model was trained with
        return torch.from_numpy(rounded[:, None]), torch.from_numpy(
            (positions_mm / POSITION_UNIT_MM).astype(np.float32)
        )


def scan_age(
    network: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], item: Mapping[Hashable, Any], aggregate: str
) -> tuple[float, float]:
    """Return the brain age of a scan and its standard deviation over the members (NaN for one), years.

    Args:
        network: from slices and positions to years [n, members].
        item: what BrainSlicesd returns.
        aggregate: median or mean, over the slices.
    """
    with torch.inference_mode():
        years = network(item["image"], item["position"]).double().numpy()
    ages = np.median(years, axis=0) if aggregate == "median" else years.mean(axis=0)
    return float(ages.mean()), float(ages.std(ddof=1)) if len(ages) > 1 else float("nan")


def write_ages(
    network: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    transform: Callable[[Mapping[str, Any]], Mapping[Hashable, Any]],
    images: Sequence[str],
    aggregate: str,
    output: str,
) -> str:
    """Write a CSV with a row a scan: image, brain_age_years, brain_age_sd_years.

    Args:
        network: see scan_age.
        transform: from {"image": path} to what BrainSlicesd returns.
        images: NIfTI files of prepared brains.
        aggregate: see scan_age.
        output: the file.
    """
    rows = [(image, *scan_age(network, transform({"image": image}), aggregate)) for image in images]
    with Path(output).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "brain_age_years", "brain_age_sd_years"])
        writer.writerows((image, f"{age:.3f}", f"{sd:.3f}") for image, age, sd in rows)
    return output
