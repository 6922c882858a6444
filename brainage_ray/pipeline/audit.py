"""`brainage audit`: is anybody where they may not be? Before preparation from the files, after it from the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from brainage_ray.config import Experiment
from brainage_ray.data import (
    Assignment,
    AuditReport,
    ContentCache,
    audit_manifest,
    images_of,
    leave_out,
    place_scans,
    read_exclusions,
    split_cases,
)
from brainage_ray.data.audit import LEAK_REASONS
from brainage_ray.execution import Cluster
from brainage_ray.pipeline.inputs import read_scans
from brainage_ray.pipeline.leaks import audit_table, imported_weights, left_out, settle
from brainage_ray.pipeline.prepare import LEDGER, open_prepared, store_folder
from brainage_ray.pipeline.progress import Progress, Silent
from brainage_ray.pipeline.session import Session, Tracking, make_tracker

CONTENTS = "contents.jsonl"
"""In the cache: content hashes of files that were read before."""


@dataclass(frozen=True)
class Audit:
    """A report and what it is of."""

    experiment: str
    source: str
    """The store, or the files of the sources where there is none yet."""
    rollover: str
    """The way out that the experiment names."""
    report: AuditReport


def audit_experiment(experiment: Experiment, workspace: Path, progress: Progress | None = None) -> Audit:
    """Look for leaks; nothing but the workspace's cache is touched.

    Where the store of these very inputs is there, its manifests are audited. Elsewhere every image that the
    experiment would use is read and hashed; what was hashed before is in the cache. Phantoms that are not there yet
    are made, in the cache, as a run would.

    Raises:
        MetadataError: a source cannot be read, or a label is unknown.
    """
    tracking = Tracking(make_tracker(experiment, workspace))
    session = Session(experiment, workspace, Cluster(), tracking, progress or Silent())
    scans = read_scans(session)
    rollover = experiment.data.split.rollover
    folder = store_folder(session, scans)
    if (folder / LEDGER).is_file():
        prepared = open_prepared(session, folder)
        report = replace(prepared.audit, left_out=_left_out(prepared.ledger))
        return Audit(experiment.name, f"the store {folder}", rollover, report)
    split = experiment.data.split
    people = [scan for scan in scans if scan.segmentation is None]
    cases = [scan for scan in scans if scan.segmentation is not None]
    placed: list[Assignment] = [
        *place_scans(people, split, experiment.data.label_map, experiment.training.diagnoses),
        *split_cases(cases, split.case_validation_fraction, split.seed),
    ]
    kept = leave_out(placed, read_exclusions(experiment.data.exclusions))
    return Audit(experiment.name, "the files of the sources", rollover, _audit_files(session, kept))


def _left_out(ledger: pd.DataFrame) -> dict[str, int]:
    reasons = ledger.loc[ledger["status"] == "excluded", "reason"]
    mine = reasons[reasons.str.startswith(LEAK_REASONS)].value_counts()
    return {str(reason): int(n) for reason, n in sorted(mine.items())}


def _audit_files(session: Session, placed: Sequence[Assignment]) -> AuditReport:
    used = [a for a in placed if a.split is not None]
    files = images_of([a.scan for a in used])
    session.progress.begin("hash images", len(files), "images")
    try:
        hashes = ContentCache(session.cache / CONTENTS).hash_all(files, session.progress.advance)
    finally:
        session.progress.end()
    # A scan of which one image cannot be read has no contents: it will fail in preparation.
    each = [[hashes[path] for path in images_of([a.scan])] for a in used]
    contents = [some if all(some) else [] for some in each]
    settled = settle(session.experiment, used, contents)
    report = audit_manifest(audit_table(settled, contents), imported_weights(session))
    return replace(report, left_out=left_out(used, settled))
