"""Writing a slice store: in one go, under another name, the same bytes for the same scans."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from brainage_ray.config import PreprocessingConfig
from brainage_ray.config.base import digest
from brainage_ray.data.files import atomic_folder, sha256_of, write_array
from brainage_ray.data.prepare import PreparedScan
from brainage_ray.data.preprocessing import PREPROCESSING_VERSION
from brainage_ray.data.safety import map_array
from brainage_ray.data.scan import Scan
from brainage_ray.data.splits import SPLITS
from brainage_ray.data.store import (
    MANIFEST_FILE,
    POSITION_UNIT_MM,
    SCHEMA_VERSION,
    SEALED,
    STORE_FILE,
    SealedTest,
    SliceStore,
)
from brainage_ray.data.volumes import MODALITIES
from brainage_ray.errors import DataError, LeakageError, StoreError

SLICES_PER_SHARD = 4096
"""A shard ends before the scan that would make it longer."""

ACQUIRED = ("voxel_mm", "field_mm")
"""Columns of the manifest about the scanner's grid: not part of the content hash."""

Kind = Literal["age", "segmentation"]


@dataclass(frozen=True)
class StoreRow:
    """One scan for the store."""

    scan: Scan
    prepared: PreparedScan
    split: str
    """train, validation or test."""
    diagnosis: str = ""
    """CN, MCI or AD; empty for segmentation."""


def write_store(folder: Path, rows: Sequence[StoreRow], kind: Kind, preprocessing: PreprocessingConfig) -> SliceStore:
    """Write prepared scans that train or validate as a store, in place of the one that lies in the folder.

    Args:
        folder: of the store: new, empty or a store.
        rows: in any order; the same rows give the same bytes.
        kind: age, or segmentation for four channels and label maps.
        preprocessing: that all rows were prepared with.

    Raises:
        DataError: there is no row, or a prepared file is missing, damaged or of another shape.
        LeakageError: a row is of the test split, which goes into another folder: see write_test.
        StoreError: the folder holds something else.
        NoSpaceError: the disk is full; the folder is as it was.
    """
    if tested := [row.scan for row in rows if row.split == SEALED]:
        problem = f"{len(tested)} scans of the test split, the first is {tested[0].image}, would be where models train"
        raise LeakageError(problem, "Write them with write_test, into a folder of their own.")
    _write(folder, rows, kind, preprocessing, "open")
    return SliceStore.open(folder)


def write_test(folder: Path, rows: Sequence[StoreRow], preprocessing: PreprocessingConfig) -> SealedTest:
    """Write the prepared scans of the test split, see write_store; errors are the same.

    Raises:
        LeakageError: a row is of another split.
    """
    if other := [row.scan for row in rows if row.split != SEALED]:
        problem = f"{len(other)} scans, the first is {other[0].image}, are not of the test split"
        raise LeakageError(problem, "Write them with write_store, into a folder of their own.")
    _write(folder, rows, "age", preprocessing, SEALED)
    return SealedTest.open(folder)


def _write(folder: Path, rows: Sequence[StoreRow], kind: Kind, preprocessing: PreprocessingConfig, part: str) -> None:
    if not rows:
        raise DataError(f"no scan is left for the {kind} store {folder}", "The ledger says why each was left out.")
    if folder.exists() and any(folder.iterdir()) and not (folder / STORE_FILE).is_file():
        raise StoreError(f"{folder} holds other files, so no store is written there", "Give another folder.")
    placed = _place(rows)
    with atomic_folder(folder) as partial:
        for shard in placed:
            _write_shard(partial, shard, kind, preprocessing)
        manifest = pd.DataFrame([_manifest_row(p) for shard in placed for p in shard])
        manifest.to_parquet(partial / MANIFEST_FILE, index=False)
        about = _about(partial, manifest, kind, preprocessing) | {"part": part}
        (partial / STORE_FILE).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class _Placed:
    row: StoreRow
    shard: int
    offset: int


