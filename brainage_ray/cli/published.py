"""`brainage report --runs`: the paper's two tables from a file of per-run results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from brainage_ray.cli.tables import say
from brainage_ray.errors import ConfigError
from brainage_ray.report.published_runs import PublishedTables, write_published_tables

USAGE = "Write: brainage report --runs RUNS.csv --out DIR, or: brainage report EXPERIMENT."


def make_published_tables(runs: Path, out: Path | None, experiment: Path | None, overrides: Sequence[str]) -> None:
    """Write the tables, print where they lie and which of the published numbers disagree.

    Raises:
        ConfigError: no folder is named, or something that belongs to an experiment.
    """
    if experiment is not None:
        raise ConfigError(f"report was given both an experiment, {experiment}, and --runs {runs}", USAGE)
    if overrides:
        raise ConfigError(f"--set {overrides[0]} changes an experiment, and --runs {runs} is none", USAGE)
    if out is None:
        raise ConfigError(f"--runs {runs} needs a folder for the tables", USAGE)
    written = write_published_tables(runs, out)
    console = Console()
    console.print(written.sentence, markup=False, highlight=False)
    if written.differences:
        console.print(differences_table(written))
    say(console, f"Tables: {written.files[0]}")


def differences_table(written: PublishedTables) -> Table:
    """Return the numbers that are not the published ones."""
    table = Table(title="Numbers that disagree")
    for heading in ("arm", "quantity", "statistic"):
        table.add_column(heading)
    for heading in ("runs", "published"):
        table.add_column(heading, justify="right")
    for found in written.differences:
        table.add_row(found.arm, found.quantity, found.statistic, found.ours, found.published)
    return table
