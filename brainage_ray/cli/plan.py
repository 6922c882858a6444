"""`brainage run --dry-run` and `brainage status`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from brainage_ray.cli.places import looked_into
from brainage_ray.cli.run import Place
from brainage_ray.cli.tables import headline, plan_table, say, status_table
from brainage_ray.config import Experiment, load_experiment

if TYPE_CHECKING:
    from brainage_ray.pipeline import StatusRow


def show_plan(path: Path, overrides: Sequence[str], place: Place, until: str) -> None:
    """Print what an experiment would run and cost, up to a stage, and what of that is done."""
    experiment = load_experiment(path, overrides)  # before the imports, which take seconds
    from brainage_ray.pipeline import check_first_trials, check_stage, make_plan, unplaceable

    check_stage(until)
    if until != "prepare":  # as a run does
        check_first_trials(experiment)
    console = Console()
    console.print(headline(experiment))
    with looked_into(place.workspace) as folder, console.status("measuring a training step of each network"):
        plan = make_plan(experiment, folder, until)
    counts = ", ".join(f"{split} {count}" for split, count in plan.counts.scans.items())
    say(console, f"Healthy scans: {counts}. Segmentation cases: {plan.counts.cases}.")
    console.print(plan_table(plan))
    if done := [f"{row.stage} {row.what} {row.done} of {row.total}" for row in _rows(experiment, place) if row.done]:
        say(console, f"Done already, and not done again: {', '.join(done)}.")
    if place.address is None and (problem := unplaceable(experiment, until)):
        say(console, f"Not on this machine, where it would be refused: {problem}.")


def show_status(path: Path, overrides: Sequence[str], place: Place) -> None:
    """Print how far each stage of an experiment is."""
    experiment = load_experiment(path, overrides)
    console, rows = Console(), _rows(experiment, place)
    if rows:
        console.print(status_table(experiment.name, rows))
    else:
        where = place.workspace.absolute() if isinstance(place.workspace, Path) else place.workspace
        say(console, f"{experiment.name} has not begun in {where}: nothing of it is there.")


def _rows(experiment: Experiment, place: Place) -> list[StatusRow]:
    """Return how far each stage is; none where the experiment has not begun."""
    from brainage_ray.pipeline import read_status

    with looked_into(place.workspace) as folder:
        begun = (folder / experiment.name).is_dir()
        return read_status(experiment, folder.absolute(), place.storage or None) if begun else []
