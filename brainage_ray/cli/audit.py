"""`brainage audit`: what leaks, as a table and for machines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from brainage_ray.cli.progress import Bars
from brainage_ray.cli.tables import headline, say
from brainage_ray.config import load_experiment
from brainage_ray.data import atomic_write
from brainage_ray.pipeline import Audit, audit_experiment, what_a_run_does
from brainage_ray.report.audit_table import audit_sentence, findings_table
from brainage_ray.report.text import count

LEAKING = 3
"""Exit code."""
ROWS = 30
"""Findings on the terminal; --json has all."""


def audit(path: Path, overrides: Sequence[str], workspace: Path, json_file: Path | None) -> int:
    """Print what leaks, write it where a file is named, and return the exit code: 0 clean, 3 leaking."""
    console = Console()
    experiment = load_experiment(path, overrides)
    console.print(headline(experiment))
    found = audit_experiment(experiment, workspace.absolute(), Bars(console))
    report = found.report
    table = findings_table(report)
    if table is not None:
        console.print(_printed(found, [row.cells for row in table.rows]))
    for line in [f"Audited: {found.source}", audit_sentence(report), *_remarks(found)]:
        say(console, line)
    if json_file is not None:
        about = {"experiment": found.experiment, "source": found.source, "rollover": found.rollover}
        with atomic_write(json_file) as file:
            file.write(json.dumps(about | report.to_json(), indent=1).encode())
    return LEAKING if report.leaks else 0


def _printed(found: Audit, rows: Sequence[Sequence[str]]) -> Table:
    report = found.report
    total = sum(report.counts.values())
    table = Table(title=f"{found.experiment}: {count(report.leaks, 'leak')}, {count(report.warnings, 'warning')}")
    for heading in ("finding", "", "people", "where", "scans"):
        table.add_column(heading, overflow="fold")
    for kind, word, *rest in rows[:ROWS]:
        style = "red" if word == "leak" else "yellow"
        table.add_row(kind, f"[{style}]{word}[/{style}]", *(escape(cell) for cell in rest))
    if total > ROWS:
        table.caption = f"{ROWS} of {total} findings; --json FILE has {len(rows)}"
    return table


def _remarks(found: Audit) -> list[str]:
    report = found.report
    lines = [f"Left out by exclude_from_training: {n}, {reason}." for reason, n in report.left_out.items()]
    does = what_a_run_does(found.rollover, report)
    return [*lines, does] if does else lines
