"""The slice store: float16 arrays that memory-map, and a manifest of the scans.

What searches, trains and pre-trains is given a SliceStore: its folder holds the splits train and validation, and
neither arrays nor names of anything else. The test split is a folder of its own, a SealedTest, with one door.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import ValidationError

from brainage_ray.config import PreprocessingConfig
from brainage_ray.data.files import sha256_of
from brainage_ray.data.ledger import TestLedger
from brainage_ray.data.safety import inside, map_array, read_parquet
from brainage_ray.data.splits import SPLITS
from brainage_ray.errors import LeakageError, StoreError

SCHEMA_VERSION = 2
"""Of the files' layout; a store with another number is refused. Since 2 the test split lies in a folder of its own."""
SEALED = "test"
"""Value of `part` in the store.json of a test split; "open" in that of all others."""

STORE_FILE = "store.json"
MANIFEST_FILE = "manifest.parquet"


POSITION_UNIT_MM = 100.0
"""Networks take numbers of about 1."""


@dataclass(frozen=True, eq=False)
class StoredSplit:
    """Slices of one split and whose they are.

    The shards one after the other hold the slices in the order of `slice_scan` and `slice_position`.
    """

    scans: pd.DataFrame
    """The manifest's rows of this split, index 0..n-1."""
    shards: tuple[np.ndarray, ...]
    """Memory maps, float16, slices x rows x columns; for segmentation slices x 4 x rows x columns."""
    label_shards: tuple[np.ndarray, ...]
    """Memory maps, uint8, slices x rows x columns, classes 0 to 3; none for age."""
    slice_scan: np.ndarray
    """int64, one a slice: its row of `scans`."""
    slice_position: np.ndarray
    """float32, one a slice: distance from slice_origin in units of POSITION_UNIT_MM."""

    def images(self) -> np.ndarray:
        """Return all slices in RAM: float16, as `shards`, concatenated."""
        return np.concatenate(self.shards)

    def labels(self) -> np.ndarray:
        """Return all label maps in RAM: uint8, slices x rows x columns; for segmentation only."""
        return np.concatenate(self.label_shards)

    def take(self, rows: np.ndarray) -> StoredSplit:
        """Return some scans only; nothing is read.

        Args:
            rows: booleans, one a scan.
        """
        rows = np.asarray(rows, dtype=bool)
        if rows.shape != (len(self.scans),):
            raise ValueError(f"rows has the shape {rows.shape}, but there are {len(self.scans)} scans")
        keep = rows[self.slice_scan]
        renumber = np.cumsum(rows) - 1
        return StoredSplit(
            scans=self.scans[rows].reset_index(drop=True),
            shards=_pieces(self.shards, keep),
            label_shards=_pieces(self.label_shards, keep),
            slice_scan=renumber[self.slice_scan[keep]],
            slice_position=self.slice_position[keep],
        )


