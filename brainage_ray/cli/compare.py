"""`brainage compare`: finished experiments side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from brainage_ray.cli.tables import say
from brainage_ray.pipeline import compare_experiments
from brainage_ray.report.comparison import comparison_tables, write_comparison
from brainage_ray.report.table import Table as ReportTable

ORIGIN = 8
"""The columns of the first table from here on say where the numbers come from."""


def compare_runs(runs: Sequence[str], workspace: Path, out: Path | None) -> None:
    """Print experiments side by side, and write them where a folder is named."""
    comparison = compare_experiments(runs, workspace)
    page = None if out is None else write_comparison(comparison, out)
    console = Console()
    arms, *others = comparison_tables(comparison)
    last = len(arms.header)
    console.print(printed(arms, range(ORIGIN)))
    console.print(printed(arms, [0, 1, *range(ORIGIN, last)], "Settings, data and commit"))
    for table in others:
        if table.rows:
            console.print(printed(table, range(len(table.header))))
    for line in [*(note for table in (arms, *others) for note in table.notes), *comparison.unpaired]:
        console.print(line, markup=False, highlight=False)
    if page is not None:
        say(console, f"Comparison: {page}")


def printed(table: ReportTable, columns: Sequence[int], title: str = "") -> Table:
    """Return some columns of a table for the terminal."""
    shown = Table(title=title or table.title)
    for i in columns:
        words = i < table.text_columns or i >= ORIGIN or table.name == "settings"
        shown.add_column(escape(table.header[i]), justify="left" if words else "right", overflow="fold")
    for row in table.rows:
        shown.add_row(*(escape(row.cells[i]) for i in columns))
    return shown
