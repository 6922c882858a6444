"""Tables for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from brainage_ray.config import Experiment, inert_settings

if TYPE_CHECKING:
    from brainage_ray.pipeline import ExperimentResult, Plan, StatusRow


def say(console: Console, line: str) -> None:
    """Print a line as it is: no markup in it, and whole where it is a path or a command to be copied."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def headline(experiment: Experiment) -> Text:
    """Return the experiment's name and description, and what of it does nothing; what the user wrote is no markup."""
    lines = [f"\nNote: {sentence}." for sentence in inert_settings(experiment)]
    return Text.assemble((experiment.name, "bold"), " ", experiment.description, *((line, "yellow") for line in lines))


def results_table(result: ExperimentResult) -> Table:
    """Return the MAE and the delta of each arm, with the null model beside them."""
    summary = result.summary
    mark = " \N{DAGGER}" if result.leak else ""
    table = Table(
        title=f"{result.experiment}: test split, years, mean (sd) over seeds{mark}",
        caption=f"\N{DAGGER} {result.leak}" if result.leak else None,
    )
    table.add_column("arm")
    for heading in ("validation MAE", "test MAE"):
        table.add_column(heading, justify="right")
    groups = [delta.diagnosis for delta in summary.arms[0].deltas]
    for group in groups:
        table.add_column(f"delta {group}", justify="right")
    for arm in summary.arms:
        deltas = {delta.diagnosis: delta for delta in arm.deltas}
        table.add_row(
            arm.arm,
            f"{result.validation_mae[arm.arm]:.2f}",
            _mean_sd(arm.mae.mean_years, arm.mae.sd_years),
            *[_signed(deltas[group].mean_years) for group in groups],
        )
    table.add_row(
        "median age (null model)", "", _mean_sd(summary.null.mae_years, None), *["" for _ in groups], style="dim"
    )
    return table


def _mean_sd(mean: float | None, sd: float | None) -> str:
    return "no scans" if mean is None else f"{mean:.2f}" + (f" ({sd:.2f})" if sd is not None else "")


def _signed(mean: float | None) -> str:
    return "no scans" if mean is None else f"{mean:+.2f}"


def plan_table(plan: Plan) -> Table:
    """Return what would run, line by line, with a sum."""
    table = Table(
        title=f"What would run ({plan.counts.source}; times on this {plan.device})",
        caption="epochs: of a run, at most; hours: at most, one run at a time; likely: if each rung of a scheduler "
        "lets through what it is meant to; wall: likely, with so many at once as this machine holds, if none slows the "
        "others",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for heading in ("stage", "what"):
        table.add_column(heading)
    headings = ("runs", "epochs", "hours", "likely", "wall", *(("GPU-h",) if plan.gpu_hours else ()), "GB")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in plan.rows:
        counts = [str(n) if row.runs else "" for n in (row.runs, row.epochs)]
        times = [shown_hours(n) for n in (row.hours, row.likely, row.wall)]
        times += [f"{row.gpu_hours:.2f}"] if plan.gpu_hours else []
        at_once = f"; {row.side_by_side} at once" if row.side_by_side > 1 else ""
        table.add_row(row.stage, escape(f"{row.what}{at_once}"), *counts, *times, f"{row.gigabytes:.2f}")
    table.add_section()
    times = [shown_hours(n) for n in (plan.hours, sum(row.likely for row in plan.rows), plan.wall)]
    times += [f"{plan.gpu_hours:.2f}"] if plan.gpu_hours else []
    runs = str(sum(row.runs for row in plan.rows))
    table.add_row("all", "", runs, "", *times, f"{plan.gigabytes:.2f}", style="bold")
    return table


def shown_hours(hours: float) -> str:
    """Return a time in the unit that shows two digits of it; "" for none."""
    for unit, size in (("s", 1 / 3600), ("min", 1 / 60)):
        if hours < 100 * size:
            return f"{hours / size:.0f} {unit}" if hours else ""
    return f"{hours:.1f} h" if hours < 100 else f"{hours:.0f} h"


def status_table(name: str, rows: list[StatusRow]) -> Table:
    """Return how far each stage is."""
    table = Table(title=name)
    for heading in ("stage", "of", "done", "note"):
        table.add_column(heading, justify="right" if heading == "done" else "left")
    for row in rows:
        table.add_row(row.stage, escape(row.what), f"{row.done} of {row.total}", escape(row.note))
    return table
