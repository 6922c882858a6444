"""What the audit for leaks found, as a table and a sentence."""

from __future__ import annotations

import pandas as pd

from brainage_ray.data.audit import KINDS, LEAKS, AuditReport, Finding
from brainage_ray.report.table import Row, Table
from brainage_ray.report.text import NOTHING, count

NAMES = 5
"""Names in a printed cell; the CSV has all."""


def audit_sentence(report: AuditReport | None) -> str:
    """Say what was audited and what came out."""
    if report is None:
        return ""
    of = f"The audit for leaks read {count(report.scans, 'scan')} of {report.people} people"
    compared = f"the images of {report.compared} were compared by content"
    warnings = f" and {count(report.warnings, 'warning')}" if report.warnings else ""
    found = "no leak" if not report.leaks else f"{count(report.leaks, 'leak')}"
    return f"{of}; {compared}. It found {found}{warnings}."


def checks_table(report: AuditReport) -> Table:
    """Make the table of what was looked for and how often it was found."""
    rows = tuple(Row((kind, "leak" if kind in LEAKS else "warning", str(report.counts.get(kind, 0)))) for kind in KINDS)
    notes = ("Of the scans that were used. A person is the same across phases and cohorts' names; images are compared "
             "by what they show, however their files are named or compressed.",)  # fmt: skip
    return Table("audit", "Audit for leaks", ("Check", "Kind", "Found"), rows, notes, text_columns=2)


def findings_table(report: AuditReport | None) -> Table | None:
    """Make the table of findings, or None where there is none."""
    if report is None or not report.findings:
        return None
    rows = tuple(Row(_cells(finding)) for finding in report.findings)
    numbers = pd.DataFrame([
        {"finding": f.kind, "leak": f.leak, "people": " ".join(f.people), "places": " ".join(f.places),
         "scans": "; ".join(f.scans), "note": f.note}
        for f in report.findings
    ])  # fmt: skip
    header = ("Finding", "Leak", "People", "Where", "Scans")
    listed = len(report.findings)
    total = sum(report.counts.values())
    notes = (f"{listed} of {total} findings are listed.",) if total > listed else ()
    return Table("findings", "What the audit for leaks found", header, rows, notes, numbers, text_columns=5)


def _cells(finding: Finding) -> tuple[str, ...]:
    scans = _few(finding.scans) if finding.scans else finding.note or NOTHING
    leak = "leak" if finding.leak else "warning"
    return finding.kind, leak, _few(finding.people) or NOTHING, ", ".join(finding.places), scans


def _few(names: tuple[str, ...]) -> str:
    more = len(names) - NAMES
    return ", ".join(names[:NAMES]) + (f" and {more} more" if more > 0 else "")
