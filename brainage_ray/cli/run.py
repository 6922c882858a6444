"""`brainage run` and the verbs of the stages."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from brainage_ray.cli.options import RUNS
from brainage_ray.cli.progress import Bars
from brainage_ray.cli.tables import headline, results_table
from brainage_ray.config import load_experiment
from brainage_ray.errors import ConfigError
from brainage_ray.pipeline import check_stage, run_experiment

USAGE = "Write: brainage report EXPERIMENT, or: brainage report --runs RUNS.csv --out DIR."


def run(path: Path, overrides: Sequence[str], workspace: Path, address: str | None, until: str) -> None:
    """Run an experiment up to a stage, show bars, print the table and where the report lies."""
    check_stage(until)
    console = Console()
    experiment = load_experiment(path, overrides)
    console.print(headline(experiment))
    result = run_experiment(experiment, workspace.absolute(), address, until, Bars(console))
    if result is None:
        rest = the_rest(path, overrides, workspace, address)
        console.print(f"Done up to {until}. Go on with: {rest}", markup=False, highlight=False, soft_wrap=True)
        return
    console.print(results_table(result))
    console.print(result.verdict, markup=False, highlight=False)
    arm = result.champion
    console.print(f"Chosen on validation: {arm}.  brainage pull {experiment.name}/{arm} --to checkpoints/",
                  markup=False, highlight=False)  # fmt: skip
    if result.page is not None:
        console.print(f"Report: {result.page}", markup=False, highlight=False, soft_wrap=True)


def the_rest(path: Path, overrides: Sequence[str], workspace: Path, address: str | None) -> str:
    """Return the command that goes on with what was done: with the same values and in the same folder."""
    words = ["brainage", "run", str(path)]
    for override in overrides:
        words += ["--set", override]
    if workspace != RUNS:
        words += ["--workspace", str(workspace)]
    return shlex.join([*words, "--address", address] if address else words)


def report(
    path: Path | None, overrides: Sequence[str], workspace: Path, address: str | None, tables: Path | None
) -> None:
    """Run an experiment up to its report.

    Raises:
        ConfigError: there is no experiment, or a folder for tables that only --runs writes.
    """
    if path is None:
        raise ConfigError("report was given nothing to report", USAGE)
    if tables is not None:
        problem = f"--out {tables} is for the tables of --runs; an experiment's report lies in its workspace"
        raise ConfigError(problem, USAGE)
    run(path, overrides, workspace, address, until="report")
