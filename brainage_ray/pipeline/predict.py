"""Brain ages of new scans: the model's own preprocessing, then the mean over its seeds."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainage_ray.data import POSITION_UNIT_MM, PreparedScan, Scan, StoredSplit, map_array, prepare_scan
from brainage_ray.errors import BrainageError, DataError
from brainage_ray.pipeline.model_folder import ModelFolder, fitted_models, read_model_folder

COLUMNS = ["image", "brain_age_years", "brain_age_sd_years", "n_slices", "brain_volume_ml", "model", "error"]


def predict(folder: Path, images: Sequence[Path], advance: Callable[[], None] = lambda: None) -> pd.DataFrame:
    """Read the brain age off skull-stripped T1 scans.

    Args:
        folder: of a model, as `brainage pull` makes it.
        images: NIfTI files.
        advance: called after each scan.

    Returns:
        One row a scan, in the order given: image, brain_age_years (mean over the seeds),
        brain_age_sd_years (over the seeds), n_slices, brain_volume_ml, model, error. A scan that cannot be read
        has an error and no age; the others are not held up by it.

    Raises:
        ConfigError, WeightsError: the folder holds no whole model.
    """
    described = read_model_folder(folder)
    with tempfile.TemporaryDirectory(prefix="brainage-") as cache:
        outcomes = []
        for image in images:
            outcomes.append(_prepare(described, image, Path(cache)))
            advance()
        good = [outcome for outcome in outcomes if isinstance(outcome, PreparedScan)]
        ages = iter(_ages(folder, described, good).T) if good else iter(())
    name = f"{described.experiment}/{described.arm}"
    rows = [
        {"image": str(image), "model": name, **(_row(outcome, next(ages)) if isinstance(outcome, PreparedScan)
                                                else {"error": str(outcome)})}
        for image, outcome in zip(images, outcomes, strict=True)
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS).astype({"n_slices": "Int64"})


def _prepare(described: ModelFolder, image: Path, cache: Path) -> PreparedScan | BrainageError:
    try:
        if not image.is_file():
            raise DataError(f"There is no file {image}", "Give the path of a NIfTI file.")
        scan = Scan(cohort="", subject=image.name, session="", image=image.name, files={"t1": image})
        return prepare_scan(scan, described.preprocessing, cache)
    except BrainageError as error:
        return error


def _ages(folder: Path, described: ModelFolder, scans: Sequence[PreparedScan]) -> NDArray[np.float64]:
    """Return [n_seeds, n_scans], years; each seed's weights are read once, however many scans there are."""
    split = _split(scans)
    return np.array([model.predict(split) for model in fitted_models(folder, described)])


def _row(prepared: PreparedScan, ages: NDArray[np.float64]) -> dict[str, Any]:
    return {
        "brain_age_years": round(float(ages.mean()), 2),
        "brain_age_sd_years": round(float(ages.std(ddof=1)), 2) if len(ages) > 1 else np.nan,
        "n_slices": prepared.n_slices,
        "brain_volume_ml": round(prepared.brain_volume_ml, 1),
        "error": "",
    }


def _split(scans: Sequence[PreparedScan]) -> StoredSplit:
    """Give the slices of some scans the shape of a split."""
    positions = [np.asarray(scan.positions_mm, np.float32) / POSITION_UNIT_MM for scan in scans]
    return StoredSplit(
        scans=pd.DataFrame({"age_years": np.full(len(scans), np.nan)}),
        shards=tuple(map_array(scan.images) for scan in scans),
        label_shards=(),
        slice_scan=np.repeat(np.arange(len(scans)), [scan.n_slices for scan in scans]),
        slice_position=np.concatenate(positions),
    )
