"""Tables for the terminal."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from brainage_ray.config import Experiment
from brainage_ray.pipeline import ExperimentResult, Plan, StatusRow


def headline(experiment: Experiment) -> Text:
    """Return the experiment's name and description; what the user wrote is no markup."""
    return Text.assemble((experiment.name, "bold"), " ", experiment.description)


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
        title=f"What would run ({plan.counts.source}; hours on this {plan.device})",
        caption="hours: at most, one run at a time; likely: if each rung of a scheduler lets through what it is meant "
        "to; wall: likely hours with so many at once as this machine holds, if none slows the others",
    )
    for heading in ("stage", "what"):
        table.add_column(heading)
    for heading in ("runs", "epochs", "hours", "likely", "at once", "wall", "GPU-h", "GB"):
        table.add_column(heading, justify="right")
    for row in plan.rows:
        counts = [str(n) if row.runs else "" for n in (row.runs, row.epochs, row.side_by_side)]
        hours = [f"{n:.2f}" for n in (row.hours, row.likely, row.wall, row.gpu_hours, row.gigabytes)]
        table.add_row(row.stage, escape(row.what), *counts[:2], *hours[:2], counts[2], *hours[2:])
    table.add_section()
    runs = sum(row.runs for row in plan.rows)
    likely = sum(row.likely for row in plan.rows)
    sums = [f"{n:.2f}" for n in (plan.hours, likely, plan.wall, plan.gpu_hours, plan.gigabytes)]
    table.add_row("all", "", str(runs), "", *sums[:2], "", *sums[2:], style="bold")
    return table


def status_table(name: str, rows: list[StatusRow]) -> Table:
    """Return how far each stage is."""
    table = Table(title=name)
    for heading in ("stage", "of", "done", "note"):
        table.add_column(heading, justify="right" if heading == "done" else "left")
    for row in rows:
        table.add_row(row.stage, escape(row.what), f"{row.done} of {row.total}", escape(row.note))
    return table