def _place(rows: Sequence[StoreRow]) -> list[list[_Placed]]:
    """Sort the rows and fill shards with them, each split for itself."""
    shards: list[list[_Placed]] = []
    for split in SPLITS:
        number = count()
        used = SLICES_PER_SHARD
        for row in sorted((r for r in rows if r.split == split), key=_order):
            if used + row.prepared.n_slices > SLICES_PER_SHARD:
                shards.append([])
                shard, used = next(number), 0
            shards[-1].append(_Placed(row, shard, used))
            used += row.prepared.n_slices
    return shards


def _order(row: StoreRow) -> tuple[str, ...]:
    return (row.scan.cohort, row.scan.subject, row.scan.session, row.scan.image)


def _write_shard(folder: Path, shard: list[_Placed], kind: Kind, preprocessing: PreprocessingConfig) -> None:
    prepared = [p.row.prepared for p in shard]
    height, width = preprocessing.slice_shape
    channels = (len(MODALITIES),) if kind == "segmentation" else ()
    arrays = {
        "slices": np.concatenate([_load(p.images, p, (*channels, height, width)) for p in prepared]),
        "positions": np.concatenate([np.array(p.positions_mm, np.float32) / POSITION_UNIT_MM for p in prepared]),
    }
    if kind == "segmentation":
        arrays["labels"] = np.concatenate([_load(p.labels, p, (height, width)) for p in prepared])
    for name, array in arrays.items():
        path = folder / shard[0].row.split / f"{name}-{shard[0].shard:05d}.npy"
        path.parent.mkdir(exist_ok=True)
        with path.open("wb") as file:
            write_array(file, array)


def _load(path: Path | None, prepared: PreparedScan, shape: tuple[int, ...]) -> np.ndarray:
    if path is None:
        raise DataError(f"the prepared scan {prepared.key} has no labels", "It belongs in a store of kind age.")
    again = "Delete it and prepare the data again."
    try:
        array = map_array(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}", again) from error
    if array.shape != (prepared.n_slices, *shape):
        raise DataError(f"{path} has the shape {array.shape}, not {(prepared.n_slices, *shape)}", again)
    return np.asarray(array)


def _manifest_row(placed: _Placed) -> dict[str, Any]:
    scan, prepared = placed.row.scan, placed.row.prepared
    return {
        "cohort": scan.cohort,
        "subject": scan.subject,
        "person": scan.person,
        "session": scan.session,
        "image": scan.image,
        "age_years": float("nan") if scan.age_years is None else scan.age_years,
        "sex": scan.sex,
        "diagnosis": placed.row.diagnosis,
        "site": scan.site,
        "phase": scan.phase,
        "split": placed.row.split,
        "shard": placed.shard,
        "offset": placed.offset,
        "n_slices": prepared.n_slices,
        "sha256": prepared.sha256,
        "contents": " ".join(prepared.contents),
        "brain_volume_ml": prepared.brain_volume_ml,
        "snr": float("nan") if prepared.snr is None else prepared.snr,
        "template_dice": float("nan") if prepared.template_dice is None else prepared.template_dice,
        "steps": "; ".join(prepared.steps),
        "voxel_mm": float("nan") if prepared.voxel_mm is None else prepared.voxel_mm,
        "field_mm": float("nan") if prepared.field_mm is None else prepared.field_mm,
    }


def _about(folder: Path, manifest: pd.DataFrame, kind: Kind, preprocessing: PreprocessingConfig) -> dict[str, Any]:
    paths = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*.*"))}
    files = {name: {"bytes": path.stat().st_size, "sha256": sha256_of(path)} for name, path in paths.items()}
    content = {
        "schema_version": SCHEMA_VERSION,
        "kind": kind,
        "preprocessing": preprocessing.to_json(),
        "preprocessing_version": PREPROCESSING_VERSION,
    }
    # Of the manifest's rows, not its file: another version of pyarrow writes other bytes. No training depends on how a
    # scan was acquired, so stores of before these columns keep their hash.
    rows = manifest.drop(columns=list(ACQUIRED)).to_dict("records")
    arrays = {name: record["sha256"] for name, record in files.items() if name != MANIFEST_FILE}
    return {
        **content,
        "content_hash": digest(content | {"preprocessing": preprocessing.identity()}, arrays, rows),
        "made_with": {name: version(name) for name in ("nibabel", "numpy", "scipy")},
        "files": files,
    }
