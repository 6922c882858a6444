"""What the sources of an experiment hold: scans, and inputs that had to be rejected."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Any

from brainage_ray.data import Found, Ledger, Scan, excuse, read_exclusions
from brainage_ray.data.files import stamp_of
from brainage_ray.data.sources import read_sources
from brainage_ray.errors import MetadataError
from brainage_ray.pipeline.checks import check_rejected, reject_unknown_labels
from brainage_ray.pipeline.progress import Progress
from brainage_ray.pipeline.session import Session

FAILED = "failed_scans.csv"
"""Beside the stores, where more inputs failed than may."""


def read_inputs(session: Session) -> Found:
    """Read all sources of the experiment and what it leaves out of them; phantoms are made on first use.

    Raises:
        MetadataError: a table or folder as a whole is not what its source expects, or the exclusions cannot be read.
    """
    data = session.experiment.data
    try:
        show = partial(_show_phantoms, session.progress)
        found = read_sources(data.sources, session.cache / "phantoms", show)
    finally:
        session.progress.end()
    return excuse(reject_unknown_labels(found, data.label_map), read_exclusions(data.exclusions))


def read_scans(session: Session) -> list[Scan]:
    """Return the scans of read_inputs, without what had to be rejected.

    Raises:
        MetadataError: as read_inputs.
    """
    return list(read_inputs(session).scans)


def _show_phantoms(progress: Progress, done: int, total: int) -> None:
    if done == 1:
        progress.begin("phantoms", total, "people")
    progress.advance()
    if done == total:
        progress.end()


def stop_at_rejected(session: Session, found: Found) -> None:
    """Stop before hours go into the scans where the sources alone reject more inputs than may fail.

    Raises:
        MetadataError: they do; all of them are in the file FAILED.
    """
    try:
        check_rejected(session.experiment, found)
    except MetadataError as error:
        Ledger((), found.rejected).write(session.folder / FAILED)
        raise MetadataError(error.problem, f"{error.fix} {listed_in(session)}") from None


def listed_in(session: Session) -> str:
    """Say where all that failed is listed."""
    return f"All are listed in {session.folder / FAILED}."


def fingerprint(scan: Scan) -> list[Any]:
    """Return what the source says of a scan, and what the disk says of its files, not where they lie."""
    about = asdict(scan) | {"files": sorted(scan.files), "segmentation": scan.segmentation is not None}
    paths = [*(scan.files[name] for name in sorted(scan.files)), *([scan.segmentation] if scan.segmentation else [])]
    return [about, [stamp_of(path) for path in paths]]
