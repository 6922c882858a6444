"""`brainage run --dry-run` and `brainage status`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from brainage_ray.cli.run import Place
from brainage_ray.cli.tables import headline, plan_table, status_table
from brainage_ray.config import Experiment, load_experiment


def show_plan(path: Path, overrides: Sequence[str], place: Place, until: str) -> None:
    """Print what an experiment would run and cost, up to a stage, and what of that is done."""
    experiment = load_experiment(path, overrides)  # before the imports, which take seconds
    from brainage_ray.pipeline import check_first_trials, check_stage, make_plan, unplaceable

    check_stage(until)
    check_first_trials(experiment)
    console = Console()
    console.print(headline(experiment))
    with console.status("measuring a training step of each network"):
        plan = make_plan(experiment, place.workspace, until)
    counts = ", ".join(f"{split} {count}" for split, count in plan.counts.scans.items())
    _say(console, f"Healthy scans: {counts}. Segmentation cases: {plan.counts.cases}.")
    console.print(plan_table(plan))
    if done := _done(experiment, place):
        _say(console, f"Done already, and not done again: {done}.")
    if place.address is None and (problem := unplaceable(experiment, until)):
        _say(console, f"Not on this machine, where it would be refused: {problem}.")


def show_status(path: Path, overrides: Sequence[str], place: Place) -> None:
    """Print how far each stage of an experiment is."""
    experiment = load_experiment(path, overrides)
    from brainage_ray.pipeline import read_status

    console, workspace = Console(), place.workspace.absolute()
    if not (workspace / experiment.name).is_dir():
        _say(console, f"{experiment.name} has not begun in {workspace}: nothing of it is there.")
        return
    console.print(status_table(experiment.name, read_status(experiment, workspace, place.storage or None)))


def _done(experiment: Experiment, place: Place) -> str:
    from brainage_ray.pipeline import read_status

    workspace = place.workspace.absolute()
    if not (workspace / experiment.name).is_dir():
        return ""
    rows = read_status(experiment, workspace, place.storage or None)
    return ", ".join(f"{row.stage} {row.what} {row.done} of {row.total}" for row in rows if row.done)


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)