@dataclass(frozen=True, eq=False)
class SliceStore:
    """A folder of slices; `open` reads the manifest alone, arrays are mapped when a split is asked for."""

    folder: Path
    """Where it lies."""
    kind: str
    """age or segmentation."""
    content_hash: str
    """16 hex digits; changes with a voxel, a setting, an age, a split."""
    preprocessing: PreprocessingConfig
    """How scans became slices."""
    manifest: pd.DataFrame
    """One row a scan, sorted by split, cohort, subject, session and image: cohort, subject, person, session, image,
    age_years (NaN where unknown), sex, diagnosis, site, phase, split, shard, offset and n_slices (where its slices
    are), sha256 (of the source's files), contents (hashes of what the images show, see data.contents, joined by a
    space), brain_volume_ml, snr (NaN where it cannot be told), template_dice (overlap of the brain's mask with the
    template's, NaN where the scan was not registered), steps (what was done to the scan, with versions, joined by
    "; "), and, but in older stores, voxel_mm and field_mm (see PreparedScan)."""
    checksums: Mapping[str, str]
    """SHA-256 of each file, by its path in the folder."""

    @classmethod
    def open(cls, folder: Path) -> SliceStore:
        """Open a store.

        Raises:
            LeakageError: the folder is a test split.
            StoreError: there is none, it is of another version, or a file is missing or of the wrong size.
            UnsafeFileError: it names a file outside its folder, or a file holds code or far more than it is.
        """
        about = _read_about(folder)
        if about["part"] == SEALED:
            raise _sealed(folder)
        return cls._read(folder, about)

    @classmethod
    def _read(cls, folder: Path, about: Mapping[str, Any]) -> SliceStore:
        for name, record in about["files"].items():
            path = inside(folder, name)
            if not path.is_file() or path.stat().st_size != record["bytes"]:
                raise StoreError(f"{path} is missing or not {record['bytes']} bytes long", _AGAIN)
        checksums = {name: record["sha256"] for name, record in about["files"].items()}
        if sha256_of(folder / MANIFEST_FILE) != checksums[MANIFEST_FILE]:
            raise StoreError(f"{folder / MANIFEST_FILE} was changed after the store was written", _AGAIN)
        return cls(
            folder=folder,
            kind=about["kind"],
            content_hash=about["content_hash"],
            preprocessing=_preprocessing(about, folder),
            manifest=_manifest(folder / MANIFEST_FILE),
            checksums=checksums,
        )

    def split(self, name: str) -> StoredSplit:
        """Map a split: train or validation.

        Raises:
            LeakageError: the test split is asked for.
            StoreError: there is no such split.
        """
        if name == SEALED:
            raise _sealed(self.folder)
        if name not in SPLITS:
            raise StoreError(f'{self.folder} has no split "{name}"', "There are train and validation.")
        return self._map(name)

    def verify(self) -> None:
        """Read every file and compare its checksum.

        Raises:
            StoreError: a file is not what was written.
        """
        for name, expected in self.checksums.items():
            if sha256_of(self.folder / name) != expected:
                raise StoreError(f"{self.folder / name} was changed after the store was written", _AGAIN)

    def _map(self, name: str) -> StoredSplit:
        scans = self.manifest[self.manifest["split"] == name].reset_index(drop=True)
        images = tuple(self._arrays(name, "slices"))
        empty = np.zeros((0, *self.preprocessing.slice_shape), np.float16)
        _check_counts(self.folder / MANIFEST_FILE, scans["n_slices"], sum(map(len, images)))
        if self.kind == "segmentation":
            labels = tuple(self._arrays(name, "labels")) or (empty.astype(np.uint8),)
            empty = np.zeros((0, 4, *self.preprocessing.slice_shape), np.float16)
        else:
            labels = ()
        return StoredSplit(
            scans=scans,
            shards=images or (empty,),
            label_shards=labels,
            slice_scan=np.repeat(np.arange(len(scans)), scans["n_slices"].to_numpy(dtype=np.int64)),
            slice_position=np.concatenate([np.zeros(0, np.float32), *self._arrays(name, "positions")]),
        )

    def _arrays(self, split: str, name: str) -> Iterator[np.ndarray]:
        for file in sorted(self.checksums):
            if file.startswith(f"{split}/{name}-"):
                try:
                    yield map_array(self.folder / file)
                except (ValueError, OSError) as error:
                    raise StoreError(f"{self.folder / file} cannot be read: {error}", _AGAIN) from error


@dataclass(frozen=True, eq=False)
class SealedTest:
    """The test split: who is in it is known, its slices are shown through one door."""

    _store: SliceStore

    @classmethod
    def open(cls, folder: Path) -> SealedTest:
        """Open the folder, without a look at a slice.

        Raises:
            StoreError: there is no test split, it is of another version, or a file is missing or of the wrong size.
        """
        about = _read_about(folder)
        if about["part"] != SEALED:
            raise StoreError(f"{folder} is a slice store for training, no test split", "Open it as a SliceStore.")
        return cls(SliceStore._read(folder, about))

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return self._store.folder

    @property
    def content_hash(self) -> str:
        """As that of a SliceStore."""
        return self._store.content_hash

    @property
    def manifest(self) -> pd.DataFrame:
        """One row a scan, as that of a SliceStore."""
        return self._store.manifest

    def unseal(self, ledger: TestLedger, model: str) -> StoredSplit:
        """Open the test split for a fitted model, and write down who did it, before anything is read.

        Args:
            ledger: takes the line.
            model: key of the fitted model that will be scored.
        """
        ledger.record(model, self.content_hash)
        return self._store._map(SEALED)

    def verify(self) -> None:
        """Read every file and compare its checksum, see SliceStore.verify."""
        self._store.verify()


