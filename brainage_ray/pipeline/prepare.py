"""Stage 1: sources -> scans -> slices in a store, each input on the record."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import pandas as pd

from brainage_ray.config.base import digest
from brainage_ray.data import (
    PREPROCESSING_VERSION,
    SCHEMA_VERSION,
    Assignment,
    AuditReport,
    Found,
    Ledger,
    PreparedScan,
    Rejected,
    Scan,
    SealedTest,
    SliceStore,
    StoreRow,
    assign_splits,
    audit_manifest,
    check_exclusions,
    leave_out,
    prepare_on_node,
    read_exclusions,
    read_ledger,
    remove_partials,
    sharing,
    split_cases,
    write_store,
    write_test,
)
from brainage_ray.data.anatomy import anatomy_steps
from brainage_ray.data.node_files import adopt, bring_rest, send_now
from brainage_ray.data.sources import phantoms_missing
from brainage_ray.errors import DataError, NoSpaceError
from brainage_ray.execution import MEMORY_SETTING, parallel_map
from brainage_ray.pipeline.checks import (
    check_cohorts,
    first_of,
    require_scans,
)
from brainage_ray.pipeline.inputs import FAILED, fingerprint, listed_in, read_inputs, read_scans, stop_at_rejected
from brainage_ray.pipeline.leaks import audit_table, check_leaks, imported_weights, manifest_table, settle
from brainage_ray.pipeline.session import Session

LEDGER = "ledger.parquet"
AGE, TEST = "age", "test"
"""Folders of the store: what trainings are given, and what only the evaluation opens."""


@dataclass(frozen=True)
class Prepared:
    """The stores that trainings read, and what became of every input."""

    age: SliceStore
    """Train and validation."""
    test: SealedTest
    """In a folder of its own, of which no training is told."""
    segmentation: SliceStore | None
    ledger: pd.DataFrame
    """One row an input: cohort, subject, session, image, status (done, failed, excluded), reason."""
    audit: AuditReport
    """Of all of them and of the weights that the experiment imports."""

    @property
    def manifest(self) -> pd.DataFrame:
        """The brain-age scans of all splits, as SliceStore.manifest."""
        return pd.concat([self.age.manifest, self.test.manifest], ignore_index=True)

    @property
    def data_hash(self) -> str:
        """Of the brain-age scans of all splits."""
        return digest(self.age.content_hash, self.test.content_hash)


def prepare(session: Session) -> Prepared:
    """Cut every scan that the experiment needs into slices, once.

    Raises:
        MetadataError: a source or the exclusions cannot be read, what is excluded is not there, or the sources
            reject more inputs than data.max_failures.
        ConfigError: a pre-training names a cohort, or the preprocessing a template, that there is not.
        EngineError: a package or a program that a step of the preprocessing needs is not installed.
        LeakageError: a person or an image would be where it may not be, see pipeline.leaks.
        DataError: more inputs failed than data.max_failures, or a split has no scan that counts; the scans that
            could be prepared are kept.
        NoSpaceError: the disk is full; the scans that could be prepared are kept.
    """
    found = read_inputs(session)
    stop_at_rejected(session, found)
    check_cohorts(session.experiment, found.scans)
    folder = store_folder(session, found.scans)
    if not _is_prepared(session, folder, found):
        _prepare(session, found, folder)
    prepared = open_prepared(session, folder)
    check_leaks(session.experiment, prepared.audit)  # imported weights may have changed since
    # Once more: evaluation.diagnoses may have changed since.
    manifest = prepared.manifest
    require_scans(session.experiment, zip(manifest["split"], manifest["diagnosis"], strict=True))
    return prepared


def _is_prepared(session: Session, folder: Path, found: Found) -> bool:
    """Tell whether the folder's ledger accounts for what is no scan today, and allows for its failures.

    What failed for want of memory is no fault of the scan: with more of it, or on another machine, it may be done.
    """
    if not (folder / LEDGER).is_file():
        return False
    ledger = read_ledger(folder / LEDGER)
    failed, excluded = (ledger[ledger["status"] == name].drop(columns="status") for name in ("failed", "excluded"))
    scans = {(scan.cohort, scan.image) for scan in found.scans}
    told = _tells_of(found.rejected, failed, scans) and _tells_of(found.excluded, excluded, scans)
    fair = not failed["reason"].str.contains(MEMORY_SETTING, regex=False).any()
    return told and fair and len(failed) <= session.experiment.data.max_failures


def _tells_of(inputs: Sequence[Rejected], ledger: pd.DataFrame, scans: set[tuple[str, str]]) -> bool:
    """Tell whether these inputs are lines of a part of the ledger, and all its other lines are of scans."""
    lines = set(ledger.itertuples(index=False, name=None))
    told = {astuple(one) for one in inputs}
    return told <= lines and all((line[0], line[3]) in scans for line in lines - told)


def store_folder(session: Session, scans: Sequence[Scan]) -> Path:
    """Return the folder for these inputs: another one when a file, an age, a setting, a step or an exclusion changes.

    Raises:
        ConfigError: there is no such template.
        EngineError: a package or a program that a step of the preprocessing needs is not installed.
    """
    data = session.experiment.data
    inputs = [fingerprint(scan) for scan in scans]
    settings = data.model_dump(mode="json", include={"split", "label_map"})
    excluded = sorted([*one.id, one.reason] for one in read_exclusions(data.exclusions))
    diagnoses = session.experiment.training.diagnoses
    made = [data.preprocessing.identity(), anatomy_steps(data.preprocessing), PREPROCESSING_VERSION, SCHEMA_VERSION]
    key = digest(inputs, settings, diagnoses, made, excluded)
    return session.folder / "store" / key


def open_prepared(session: Session, folder: Path) -> Prepared:
    """Open what was prepared.

    Raises:
        StoreError: it is damaged.
    """
    cases = folder / "segmentation"
    age, test = SliceStore.open(folder / AGE), SealedTest.open(folder / TEST)
    segmentation = SliceStore.open(cases) if cases.is_dir() else None
    table = manifest_table([age.manifest, test.manifest], [segmentation.manifest] if segmentation else [])
    audit = audit_manifest(table, imported_weights(session))
    return Prepared(age, test, segmentation, read_ledger(folder / LEDGER), audit)


def find_prepared(session: Session) -> Prepared | None:
    """Open what these very inputs were prepared to, or return None; without a lock, so also while a search runs.

    Raises:
        MetadataError: a source cannot be read.
        StoreError: the store is damaged.
    """
    sources = session.experiment.data.sources
    if not (session.folder / "store").is_dir() or phantoms_missing(sources, session.cache / "phantoms"):
        return None  # reading the sources would make phantoms
    folder = store_folder(session, read_scans(session))
    return open_prepared(session, folder) if (folder / LEDGER).is_file() else None


def assign(session: Session, found: Found) -> list[Assignment]:
    """Give every scan its split or the reason why it is left out.

    Raises:
        MetadataError: a label is unknown, or the exclusions name a scan that there is not.
        LeakageError: a person would be in training and in validation or test.
    """
    experiment = session.experiment
    excluded = read_exclusions(experiment.data.exclusions)
    check_exclusions(experiment.data.exclusions, excluded, found)
    split = experiment.data.split
    people = [scan for scan in found.scans if scan.segmentation is None]
    cases = [scan for scan in found.scans if scan.segmentation is not None]
    assigned = assign_splits(people, split, experiment.data.label_map, experiment.training.diagnoses)
    assigned += split_cases(cases, split.case_validation_fraction, split.seed)
    # Nobody moves to another split by an exclusion, and no leak is seen in what is left out.
    return settle(experiment, leave_out(assigned, excluded))


def _prepare(session: Session, found: Found, folder: Path) -> None:
    ledger = Ledger(found.scans, found.rejected, found.excluded)
    wanted = []
    assigned = assign(session, found)
    require_scans(session.experiment, ((str(a.split), a.diagnosis) for a in assigned if a.scan.segmentation is None))
    check_leaks(session.experiment, audit_manifest(audit_table(assigned), imported_weights(session)))
    for assignment in assigned:
        if assignment.split is None:
            ledger.record(assignment.scan, "excluded", assignment.reason)
        else:
            wanted.append(assignment)
    outcomes = _cut(session, wanted)
    contents = [outcome.contents if isinstance(outcome, PreparedScan) else () for outcome in outcomes]
    settled = settle(session.experiment, wanted, contents)
    rows = _record(session, ledger, settled, outcomes)
    done = [(a, c) for a, c, o in zip(settled, contents, outcomes, strict=True) if isinstance(o, PreparedScan)]
    check_leaks(session.experiment, audit_manifest(audit_table([a for a, _ in done], [c for _, c in done])))
    require_scans(session.experiment, ((row.split, row.diagnosis) for row in rows if row.scan.segmentation is None))
    preprocessing = session.experiment.data.preprocessing
    age = [row for row in rows if row.scan.segmentation is None]
    cases = [row for row in rows if row.scan.segmentation is not None]
    (folder / LEDGER).unlink(missing_ok=True)  # of what is replaced now: a folder with a ledger is whole
    remove_partials(folder)
    write_store(folder / AGE, [row for row in age if row.split != "test"], "age", preprocessing)
    write_test(folder / TEST, [row for row in age if row.split == "test"], preprocessing)
    if cases:
        write_store(folder / "segmentation", cases, "segmentation", preprocessing)
    ledger.write(folder / LEDGER)  # last
    (session.folder / FAILED).unlink(missing_ok=True)  # of an earlier try


def _cut(session: Session, wanted: Sequence[Assignment]) -> list[PreparedScan | Exception]:
    config, cache = session.experiment.data.preprocessing, session.cache / "scans"
    bring_rest(cache)
    send_now()
    failed, begun_at = 0, time.time()

    def cut(scan: Scan) -> PreparedScan:
        return prepare_on_node(scan, config, cache)

    def on_done(index: int, outcome: PreparedScan | Exception) -> None:
        nonlocal failed
        if isinstance(outcome, NoSpaceError):
            raise outcome  # nor is there room for the others
        if isinstance(outcome, PreparedScan):
            adopt(outcome.images.parent / outcome.key)
        failed += isinstance(outcome, Exception)
        earlier = isinstance(outcome, PreparedScan) and outcome.images.stat().st_mtime < begun_at
        move = session.progress.skip if earlier else session.progress.advance
        move(note=f"{failed} failed" if failed else "")

    with session.bar("prepare", len(wanted), "scans"), sharing(cache):
        held = session.experiment.resources
        scans = [a.scan for a in wanted]
        return parallel_map(session.cluster, cut, scans, on_done, held.cpus_per_scan, held.memory_gib_per_scan)


def _record(
    session: Session, ledger: Ledger, wanted: Sequence[Assignment], outcomes: Sequence[PreparedScan | Exception]
) -> list[StoreRow]:
    rows = []
    for assignment, outcome in zip(wanted, outcomes, strict=True):
        if isinstance(outcome, Exception):
            ledger.record(assignment.scan, "failed", str(outcome) or type(outcome).__name__)
        elif assignment.split is None:
            ledger.record(assignment.scan, "excluded", assignment.reason)
        else:
            ledger.record(assignment.scan, "done", assignment.scan.note)
            rows.append(StoreRow(assignment.scan, outcome, str(assignment.split), assignment.diagnosis))
    _check_failures(session, ledger)
    return rows


def _check_failures(session: Session, ledger: Ledger) -> None:
    """Stop where more inputs failed than may, those that the sources rejected among them."""
    counts, table = ledger.counts(), ledger.table()
    if counts["failed"] > session.experiment.data.max_failures:
        ledger.write(session.folder / FAILED)
        tried = counts["inputs"] - counts["excluded"]
        reasons = table.loc[table["status"] == "failed", "reason"]
        raise DataError(
            f"{counts['failed']} of {tried} scans could not be prepared: {first_of(reasons)}",
            "The others are kept. Replace the scans, or allow that many: "
            f"--set data.max_failures={counts['failed']}. {listed_in(session)}",
        )
