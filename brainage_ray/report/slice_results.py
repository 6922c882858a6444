"""Where along the brain the error comes from, and what each rule of aggregation would give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial

import pandas as pd
from matplotlib.axes import Axes

from brainage_ray.evaluation.analysis import Analysis
from brainage_ray.evaluation.slice_ages import TRIMMED_SHARE, PositionError, SliceAnalysis
from brainage_ray.report.figure import MUTED, FigureSpec, Panel, arm_color
from brainage_ray.report.table import Row, Table
from brainage_ray.report.text import NOTHING, number


def position_figure(analysis: Analysis, arms: Sequence[str], origin: str) -> FigureSpec | None:
    """Draw MAE and mean delta of single slices by position; None for fewer than two positions.

    Args:
        analysis: of the experiment.
        arms: their order gives the colours.
        origin: preprocessing.slice_origin, which the positions are counted from.
    """
    found = {arm: analysis.slices[arm].positions for arm in arms if arm in analysis.slices}
    if not found or len(next(iter(found.values()))) < 2:
        return None
    whence = "below the top of the brain" if origin == "brain_top" else "above the lowest slice of the grid"
    panels = [
        Panel(
            "Mean absolute error, single slices",
            partial(_draw, found=found, arms=arms, name="mae_years", whence=whence),
        ),
        Panel("Mean delta, single slices", partial(_draw, found=found, arms=arms, name="delta_years", whence=whence)),
    ]
    caption = (
        "Healthy test scans, each slice on its own; mean over scans and seeds, a line an arm. A scan's brain age puts "
        f"its slices together: {_together([analysis.slices[arm] for arm in found])}."
    )
    return FigureSpec("slice_positions", "Error by slice position", caption, panels, size=(4.6, 2.9), columns=2)


def _together(analysed: Sequence[SliceAnalysis]) -> str:
    """Say how the error of whole scans compares with that of their slices, by the figures as they are printed."""
    scans = [next((row.test_years or 0.0 for row in one.rules if row.rule == one.used), 0.0) for one in analysed]
    slices = [
        sum(place.mae_years * place.n_slices for place in one.positions) / sum(p.n_slices for p in one.positions)
        for one in analysed
    ]
    scan, alone = (round(sum(years) / len(years), 2) for years in (scans, slices))
    how = "smaller than" if scan < alone else "larger than" if scan > alone else "as large as"
    mean = ", mean over the arms" if len(analysed) > 1 else ""
    return f"its error is {how} theirs ({number(scan)} against {number(alone)} years{mean})"


def rules_table(analysis: Analysis, arms: Sequence[str]) -> Table | None:
    """Make the table of the rules of aggregation; None where no slices were analysed."""
    found = {arm: analysis.slices[arm] for arm in arms if arm in analysis.slices}
    if not found:
        return None
    rows = [Row(_cells(arm, slices), arm=arm) for arm, slices in found.items()]
    numbers = pd.DataFrame([{"arm": arm, **asdict(row)} for arm, slices in found.items() for row in slices.rules])
    names = [row.rule for row in next(iter(found.values())).rules]
    header = ("Arm", *(f"{name}: validation" for name in names), *(f"{name}: test" for name in names), "Used", "Best")
    notes = (
        f"MAE of scans, years. Trimmed: the mean without the lowest and the highest {TRIMMED_SHARE:.0%} of the slices. "
        "Used: the experiment's rule, which all results go by. Best: on the validation split, as the search's own "
        "models read it; to go by it, set evaluation.aggregate before the test split is opened.",
    )
    return Table("aggregation", "Rules of aggregation over slices", header, tuple(rows), notes, numbers)


def _cells(arm: str, slices: SliceAnalysis) -> tuple[str, ...]:
    validation = (number(row.validation_years) for row in slices.rules)
    test = (number(row.test_years) for row in slices.rules)
    return (arm, *validation, *test, slices.used, slices.best_on_validation or NOTHING)


def _draw(
    axes: Axes, *, found: Mapping[str, Sequence[PositionError]], arms: Sequence[str], name: str, whence: str
) -> None:
    for arm, positions in found.items():
        places = [row.position_mm for row in positions]
        axes.plot(places, [getattr(row, name) for row in positions], color=arm_color(arms, arm), marker="o", ms=2.5)
    if name == "delta_years":
        axes.axhline(0, color=MUTED, linewidth=0.7)
    else:
        axes.set_ylim(0, 1.08 * max(row.mae_years for positions in found.values() for row in positions))
    axes.set_xlabel(f"mm {whence}")
    axes.set_ylabel("Years")