_AGAIN = "The store is damaged: delete the folder and prepare the data again."


def _sealed(folder: Path) -> LeakageError:
    return LeakageError(
        f"the test split is sealed, and not for who holds {folder}",
        "Its one door is SealedTest.unseal(ledger, model), once for each fitted model.",
    )


def _read_about(folder: Path) -> dict[str, Any]:
    path = folder / STORE_FILE
    try:
        about = dict(json.loads(path.read_bytes()))
    except FileNotFoundError:
        raise StoreError(f"{folder} holds no slice store (no {STORE_FILE})", "Prepare the data first.") from None
    except (ValueError, TypeError, OSError) as error:
        raise StoreError(f"{path} cannot be read: {error}", _AGAIN) from error
    if (found := about.get("schema_version")) != SCHEMA_VERSION:
        problem = f"{folder} is a slice store of version {found}; this program reads version {SCHEMA_VERSION}"
        raise StoreError(problem, "Use the program that wrote it, or prepare the data again in another folder.")
    if missing := {"kind", "part", "content_hash", "preprocessing", "files"} - about.keys():
        raise StoreError(f"{path} lacks {', '.join(sorted(missing))}", _AGAIN)
    _check_about(path, about)
    return about


def _check_about(path: Path, about: Mapping[str, Any]) -> None:
    files = about["files"]
    listed = isinstance(files, dict) and MANIFEST_FILE in files
    if not listed or not all(isinstance(r, dict) and {"bytes", "sha256"} <= r.keys() for r in files.values()):
        raise StoreError(f"{path} does not say which files there are", _AGAIN)
    if about["kind"] not in ("age", "segmentation") or not isinstance(about["content_hash"], str):
        raise StoreError(f"{path} has the kind {about['kind']!r}, content {about['content_hash']!r}", _AGAIN)


def _manifest(path: Path) -> pd.DataFrame:
    try:
        found = read_parquet(path)
    except (ValueError, OSError) as error:
        raise StoreError(f"{path} cannot be read: {error}", _AGAIN) from error
    if missing := {"person", "age_years", "split", "n_slices"} - set(found.columns):
        raise StoreError(f"{path} has no column {', '.join(sorted(missing))}", _AGAIN)
    return found


def _check_counts(path: Path, n_slices: pd.Series, there: int) -> None:
    """Refuse counts that the arrays do not have: each scan's slices are counted out from them."""
    whole = pd.api.types.is_integer_dtype(n_slices)
    if len(n_slices) and not (whole and n_slices.min() >= 0 and sum(map(int, n_slices)) == there):
        raise StoreError(f"{path} counts other slices than the {there} that there are", _AGAIN)


def _preprocessing(about: Mapping[str, Any], folder: Path) -> PreprocessingConfig:
    try:
        return PreprocessingConfig.model_validate_json(json.dumps(about["preprocessing"]))
    except ValidationError as error:
        problem = f"{folder / STORE_FILE} has an unknown preprocessing: {' '.join(str(error).split())}"
        raise StoreError(problem, "Use the program that wrote it, or prepare the data again.") from error


def _pieces(shards: tuple[np.ndarray, ...], keep: np.ndarray) -> tuple[np.ndarray, ...]:
    """Cut the runs of wanted slices out of the shards, as views; one empty view where none is wanted."""
    pieces, start = [], 0
    for shard in shards:
        wanted = np.concatenate([[False], keep[start : start + len(shard)], [False]])
        edges = np.flatnonzero(wanted[1:] != wanted[:-1])
        pieces += [shard[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True)]
        start += len(shard)
    return tuple(pieces) or tuple(shard[:0] for shard in shards[:1])
