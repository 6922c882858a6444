"""`brainage run --dry-run` and `brainage status`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from brainage_ray.cli.tables import headline, plan_table, status_table
from brainage_ray.config import load_experiment
from brainage_ray.pipeline import check_stage, make_plan, read_status


def show_plan(path: Path, overrides: Sequence[str], workspace: Path, until: str) -> None:
    """Print what an experiment would run and cost, up to a stage."""
    check_stage(until)
    experiment = load_experiment(path, overrides)
    console = Console()
    console.print(headline(experiment))
    with console.status("measuring a training step of each network"):
        plan = make_plan(experiment, workspace, until)
    counts = ", ".join(f"{split} {count}" for split, count in plan.counts.scans.items())
    console.print(f"Healthy scans: {counts}. Segmentation cases: {plan.counts.cases}.", markup=False, highlight=False)
    console.print(plan_table(plan))


def show_status(path: Path, overrides: Sequence[str], workspace: Path, storage: str | None = None) -> None:
    """Print how far each stage of an experiment is."""
    experiment = load_experiment(path, overrides)
    Console().print(status_table(experiment.name, read_status(experiment, workspace.absolute(), storage or None)))
