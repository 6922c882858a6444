"""Quality control: the page of all scans, and the scans that a person leaves out.

Test scans are looked at too, and that is on the record. A scan that is half empty must be found in every split, and
before any model is scored; but pictures of test scans are the test split, wherever they are read from. So the page
reads them through the store's one door, and each time that happens the ledger of the test split gets a line with the
model "quality control". The report tells these lines from the openings for models. With `test_images=False` the door
stays shut: the numbers of test scans, which preparation measured, are shown without pictures.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from brainage_ray.config import Experiment
from brainage_ray.config.base import digest
from brainage_ray.data import (
    MODALITIES,
    PREPROCESSING_VERSION,
    StoredSplit,
    TestLedger,
    atomic_write,
    make_exclusions,
    read_exclusions,
)
from brainage_ray.data.ledger import QUALITY_CONTROL
from brainage_ray.data.quality_table import rate_scans
from brainage_ray.errors import ConfigError
from brainage_ray.execution import Cluster
from brainage_ray.pipeline.evaluate import TEST_LEDGER
from brainage_ray.pipeline.prepare import Prepared, find_prepared, prepare
from brainage_ray.pipeline.progress import Progress, Silent
from brainage_ray.pipeline.session import Session, Tracking, make_tracker, open_session, save_experiment
from brainage_ray.report.qc_montage import MONTAGE_VERSION, montage
from brainage_ray.report.qc_page import THUMBNAILS, QcInputs, reasons, write_qc_page

ScanId = tuple[str, str]
"""Cohort and image."""

_NAME = re.compile(r"[0-9a-f]{16}\.webp")


@dataclass(frozen=True)
class QualityPage:
    """What was written, and what it shows."""

    page: Path
    """index.html."""
    scans: pd.DataFrame
    """What rate_scans returns, the thumbnail of each scan, and why it is where it is."""


def write_quality_page(
    experiment: Experiment,
    workspace: Path,
    out: Path | None = None,
    *,
    test_images: bool = True,
    address: str | None = None,
    progress: Progress | None = None,
) -> QualityPage:
    """Write the page of quality control; what is not prepared yet is prepared first.

    Args:
        experiment: whose scans.
        workspace: where it runs.
        out: folder of the page; default: qc in the experiment's folder.
        test_images: open the test split to show its images, which its ledger takes down.
        address: of a Ray cluster, for the preparation.
        progress: where bars are drawn.

    Raises:
        ConfigError: out is a file.
        BrainageError: the scans cannot be prepared.
    """
    progress = progress or Silent()
    folder = (workspace / experiment.name / "qc" if out is None else out).absolute()
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file", "Name a folder for the page: --out DIR.")
    exclusions = experiment.data.exclusions
    if exclusions is not None and make_exclusions(exclusions):
        progress.say(f"{exclusions} is new, and excludes nothing yet.")
    session = Session(experiment, workspace, Cluster(), Tracking(make_tracker(experiment, workspace)), progress)
    save_experiment(session)
    prepared = find_prepared(session) or _prepare(experiment, workspace, address, progress)
    cases = [] if prepared.segmentation is None else [prepared.segmentation.manifest]
    rated = rate_scans(pd.concat([prepared.manifest, *cases], ignore_index=True))
    names = _draw(session, prepared, folder / THUMBNAILS, test_images)
    scans = rated.assign(thumbnail=[names.get(scan, "") for scan in _ids(rated)], why=reasons(rated))
    return QualityPage(write_qc_page(_inputs(session, prepared, scans, test_images), folder), scans)


def _prepare(experiment: Experiment, workspace: Path, address: str | None, progress: Progress) -> Prepared:
    with open_session(experiment, workspace, address, progress) as session:
        return prepare(session)


def _inputs(session: Session, prepared: Prepared, scans: pd.DataFrame, test_images: bool) -> QcInputs:
    data = session.experiment.data
    excluded = [one.id for one in read_exclusions(data.exclusions)]
    default = session.workspace == Path("runs").absolute()
    where = [] if default else ["--workspace", str(session.workspace)]
    grid = data.preprocessing.slice_origin == "grid"
    return QcInputs(
        experiment=session.experiment.name,
        date=date.today().isoformat(),
        scans=scans,
        left_out=prepared.ledger[prepared.ledger["status"] != "done"],
        undo=excluded,
        command=["--experiment", session.experiment.name, *where],
        exclusions="" if data.exclusions is None else str(data.exclusions),
        order="from the bottom upwards" if grid else "from the top downwards",
        test_images=test_images,
    )


def _draw(session: Session, prepared: Prepared, folder: Path, test_images: bool) -> dict[ScanId, str]:
    """Draw the thumbnails that are not there yet, take away those that nobody asks for; return names by scan."""
    parts = _parts(session, prepared, test_images)
    settings = prepared.age.preprocessing.to_json()
    names = {
        scan: f"{digest(scan, sha256, settings, PREPROCESSING_VERSION, MONTAGE_VERSION)}.webp"
        for part in parts
        for scan, sha256 in zip(_ids(part.scans), part.scans["sha256"], strict=True)
    }
    folder.mkdir(parents=True, exist_ok=True)
    there = {path.name for path in folder.iterdir() if _NAME.fullmatch(path.name)}
    todo = {scan: name for scan, name in names.items() if name not in there}
    with session.bar("pictures", len(todo), "scans"):
        for part in parts:
            for scan, images in _slices(part, todo):
                with atomic_write(folder / todo[scan]) as file:
                    file.write(montage(images))
                session.progress.advance()
    for name in there - set(names.values()):
        (folder / name).unlink(missing_ok=True)
    return names


@dataclass(frozen=True)
class _Part:
    """One split of a store."""

    scans: pd.DataFrame
    open: Callable[[], StoredSplit]


def _parts(session: Session, prepared: Prepared, test_images: bool) -> list[_Part]:
    stores = [store for store in (prepared.age, prepared.segmentation) if store is not None]
    parts = [
        _Part(rows, partial(store.split, str(split)))
        for store in stores
        for split, rows in store.manifest.groupby("split", sort=False)
    ]
    if test_images:
        ledger = TestLedger(session.folder / TEST_LEDGER)
        parts.append(_Part(prepared.test.manifest, partial(prepared.test.unseal, ledger, QUALITY_CONTROL)))
    return parts


def _ids(scans: pd.DataFrame) -> list[ScanId]:
    return list(zip(scans["cohort"].astype(str), scans["image"].astype(str), strict=True))


def _slices(part: _Part, wanted: Collection[ScanId]) -> Iterator[tuple[ScanId, np.ndarray]]:
    """Yield cohort and image of the wanted scans of a split, and their T1 slices."""
    if not any(scan in wanted for scan in _ids(part.scans)):
        return  # above all: do not open the test split for nothing
    found = part.open()
    ids = _ids(found.scans)
    for i, scan in enumerate(ids):
        if scan in wanted:
            images = found.take(np.arange(len(ids)) == i).images()
            yield scan, images[:, MODALITIES.index("t1")] if images.ndim == 4 else images
