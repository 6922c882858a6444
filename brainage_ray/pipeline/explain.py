"""Which regions of the brain move its age: attributions of all slices and seeds, laid back into a volume, over a group.

Checked against itself: networks whose weights are drawn anew must give another map (Adebayo et al. 2018,
arXiv:1810.03292).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import spearmanr

from brainage_ray.data import POSITION_UNIT_MM, Scan, StoredSplit, atomic_folder, refuse_full
from brainage_ray.data.placement import PlacedSlices, place_slices
from brainage_ray.errors import BrainageError, DataError
from brainage_ray.evaluation.aggregate import aggregate_slices
from brainage_ray.pipeline.brain_regions import region_table
from brainage_ray.pipeline.fitted import FittedModel
from brainage_ray.pipeline.model_folder import ModelFolder, fitted_models, read_model_folder
from brainage_ray.pipeline.progress import Progress, Silent
from brainage_ray.report import draw_attribution
from brainage_ray.training import randomised_attributions, slice_attributions
from brainage_ray.training.attribution import Method

METHODS: tuple[Method, ...] = ("integrated_gradients", "occlusion")
SIMILAR = 0.5
"""Rank correlation from which a map of random weights is no other map."""


@dataclass(frozen=True, eq=False)
class Explanation:
    """What was written, and whether to believe it."""

    regions: pd.DataFrame
    """See brain_regions.region_table."""
    random_similarity: float
    """Spearman's rank correlation of the map with that of random weights, over the brain; near 0 is good."""
    random_similarity_absolute: float
    """The same of absolute values, which stays above 0: both maps have the slice minus its baseline as a factor."""
    space: str
    """Of the maps."""
    failed: dict[str, str]
    """Error by image, of those that could not be read."""

    @property
    def sane(self) -> bool:
        """Whether random weights destroy the map."""
        return abs(self.random_similarity) < SIMILAR


class _Mean:
    """The mean of maps over scans, voxel by voxel, on a grid that grows."""

    def __init__(self) -> None:
        self.total = np.zeros((0, 0, 0))
        self.count = np.zeros((0, 0, 0))

    def add(self, values: NDArray[np.float32], corner: Sequence[int]) -> None:
        ends = [max(a, c + n) for a, c, n in zip(self.total.shape, corner, values.shape, strict=True)]
        grow = [(0, end - a) for end, a in zip(ends, self.total.shape, strict=True)]
        self.total, self.count = np.pad(self.total, grow), np.pad(self.count, grow)
        box = tuple(slice(c, c + n) for c, n in zip(corner, values.shape, strict=True))
        self.total[box] += np.nan_to_num(values)
        self.count[box] += np.isfinite(values)

    def mean(self) -> NDArray[np.float32]:
        return np.asarray(self.total / np.maximum(self.count, 1), dtype=np.float32)


def explain(folder: Path, images: Sequence[Path], out: Path, progress: Progress | None = None) -> Explanation:
    """Write maps of what moves the ages of some scans, the mean over them and over the seeds.

    `brain.nii.gz` (the mean brain), `integrated_gradients.nii.gz` and `occlusion.nii.gz` (years a voxel),
    `regions.csv`, `slices.csv` (what each slice does to the age), `attribution.png`.

    Args:
        folder: of a model.
        images: NIfTI files, as the model's own preprocessing takes them.
        out: new folder.
        progress: where a bar is drawn.

    Raises:
        ConfigError, WeightsError: there is no whole model, or the folder is there already.
        DataError: no image can be read.
        EngineError: Captum is not installed.
    """
    refuse_full(out, "--out")
    progress, described = progress or Silent(), read_model_folder(folder)
    models = fitted_models(folder, described)
    placed, failed = _place(images, described)
    if not placed:
        raise DataError(f"No scan can be explained: {next(iter(failed.values()), 'none was given')}")
    shared = _one_grid(list(placed.values()), described)
    means, rows = _average(models, placed, described, shared, progress)
    maps = {name: mean.mean() for name, mean in means.items()}
    affine = next(iter(placed.values())).affine if shared else np.diag([described.preprocessing.voxel_mm] * 3 + [1.0])
    inside = maps["brain"] != 0
    methods: dict[str, NDArray[np.float32]] = {name: maps[name] for name in METHODS}
    regions = region_table(methods, inside, affine, on_icbm152=shared and described.preprocessing.template == "icbm152")
    pair = [maps[name][inside] for name in ("integrated_gradients", "random")]
    alike, alike_absolute = (float(spearmanr(*values).statistic) for values in (pair, np.abs(pair)))
    space = "the grid that all scans share" if shared else "the common grid of the slices, which is no template's space"
    with atomic_folder(out) as partial:
        for name in (*METHODS, "brain"):
            nib.save(nib.Nifti1Image(maps[name], affine), partial / f"{name}.nii.gz")  # type: ignore[no-untyped-call]
        regions.to_csv(partial / "regions.csv", index=False)
        pd.DataFrame(rows).to_csv(partial / "slices.csv", index=False)
        title = f"{described.experiment}/{described.arm}, {len(placed)} scans, in {space}"
        draw_attribution(methods, maps["brain"], title, partial / "attribution.png")
    return Explanation(regions, alike, alike_absolute, space, failed)


