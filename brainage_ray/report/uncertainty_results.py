"""How sure the models are of a scan, and whether they are right to be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from brainage_ray.evaluation.analysis import Analysis
from brainage_ray.evaluation.scan_intervals import LEVEL, ScanInterval, SpreadResult, UncertaintyAnalysis
from brainage_ray.evaluation.uncertainty import Calibration
from brainage_ray.report.figure import INK, MUTED, FigureSpec, Panel, arm_color
from brainage_ray.report.statistics_cells import because, by_arm, estimate, flat
from brainage_ray.report.table import Table
from brainage_ray.report.text import NOTHING, number


def uncertainty_table(analysis: Analysis, arms: Sequence[str]) -> Table | None:
    """Make the table of each arm's uncertainty and its calibration; None where no spread was found."""
    found = [(arm, row) for arm, one in _known(analysis, arms).items() for row in one.results]
    if not found:
        return None
    header = (
        "Arm", "Spread over", "Median sd, years", "Rank correlation with the error [95 % CI]", "Inside 95 % as it is",
        "Factor", "Inside 50 % scaled", "Inside 95 % scaled",
    )  # fmt: skip
    notes = (
        "Healthy test scans that count for the MAE; error: brain age, averaged over the seeds, less age. Inside: share "
        "of the scans whose error lies inside the interval of that nominal level. Factor: what makes the spread fit "
        "the errors of the validation scans (Laves et al. 2020), as the search's models read them, never the test's.",
        *because(row.reason for _, row in found),
    )
    numbers = pd.DataFrame([{"arm": arm, **_numbers(row)} for arm, row in found])
    rows = by_arm([(arm, _cells(row)) for arm, row in found])
    return Table("uncertainty", "Uncertainty of a brain age", header, rows, notes, numbers, text_columns=2)


def scans_table(analysis: Analysis, arms: Sequence[str]) -> Table | None:
    """Make the list of every test scan with its brain age and interval; None where there is none."""
    known = _known(analysis, arms)
    found = [(arm, scan) for arm, one in known.items() for scan in one.scans]
    if not found:
        return None
    header = ("Arm", "Image", "Diagnosis", "Age", "Brain age [95 % interval]", "sd over seeds", "sd over slices")
    used = list(dict.fromkeys(one.used for one in known.values() if one.used))
    notes = (
        (f"Years. Interval: from the spread over {' or '.join(used)} times the factor of the table before.",)
        if used
        else ("Years. No interval: no spread could be scaled on the validation split.",)
    )
    numbers = pd.DataFrame([{"arm": arm, **asdict(scan)} for arm, scan in found])
    rows = by_arm([(arm, _scan_cells(scan)) for arm, scan in found])
    return Table("uncertainty_scans", "Every test scan", header, rows, notes, numbers, text_columns=3)


def coverage_figure(analysis: Analysis, arms: Sequence[str]) -> FigureSpec | None:
    """Plot observed against nominal coverage, a panel an arm; None where no uncertainty was calibrated."""
    panels = []
    for arm, one in _known(analysis, arms).items():
        row = next((row for row in one.results if row.spread == one.used), None)
        if row and row.scaled and row.scaled.coverages:
            color = arm_color(arms, arm)
            panels.append(Panel(arm, partial(_coverage, raw=row.raw, scaled=row.scaled, color=color), color))
    if not panels:
        return None
    caption = (
        "Share of the healthy test scans inside their interval, against the share that should be. Discs: scaled on the "
        "validation split, with the 95 % interval of the share (Wilson 1927); circles: the spread as it is; line: "
        "agreement. Below the line the model is too sure of itself."
    )
    return FigureSpec("coverage", "Do the intervals hold what they promise?", caption, panels)


def _known(analysis: Analysis, arms: Sequence[str]) -> dict[str, UncertaintyAnalysis]:
    return {arm: analysis.uncertainty[arm] for arm in arms if arm in analysis.uncertainty}


def _cells(row: SpreadResult) -> tuple[str, ...]:
    return (
        row.spread,
        number(row.median_years),
        estimate(row.raw.spearman, row.raw.spearman_interval),
        _share(row.raw, LEVEL),
        number(row.factor),
        _share(row.scaled, 0.5),
        _share(row.scaled, LEVEL),
    )


def _share(calibration: Calibration | None, level: float) -> str:
    found = [one.share for one in (calibration.coverages if calibration else ()) if one.level == level]
    return f"{found[0]:.0%}" if found else NOTHING


def _numbers(row: SpreadResult) -> dict[str, Any]:
    columns = {
        "spread": row.spread,
        "n_scans": row.raw.n_scans,
        "median_sd_years": row.median_years,
        **flat({"spearman": row.raw.spearman, "spearman_interval": row.raw.spearman_interval}),
        "factor": row.factor,
        "n_validation": row.n_validation,
    }
    for name, calibration in (("raw", row.raw), ("scaled", row.scaled)):
        for one in calibration.coverages if calibration else ():
            columns[f"{name}_inside_{100 * one.level:.0f}"] = one.share
    return columns | {"reason": row.reason}


def _scan_cells(scan: ScanInterval) -> tuple[str, ...]:
    known = None if scan.low_years is None or scan.high_years is None else (scan.low_years, scan.high_years)
    years = estimate(scan.brain_age_years, known, 1)
    spreads = (number(scan.sd_seeds_years), number(scan.sd_slices_years))
    return (scan.image, scan.diagnosis, number(scan.age_years, 1), years, *spreads)


def _coverage(axes: Axes, *, raw: Calibration, scaled: Calibration, color: str) -> None:
    axes.plot([0, 100], [0, 100], color=MUTED, linewidth=0.8, zorder=0)
    for one in scaled.coverages:
        low, high = (100 * edge for edge in one.interval)
        axes.vlines(100 * one.level, low, high, color=color, linewidth=1.1)
    axes.scatter(*_points(scaled), s=20, color=color)
    axes.scatter(*_points(raw), s=20, facecolor="none", edgecolor=INK, linewidth=0.8)
    axes.set(xlim=(40, 102), ylim=(-4, 104), xlabel="Nominal coverage, %", ylabel="Scans inside, %")


def _points(calibration: Calibration) -> tuple[list[float], list[float]]:
    found = calibration.coverages
    return [100 * one.level for one in found], [100 * one.share for one in found]
