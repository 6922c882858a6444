"""A scan becomes cached slices: file to file, repeatable, safe to kill and to run twice at once."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from brainage_ray.config import PreprocessingConfig
from brainage_ray.config.base import digest
from brainage_ray.data.contents import contents_of
from brainage_ray.data.files import atomic_write, sha256_of, write_array
from brainage_ray.data.node_files import bring_files, here, send_files
from brainage_ray.data.preprocessing import PREPROCESSING_VERSION, Slices, preprocess_scan, preprocessing_steps
from brainage_ray.data.scan import Scan
from brainage_ray.errors import DataError


@dataclass(frozen=True)
class PreparedScan:
    """The slices of one scan, on disk."""

    key: str
    """Content key: of the files' bytes, the preprocessing and its version; 16 hex digits."""
    images: Path
    """npy, float16: n x rows x columns, for segmentation n x 4 x rows x columns."""
    labels: Path | None
    """npy, uint8: n x rows x columns; None for age."""
    positions_mm: tuple[float, ...]
    """Distance of each slice from slice_origin, mm."""
    n_slices: int
    """How many slices."""
    sha256: str
    """Of the source's files, 64 hex digits; of the file itself where there is one."""
    brain_volume_ml: float
    """Of the brain mask, ml."""
    contents: tuple[str, ...] = ()
    """Of each image in the order of its modality's name: hash of what it shows, see data.contents."""
    snr: float | None = None
    """Signal-to-noise ratio in the brain; None where it cannot be told."""
    template_dice: float | None = None
    """Overlap of the brain's mask with the template's; None where the scan was not registered."""
    steps: tuple[str, ...] = ()
    """What was done to the scan, each step with its version."""
    voxel_mm: float | None = None
    """Longest edge of the voxels as they were acquired, mm; None where an older version did not note it."""
    field_mm: float | None = None
    """Shortest side of the field of view, mm; None as voxel_mm."""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self) | {"images": str(self.images), "labels": str(self.labels) if self.labels else None}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> PreparedScan:
        """Return what `to_json` was made from."""
        labels = Path(data["labels"]) if data["labels"] else None
        paths = {"images": Path(data["images"]), "labels": labels, "positions_mm": tuple(data["positions_mm"])}
        paths |= {name: tuple(data[name]) for name in ("contents", "steps")}
        return cls(**{**data, **paths})


def prepare_scan(scan: Scan, config: PreprocessingConfig, cache: Path) -> PreparedScan:
    """Preprocess a scan, or find it in the cache by its content.

    The arrays are written first and the JSON file last, each under another name and then renamed: where there is a
    JSON file, there are whole arrays.

    Args:
        scan: where the files lie.
        config: how they become slices.
        cache: folder of prepared scans; shared by all experiments.

    Raises:
        DataError: a file of the scan cannot be used; it is named with the fix.
        EngineError: a package or a program that a step needs is not installed.
        NoSpaceError: the disk of the cache is full.
    """
    sha256 = _sha256(scan)
    labels = [scan.label_classes] if scan.label_classes else []
    steps = preprocessing_steps(scan, config)
    key = digest(sha256, scan.segmentation is not None, config.identity(), PREPROCESSING_VERSION, steps, *labels)
    stem = cache / key[:2] / key
    if (found := _find(stem)) is not None:
        return found
    slices = preprocess_scan(scan, config)  # first: it says in words what is wrong with a file
    return _write(stem, slices, {"sha256": sha256, "contents": list(contents_of(scan)), "steps": list(steps)})


def prepare_on_node(scan: Scan, config: PreprocessingConfig, cache: Path) -> PreparedScan:
    """Preprocess a scan as prepare_scan does, on whatever node, for the driver's cache.

    Where the workspace is at a URI, files of the scan that lie in it are brought, and what is made is sent there.
    """
    names = sorted(scan.files)
    paths = [*(scan.files[name] for name in names), *([scan.segmentation] if scan.segmentation else [])]
    brought = bring_files(paths)
    local = replace(
        scan,
        files=dict(zip(names, brought, strict=False)),
        segmentation=brought[-1] if scan.segmentation else None,
    )
    done = prepare_scan(local, config, here(cache))
    made = [done.images, *([done.labels] if done.labels else []), done.images.with_name(f"{done.key}.json")]
    there = send_files(cache / done.key[:2] / done.key, made)
    return replace(done, images=there[0], labels=there[1] if done.labels else None)


def _sha256(scan: Scan) -> str:
    files = dict(scan.files) | ({"segmentation": scan.segmentation} if scan.segmentation else {})
    try:
        sums = {name: sha256_of(path) for name, path in sorted(files.items())}
    except OSError as error:
        problem = f"{error.filename} of {scan.cohort} {scan.subject} cannot be read: {error.strerror}"
        raise DataError(problem, "Correct the path in the source's table or folder.") from error
    return next(iter(sums.values())) if len(sums) == 1 else _combine(sums)


def _combine(sums: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(sums, sort_keys=True).encode()).hexdigest()


def _find(stem: Path) -> PreparedScan | None:
    try:
        data = json.loads(stem.with_suffix(".json").read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    if not {"contents", "steps", "voxel_mm"} <= data.keys():  # of a version before there were any
        return None
    found = _scan(stem, data)
    paths = [found.images, *([found.labels] if found.labels else [])]
    whole = all(path.is_file() and path.stat().st_size == data["bytes"][path.name] for path in paths)
    return found if whole else None


def _write(stem: Path, slices: Slices, known: Mapping[str, Any]) -> PreparedScan:
    arrays = {"images": slices.images, "labels": slices.labels}
    sizes = {}
    for name, array in arrays.items():
        if array is not None:
            path = stem.with_suffix(f".{name}.npy")
            with atomic_write(path) as file:
                write_array(file, array)
            sizes[path.name] = path.stat().st_size
    data = {
        "positions_mm": [float(mm) for mm in slices.positions_mm],
        "n_slices": len(slices.images),
        "brain_volume_ml": slices.brain_volume_ml,
        "snr": None if math.isnan(slices.snr) else slices.snr,
        "template_dice": None if math.isnan(slices.template_dice) else slices.template_dice,
        "voxel_mm": slices.voxel_mm,
        "field_mm": slices.field_mm,
        **known,
        "bytes": sizes,
    }
    with atomic_write(stem.with_suffix(".json")) as file:
        file.write(json.dumps(data).encode())
    return _scan(stem, data)


def _scan(stem: Path, data: Mapping[str, Any]) -> PreparedScan:
    labels = stem.with_suffix(".labels.npy")
    return PreparedScan(
        key=stem.name,
        images=stem.with_suffix(".images.npy"),
        labels=labels if labels.name in data["bytes"] else None,
        positions_mm=tuple(data["positions_mm"]),
        n_slices=data["n_slices"],
        sha256=data["sha256"],
        brain_volume_ml=data["brain_volume_ml"],
        contents=tuple(data["contents"]),
        snr=data["snr"],
        template_dice=data["template_dice"],
        steps=tuple(data["steps"]),
        voxel_mm=data["voxel_mm"],
        field_mm=data["field_mm"],
    )
