"""The pages of prediction: one a scan, and one that lists them all."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brainage_ray import __version__
from brainage_ray.config.base import digest
from brainage_ray.data import StoredSplit, atomic_write
from brainage_ray.errors import ConfigError, EngineError
from brainage_ray.pipeline.judge import SliceReading
from brainage_ray.pipeline.model_folder import ModelFolder
from brainage_ray.pipeline.reference import Reference
from brainage_ray.report.qc_montage import montage, positions
from brainage_ray.report.saliency_montage import saliency_montage

if TYPE_CHECKING:
    from brainage_ray.pipeline.ensemble import Ensemble

PICTURES = ".pictures.json"
"""Ending of the file that keeps what was drawn of a scan."""
_KEY_BYTES = 400
"""Of the head of a page, where its key stands."""


class ScanPages:
    """A folder of pages, which grows scan by scan.

    Args:
        folder: for index.html and the pages.
        described: the model.
        reference: what is known of the scans that it saw.

    Raises:
        ConfigError: the folder is a file.
    """

    def __init__(self, folder: Path, described: ModelFolder, reference: Reference | None) -> None:
        if folder.exists() and not folder.is_dir():
            raise ConfigError(f"--html {folder} is a file", "Name a folder for the pages.")
        self._folder, self._described, self._reference = folder, described, reference
        self._rows: list[dict[str, Any]] = []

    def draw(self, path: Path, split: StoredSplit, ensemble: Ensemble) -> None:
        """Draw the slices of one scan, and what made them look older or younger, and keep it at a path."""
        images = np.asarray(split.images(), dtype=np.float32)
        pictures = {"plain": _text(montage(images)), "overlay": "", "full_years": 0.0}
        with suppress(EngineError):  # without Captum the slices alone are shown
            overlay, full = saliency_montage(images, ensemble.attributions(_shown(split)))
            pictures |= {"overlay": _text(overlay), "full_years": full}
        with atomic_write(path) as file:
            file.write(json.dumps(pictures).encode())

    def write(self, number: int, row: Mapping[str, Any], reading: SliceReading, pictures: Path) -> None:
        """Write the page of a scan, unless it is there already."""
        from brainage_ray.report.scan_page import PAGE_VERSION, Pictures, ScanPage, scan_html

        name = Path(row["image"]).name
        stem = re.sub(r"[^\w.-]+", "_", re.sub(r"\.(nii|mgh|mgz)(\.gz)?$", "", name)) or "scan"
        path = self._folder / f"{number + 1:04d}-{stem}.html"
        self._rows.append({**row, "page": path.name, "name": name})
        known = self._reference.to_json() if self._reference else {}
        content = pictures.read_bytes()
        key = digest(
            PAGE_VERSION, __version__, dict(row), asdict(reading), known, self._described.to_json(), content.decode()
        )
        if _has_key(path, key):
            return
        page = ScanPage(
            key=key, name=name, row=row, slice_years=reading.years, positions_mm=reading.positions_mm,
            pictures=Pictures(**json.loads(content)), ranges=self._reference.ranges if self._reference else {},
            cohort=self._reference.cohort if self._reference else (), made=self._made(), order=self._order(),
        )  # fmt: skip
        with atomic_write(path) as file:
            file.write(scan_html(page).encode())

    def note(self, row: Mapping[str, Any]) -> None:
        """List a scan that has no page."""
        self._rows.append({**row, "page": "", "name": Path(row["image"]).name})

    def finish(self) -> None:
        """Write index.html."""
        from brainage_ray.report.scan_page import index_html

        about = self._described
        with atomic_write(self._folder / "index.html") as file:
            file.write(index_html(f"{about.experiment}/{about.arm}", self._rows).encode())

    def _made(self) -> list[tuple[str, str]]:
        about = self._described
        seeds = ", ".join(str(member.seed) for member in about.members)
        return [("Model", f"{about.experiment}/{about.arm}"), ("seeds", seeds), ("commit", about.commit or "unknown"),
                ("data", about.data_hash), ("brainage_ray", __version__)]  # fmt: skip

    def _order(self) -> str:
        grid = self._described.preprocessing.slice_origin == "grid"
        return "from the bottom upwards" if grid else "from the top downwards"


def _shown(split: StoredSplit) -> StoredSplit:
    """Return the slices of one scan that a montage shows."""
    rows = positions(len(split.slice_scan))
    return StoredSplit(split.scans, (split.images()[rows],), (), split.slice_scan[rows], split.slice_position[rows])


def _text(picture: bytes) -> str:
    return base64.b64encode(picture).decode()


def _has_key(path: Path, key: str) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return f'content="{key}"'.encode() in file.read(_KEY_BYTES)
