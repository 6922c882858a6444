"""Leaks in an experiment's data: what is audited, what exclude_from_training leaves out, what stops a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import pandas as pd

from brainage_ray.config.experiment import Experiment
from brainage_ray.data import (
    Assignment,
    AuditReport,
    Finding,
    Weights,
    read_provenance,
    reasons_to_leave_out,
    trained_on,
)
from brainage_ray.data.audit_index import COLUMNS
from brainage_ray.errors import LeakageError
from brainage_ray.pipeline.imported import ENCODER, import_nodes, imported_folder, known_of
from brainage_ray.pipeline.session import Session

NAMED = 5
_WAYS_OUT = (
    "See all of it: brainage audit EXPERIMENT. Then set data.split.rollover: exclude_from_training to drop the "
    "training scans and cases concerned, or as_published to keep them and have every table say so."
)
_WEIGHTS = "Take other weights, or set data.split.rollover: as_published to have every table say so."
_NAMES = "Correct the name or the split of one of them: no setting allows this."


def audit_table(assignments: Sequence[Assignment], contents: Sequence[Sequence[str]] = ()) -> pd.DataFrame:
    """Return the table that the audit reads, of the scans that have a split; its index counts the assignments.

    Args:
        assignments: of scans of brain-age cohorts, and of segmentation cases.
        contents: content hashes of the images of each; none: unknown.
    """
    joined = [" ".join(some) for some in contents] or [""] * len(assignments)
    rows = {
        i: ("age" if a.scan.segmentation is None else "pretraining", a.scan.cohort, a.scan.subject, a.scan.person,
            a.scan.image, a.split, joined[i])
        for i, a in enumerate(assignments) if a.split is not None
    }  # fmt: skip
    return pd.DataFrame(list(rows.values()), index=list(rows), columns=list(COLUMNS))


def manifest_table(age: Iterable[pd.DataFrame], cases: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Return the table that the audit reads, of the manifests of stores."""
    parts = [*(part.assign(use="age") for part in age), *(part.assign(use="pretraining") for part in cases)]
    return pd.concat(parts, ignore_index=True)[list(COLUMNS)]


def settle(
    experiment: Experiment, assignments: Sequence[Assignment], contents: Sequence[Sequence[str]] = ()
) -> list[Assignment]:
    """Leave out what exclude_from_training says; nothing where the experiment says otherwise.

    Args:
        experiment: names the way out.
        assignments: as the rule has them.
        contents: as in audit_table.
    """
    if experiment.data.split.rollover != "exclude_from_training":
        return list(assignments)
    reasons = reasons_to_leave_out(audit_table(assignments, contents))
    return [
        replace(a, split=None, reason=reasons[i]) if i in reasons.index and reasons[i] else a
        for i, a in enumerate(assignments)
    ]


def left_out(before: Sequence[Assignment], after: Sequence[Assignment]) -> Mapping[str, int]:
    """Count the scans that `settle` took away, by reason."""
    pairs = zip(before, after, strict=True)
    return dict(Counter(b.reason for a, b in pairs if a.split is not None and b.split is None))


def check_leaks(experiment: Experiment, report: AuditReport) -> None:
    """Refuse to go on with a leak that the experiment does not allow by name.

    Raises:
        LeakageError: naming some of those concerned and the ways out.
    """
    leaks = _leaks(report)
    if chosen_and_tested := _chosen_and_tested(leaks):
        raise LeakageError(f"Somebody validates and tests: {_listed(chosen_and_tested)}", _NAMES)
    if not leaks or experiment.data.split.rollover == "as_published":
        return
    total = ", ".join(f"{kind} ({n})" for kind, n in report.counts.items() if any(f.kind == kind for f in leaks))
    raise LeakageError(f"The data leak: {total}: {_listed(leaks)}", _WEIGHTS if _only_in_weights(leaks) else _WAYS_OUT)


def what_a_run_does(rollover: str, report: AuditReport) -> str:
    """Say whether a run goes on with these leaks, and the ways out that it takes; empty where nothing leaks.

    Args:
        rollover: the way out that the experiment names, which the report has settled already.
        report: what leaks all the same.
    """
    leaks = _leaks(report)
    if not leaks:
        return ""
    if _chosen_and_tested(leaks):
        return f"A run refuses to start, for somebody validates and tests. {_NAMES}"
    if rollover == "as_published":
        return "data.split.rollover is as_published: a run goes on, and marks each of its tables."
    if _only_in_weights(leaks):
        return f"A run refuses to start. {_WEIGHTS}"
    return "A run refuses to start. Ways out: data.split.rollover: exclude_from_training, or as_published."


def _leaks(report: AuditReport) -> list[Finding]:
    return [finding for finding in report.findings if finding.leak]


def _chosen_and_tested(leaks: Iterable[Finding]) -> list[Finding]:
    return [finding for finding in leaks if {"validation", "test"} <= set(finding.places)]


def _only_in_weights(leaks: Iterable[Finding]) -> bool:
    return all(finding.kind == "test person in imported weights" for finding in leaks)


def imported_weights(session: Session) -> list[Weights]:
    """Return the weights that the experiment imports, with what is known of whom they were trained on."""
    found = {}
    for node, config in import_nodes(session):
        stage = node.chain[-1]
        ours = read_provenance(imported_folder(session, config, node) / ENCODER)
        known = known_of(session, config) or ([ours] if ours else [])
        found[stage] = trained_on(known[0].experiment, (), (), *known) if known else None
    return [Weights(stage, known) for stage, known in found.items()]


def _listed(findings: Sequence[Finding]) -> str:
    named = []
    for finding in findings[:NAMED]:
        scans = f": {', '.join(finding.scans[:NAMED])}" if finding.scans else ""
        named.append(f"{' and '.join(finding.people[:NAMED])} ({', '.join(finding.places)}{scans})")
    more = len(findings) - NAMED
    return "; ".join(named) + (f"; and {more} more" if more > 0 else "")