def _average(
    models: Sequence[FittedModel], placed: dict[str, PlacedSlices], described: ModelFolder, shared: bool,
    progress: Progress,
) -> tuple[dict[str, _Mean], list[dict[str, object]]]:  # fmt: skip
    """Return the mean of each map over the scans, and the rows of slices.csv."""
    means: dict[str, _Mean] = {name: _Mean() for name in (*METHODS, "brain", "random")}
    rows: list[dict[str, object]] = []
    progress.begin("explain", len(placed), "scans")
    try:
        for name, one in placed.items():
            corner = one.corner if shared else _centred(one, described)
            for key, values in _attribute(models, one).items():
                means[key].add(one.volume(values), corner)
            rows += _slice_rows(name, models, one)
            progress.advance()
    finally:  # a bar that is left hides the terminal's cursor
        progress.end()
    return means, rows


def _place(images: Sequence[Path], described: ModelFolder) -> tuple[dict[str, PlacedSlices], dict[str, str]]:
    placed, failed = {}, {}
    for image in images:
        scan = Scan(cohort="", subject=image.name, session="", image=image.name, files={"t1": image})
        try:
            placed[str(image)] = place_slices(scan, described.preprocessing)
        except BrainageError as error:
            failed[str(image)] = str(error)
    return placed, failed


def _one_grid(placed: Sequence[PlacedSlices], described: ModelFolder) -> bool:
    """Tell whether all scans lie on one grid, which the model's preprocessing says is a template's."""
    steps = described.preprocessing
    on_template = steps.registration != "none" or steps.slice_origin == "grid"
    return on_template and all(np.allclose(one.affine, placed[0].affine, atol=1e-2) for one in placed)


def _centred(one: PlacedSlices, described: ModelFolder) -> tuple[int, int, int]:
    """Return where a brain's box begins on the grid of the slices: centred, and at its height."""
    rows, columns = described.preprocessing.slice_shape
    x, y = max(0, (columns - one.shape[0]) // 2), max(0, (rows - one.shape[1]) // 2)
    top = round(max(described.preprocessing.slice_range_mm) / described.preprocessing.voxel_mm)
    below = round(float(one.positions_mm[0]) / described.preprocessing.voxel_mm)
    down = described.preprocessing.slice_origin == "brain_top"
    z = top - below - int(one.levels[0]) if down else below - int(one.levels[0])
    return x, y, max(0, z)


def split_of(one: PlacedSlices) -> StoredSplit:
    """Give the slices of one scan the shape of a split."""
    return StoredSplit(
        scans=pd.DataFrame({"age_years": [np.nan]}), shards=(one.images,), label_shards=(),
        slice_scan=np.zeros(len(one.images), np.int64), slice_position=one.positions_mm / np.float32(POSITION_UNIT_MM),
    )  # fmt: skip


def _attribute(models: Sequence[FittedModel], one: PlacedSlices) -> dict[str, NDArray[np.float32]]:
    """Return the mean over the seeds of each method [n, rows, columns], of random weights, and the brain."""
    split = split_of(one)
    found: dict[str, NDArray[np.float32]] = {
        method: np.mean([slice_attributions(m.run, m.fit, split, method) for m in models], axis=0) for method in METHODS
    }
    random = np.mean([randomised_attributions(m.run, m.fit, split) for m in models], axis=0)
    return {**found, "random": random, "brain": one.images.astype(np.float32)}


def _slice_rows(name: str, models: Sequence[FittedModel], one: PlacedSlices) -> list[dict[str, object]]:
    """Return what each slice does to the age: the age of all slices minus that without it, the mean over the seeds."""
    years = np.array([model.slice_years(split_of(one)) for model in models])
    rule, slices = models[0].run.aggregate, np.arange(years.shape[1])

    def age(kept: NDArray[np.bool_]) -> float:
        scans = np.zeros(int(kept.sum()), np.int64)
        return float(np.mean([aggregate_slices(member[kept], scans, 1, rule)[0] for member in years]))

    whole = age(slices >= 0)
    return [
        {"image": name, "position_mm": float(mm), "years": round(float(years[:, i].mean()), 3),
         "adds_years": round(whole - age(slices != i), 3) if len(slices) > 1 else np.nan}
        for i, mm in enumerate(one.positions_mm)
    ]  # fmt: skip
