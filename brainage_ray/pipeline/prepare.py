"""Stage 1: sources -> scans -> slices in a store, each input on the record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from brainage_ray.config.base import digest
from brainage_ray.data import (
    PREPROCESSING_VERSION,
    Assignment,
    Ledger,
    PreparedScan,
    Scan,
    SliceStore,
    StoreRow,
    assign_splits,
    check_exclusions,
    leave_out,
    prepare_scan,
    read_exclusions,
    read_ledger,
    split_cases,
    write_store,
)
from brainage_ray.data.sources import read_source
from brainage_ray.errors import DataError, NoSpaceError
from brainage_ray.execution import parallel_map
from brainage_ray.pipeline.checks import check_cohorts, require_scans
from brainage_ray.pipeline.progress import Progress
from brainage_ray.pipeline.session import Session

LEDGER = "ledger.parquet"
NAMED_FAILURES = 3


@dataclass(frozen=True)
class Prepared:
    """The stores that trainings read, and what became of every input."""

    age: SliceStore
    segmentation: SliceStore | None
    ledger: pd.DataFrame
    """One row an input: cohort, subject, session, image, status (done, failed, excluded), reason."""


def prepare(session: Session) -> Prepared:
    """Cut every scan that the experiment needs into slices, once.

    Raises:
        MetadataError: a source or the exclusions cannot be read, a label is unknown, or what is excluded is not there.
        ConfigError: a pre-training names a cohort that there is not.
        LeakageError: a person would be in training and in validation or test.
        DataError: more scans failed than data.max_failures, or a split has no scan that counts; the scans that
            could be prepared are kept.
    """
    scans = read_scans(session)
    check_cohorts(session.experiment, scans)
    folder = store_folder(session, scans)
    if not (folder / LEDGER).is_file() or _failures(folder) > session.experiment.data.max_failures:
        _prepare(session, scans, folder)
    prepared = open_prepared(folder)
    # Once more: scans may have failed, and evaluation.diagnoses may have changed since.
    manifest = prepared.age.manifest
    require_scans(session.experiment, zip(manifest["split"], manifest["diagnosis"], strict=True))
    return prepared


def _failures(folder: Path) -> int:
    return int((read_ledger(folder / LEDGER)["status"] == "failed").sum())


def read_scans(session: Session) -> list[Scan]:
    """Read all sources of the experiment; phantoms are made on first use.

    Raises:
        MetadataError: a table, XML or folder is not what its source expects.
    """
    scans: list[Scan] = []
    try:
        for source in session.experiment.data.sources:
            scans += read_source(source, session.cache / "phantoms", partial(_show_phantoms, session.progress))
    finally:
        session.progress.end()
    return scans


def _show_phantoms(progress: Progress, done: int, total: int) -> None:
    if done == 1:
        progress.begin("phantoms", total, "people")
    progress.advance()
    if done == total:
        progress.end()


def store_folder(session: Session, scans: Sequence[Scan]) -> Path:
    """Return the folder for these inputs: another one when a file, an age, a setting or an exclusion changes."""
    data = session.experiment.data
    inputs = [_fingerprint(scan) for scan in scans]
    settings = data.model_dump(mode="json", include={"preprocessing", "split", "label_map"})
    excluded = sorted([*one.id, one.reason] for one in read_exclusions(data.exclusions))
    key = digest(inputs, settings, session.experiment.training.diagnoses, PREPROCESSING_VERSION, excluded)
    return session.folder / "store" / key


def open_prepared(folder: Path) -> Prepared:
    """Open what was prepared.

    Raises:
        StoreError: it is damaged.
    """
    cases = folder / "segmentation"
    return Prepared(
        age=SliceStore.open(folder / "age"),
        segmentation=SliceStore.open(cases) if cases.is_dir() else None,
        ledger=read_ledger(folder / LEDGER),
    )


def assign(session: Session, scans: Sequence[Scan]) -> list[Assignment]:
    """Give every scan its split or the reason why it is left out.

    Raises:
        MetadataError: a label is unknown, or the exclusions name a scan that there is not.
        LeakageError: a person would be in training and in validation or test.
    """
    experiment = session.experiment
    excluded = read_exclusions(experiment.data.exclusions)
    check_exclusions(experiment.data.exclusions, excluded, scans)
    split = experiment.data.split
    people = [scan for scan in scans if scan.segmentation is None]
    cases = [scan for scan in scans if scan.segmentation is not None]
    assigned = assign_splits(people, split, experiment.data.label_map, experiment.training.diagnoses)
    return leave_out([*assigned, *split_cases(cases, split.case_validation_fraction, split.seed)], excluded)


def _prepare(session: Session, scans: Sequence[Scan], folder: Path) -> None:
    ledger = Ledger(scans)
    wanted = []
    assigned = assign(session, scans)
    require_scans(session.experiment, ((str(a.split), a.diagnosis) for a in assigned if a.scan.segmentation is None))
    for assignment in assigned:
        if assignment.split is None:
            ledger.record(assignment.scan, "excluded", assignment.reason)
        else:
            wanted.append(assignment)
    rows = _record(session, ledger, wanted, _cut(session, wanted))
    preprocessing = session.experiment.data.preprocessing
    age = [row for row in rows if row.scan.segmentation is None]
    cases = [row for row in rows if row.scan.segmentation is not None]
    write_store(folder / "age", age, "age", preprocessing)
    if cases:
        write_store(folder / "segmentation", cases, "segmentation", preprocessing)
    ledger.write(folder / LEDGER)  # last: a folder with a ledger is whole


def _cut(session: Session, wanted: Sequence[Assignment]) -> list[PreparedScan | Exception]:
    config, cache = session.experiment.data.preprocessing, session.cache / "scans"
    failed = 0

    def cut(scan: Scan) -> PreparedScan:
        return prepare_scan(scan, config, cache)

    def on_done(index: int, outcome: PreparedScan | Exception) -> None:
        nonlocal failed
        failed += isinstance(outcome, Exception)
        session.progress.advance(note=f"{failed} failed" if failed else "")

    with session.bar("prepare", len(wanted), "scans"):
        cpus = session.experiment.resources.cpus_per_scan
        return parallel_map(session.cluster, cut, [a.scan for a in wanted], on_done, cpus)


def _record(
    session: Session, ledger: Ledger, wanted: Sequence[Assignment], outcomes: Sequence[PreparedScan | Exception]
) -> list[StoreRow]:
    rows, failures = [], []
    for assignment, outcome in zip(wanted, outcomes, strict=True):
        if isinstance(outcome, NoSpaceError):
            raise outcome
        if isinstance(outcome, Exception):
            ledger.record(assignment.scan, "failed", str(outcome))
            failures.append(outcome)
        else:
            ledger.record(assignment.scan, "done")
            rows.append(StoreRow(assignment.scan, outcome, str(assignment.split), assignment.diagnosis))
    allowed = session.experiment.data.max_failures
    if len(failures) > allowed:
        ledger.write(session.folder / "failed_scans.csv")
        named = "; ".join(str(failure) for failure in failures[:NAMED_FAILURES])
        more = f"; and {len(failures) - NAMED_FAILURES} more" if len(failures) > NAMED_FAILURES else ""
        raise DataError(
            f"{len(failures)} of {len(wanted)} scans could not be prepared: {named}{more}",
            f"The others are kept. Replace the scans, or allow that many: --set data.max_failures={len(failures)}. "
            f"All are listed in {session.folder / 'failed_scans.csv'}.",
        )
    return rows


def _fingerprint(scan: Scan) -> list[Any]:
    """What the source says of a scan, and what the disk says of its files; not where they lie."""
    about = asdict(scan) | {"files": sorted(scan.files), "segmentation": scan.segmentation is not None}
    paths = [*(scan.files[name] for name in sorted(scan.files)), *([scan.segmentation] if scan.segmentation else [])]
    return [about, [_stamp(path) for path in paths]]


def _stamp(path: Path) -> list[int]:
    try:
        found = path.stat()
    except OSError:
        return []
    return [found.st_size, found.st_mtime_ns]
