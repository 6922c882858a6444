"""Figures of brain ages and deltas."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from scipy.stats import gaussian_kde

from brainage_ray.evaluation.analysis import Analysis
from brainage_ray.evaluation.deltas import brain_age_delta
from brainage_ray.evaluation.metrics import MaeSummary
from brainage_ray.evaluation.predictions import ScanPredictions
from brainage_ray.evaluation.summary import Summary
from brainage_ray.report.figure import BAND, INK, MUTED, FigureSpec, Panel, arm_color
from brainage_ray.report.inputs import ReportInputs
from brainage_ray.report.result_tables import validation_mae
from brainage_ray.report.text import listed, mean_sd, number

GOLDEN = 0.6180339887498949
"""Steps of the golden ratio spread points evenly, and the same way each time."""
FEWEST_FOR_DENSITY = 8
"""Scans that a violin is drawn of."""
BOX = "Box: quartiles and median; whiskers: to the last point within 1.5 interquartile ranges."


@dataclass(frozen=True)
class _Ages:
    """What one panel of the scatter plot shows."""

    age: NDArray[np.float64]
    brain: NDArray[np.float64]
    """[n_seeds, n_scans]"""
    mae: MaeSummary
    null_years: float
    limits: tuple[float, float]


def mae_figure(inputs: ReportInputs, arms: Sequence[str]) -> FigureSpec | None:
    """Plot each seed's test MAE beside the validation MAE of the search, or None where there is none."""
    if inputs.summary.null.mae_years is None:
        return None
    window = inputs.experiment.search.smooth_epochs
    validation = {arm: validation_mae(study, window)[0] for arm, study in inputs.studies.items()}
    draw = partial(_dots, summary=inputs.summary, validation=validation, arms=arms)
    again = any(study.again for study in inputs.studies.values())
    chosen = "the chosen trial's settings, trained again with fresh seeds" if again else "the chosen trial"
    return FigureSpec(
        "mae",
        "Mean absolute error at a glance",
        f"Discs: test MAE of each refitted seed; bar: their mean. Diamond: validation MAE of {chosen}. Dashes: the "
        "null model on the test split.",
        [Panel("", draw)],
        size=(4.2, 0.6 + 0.46 * len(inputs.summary.arms)),
    )


def brain_age_figure(summary: Summary, table: ScanPredictions, arms: Sequence[str]) -> FigureSpec | None:
    """Plot brain age against chronological age for each arm, or None where no scan counts for the MAE."""
    counts = np.isin(table.scans["diagnosis"].to_numpy(dtype=object), list(summary.mae_diagnoses))
    if not counts.any():
        return None
    age = table.scans["age_years"].to_numpy(dtype=np.float64)[counts]
    brain = {arm.arm: table.brain_ages[arm.arm][:, counts] for arm in summary.arms}
    everything = np.concatenate([age, *(matrix.ravel() for matrix in brain.values())])
    limits = (float(everything.min()) - 2, float(everything.max()) + 2)
    panels = []
    for arm in summary.arms:
        color = arm_color(arms, arm.arm)
        ages = _Ages(age, brain[arm.arm], arm.mae, summary.null.age_years, limits)
        panels.append(Panel(arm.arm, partial(_scatter, ages=ages, color=color), color))
    return FigureSpec(
        "brain_age",
        "Brain age against chronological age",
        f"Scans of {listed(list(summary.mae_diagnoses))} in the test split. Points: mean over the seeds; bars: from "
        "the lowest seed to the highest. Line: brain age = chronological age; band: \N{PLUS-MINUS SIGN} the test MAE. "
        "Dashes: the one answer of the null model.",
        panels,
        size=(3.3, 3.2),
    )


def delta_figure(summary: Summary, table: ScanPredictions, arms: Sequence[str]) -> FigureSpec:
    """Plot the brain-age delta by diagnosis for each arm."""
    return FigureSpec(
        "delta",
        "Brain-age delta by diagnosis",
        f"One point a scan, averaged over the seeds; shape: their density. {BOX}",
        _delta_panels(summary, table, _deltas(summary, table), arms),
    )


def corrected_delta_figure(
    analysis: Analysis, summary: Summary, table: ScanPredictions, arms: Sequence[str]
) -> FigureSpec | None:
    """Plot the bias-corrected deltas on the axis of the raw ones, or None where nothing was corrected."""
    fitted = [(arm.arm, arm.corrected.correction) for arm in analysis.arms if arm.corrected]
    lines = {arm: line for arm, line in fitted if not line.reason}
    if not lines:
        return None
    raw, age = _deltas(summary, table), table.scans["age_years"].to_numpy(dtype=np.float64)
    deltas = {arm: brain_age_delta(line.apply(raw[arm] + age, age), age) for arm, line in lines.items()}
    authors = {"cole": "Cole et al. (2018)", "de_lange": "de Lange and Cole (2020)"}[next(iter(lines.values())).method]
    return FigureSpec(
        "delta_corrected",
        "The same with regression to the mean taken out",
        f"Brain-age delta after the correction of {authors}, a line fitted on the validation split for each arm. {BOX}",
        _delta_panels(summary, table, deltas, arms, _reach([*raw.values(), *deltas.values()])),
    )


def _deltas(summary: Summary, table: ScanPredictions) -> dict[str, NDArray[np.float64]]:
    """Return by arm the mean over the seeds, [n_scans]."""
    age = table.scans["age_years"].to_numpy(dtype=np.float64)
    return {arm.arm: brain_age_delta(table.brain_ages[arm.arm].mean(axis=0), age) for arm in summary.arms}


def _reach(deltas: Iterable[NDArray[np.float64]]) -> float:
    return max(float(np.abs(values).max()) for values in deltas) * 1.08


def _delta_panels(
    summary: Summary,
    table: ScanPredictions,
    deltas: Mapping[str, NDArray[np.float64]],
    arms: Sequence[str],
    reach: float | None = None,
) -> list[Panel]:
    """Make one panel an arm, all from -reach to reach years."""
    diagnosis = table.scans["diagnosis"].to_numpy(dtype=object)
    names = [group.diagnosis for group in summary.arms[0].deltas]
    limit = reach or _reach(deltas.values())
    panels = []
    for arm, values in deltas.items():
        groups = {name: values[diagnosis == name] for name in names}
        color = arm_color(arms, arm)
        panels.append(Panel(arm, partial(_violins, groups=groups, reach=limit, color=color), color))
    return panels


def _dots(axes: Axes, *, summary: Summary, validation: Mapping[str, float | None], arms: Sequence[str]) -> None:
    for i, arm in enumerate(summary.arms):
        color, mean = arm_color(arms, arm.arm), arm.mae.mean_years or 0.0
        axes.text(0, i - 0.3, arm.arm, transform=axes.get_yaxis_transform(), color=color, weight="bold")
        axes.axhline(i, color=BAND, linewidth=0.8, zorder=0)
        axes.scatter(arm.mae.per_seed_years, [i] * len(arm.mae.seeds), s=26, color=color, alpha=0.55, linewidth=0)
        axes.vlines(mean, i - 0.2, i + 0.2, color=color, linewidth=2.2)
        if (searched := validation.get(arm.arm)) is not None:
            axes.scatter(searched, i, s=24, marker="D", facecolor="none", edgecolor=MUTED, linewidth=0.9)
    axes.axvline(summary.null.mae_years or 0.0, color=MUTED, linewidth=0.8, dashes=(4, 3), zorder=0)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set(ylim=(len(summary.arms) - 0.5, -0.8), xlabel="MAE, years")


def _scatter(axes: Axes, *, ages: _Ages, color: str) -> None:
    mae, line = ages.mae.mean_years or 0.0, np.array(ages.limits)
    low, high = ages.brain.min(axis=0), ages.brain.max(axis=0)
    axes.fill_between(line, line - mae, line + mae, color=BAND, linewidth=0, zorder=0)
    axes.plot(line, line, color=MUTED, linewidth=0.9, zorder=1)
    axes.axhline(ages.null_years, color=MUTED, linewidth=0.8, dashes=(4, 3), zorder=1)
    axes.vlines(ages.age, low, high, color=color, linewidth=0.7, alpha=0.35, zorder=2)
    axes.scatter(ages.age, ages.brain.mean(axis=0), s=11, color=color, alpha=0.75, linewidth=0, zorder=3)
    text = f"MAE {mean_sd(ages.mae.mean_years, ages.mae.sd_years)} years"
    axes.text(0.03, 0.97, text, transform=axes.transAxes, va="top", color=INK)
    axes.set(xlim=ages.limits, ylim=ages.limits, xlabel="Chronological age, years", ylabel="Brain age, years")
    axes.set_aspect("equal")


def _violins(axes: Axes, *, groups: Mapping[str, NDArray[np.float64]], reach: float, color: str) -> None:
    axes.axhline(0, color=MUTED, linewidth=0.8, zorder=0)
    for i, values in enumerate(groups.values()):
        jitter = 2 * ((np.arange(len(values)) * GOLDEN) % 1) - 1
        if len(values) < FEWEST_FOR_DENSITY or np.ptp(values) == 0:
            axes.scatter(i + 0.2 * jitter, values, s=9, color=color, alpha=0.6, linewidth=0, zorder=1)
        else:
            grid = np.linspace(values.min(), values.max(), 128)
            density = gaussian_kde(values)
            widest = density(grid).max() / 0.42
            half = density(grid) / widest
            axes.fill_betweenx(grid, i - half, i + half, color=color, alpha=0.22, linewidth=0, zorder=0.5)
            at = i + 0.9 * jitter * density(values) / widest
            axes.scatter(at, values, s=7, color=color, alpha=0.5, linewidth=0, zorder=1)
        if len(values) > 1:
            _quartiles(axes, i, values)
    labels = [f"{name}\n{number(len(values), 0)}" for name, values in groups.items()]
    axes.set_xticks(range(len(groups)), labels, color=INK)
    axes.tick_params(axis="x", length=0)
    axes.set(xlim=(-0.6, len(groups) - 0.4), ylim=(-reach, reach), ylabel="Brain-age delta, years")


def _quartiles(axes: Axes, at: float, values: NDArray[np.float64]) -> None:
    thin, thick = {"color": INK, "linewidth": 0.8}, {"color": INK, "linewidth": 2}
    axes.boxplot(values, positions=[at], widths=0.15, showfliers=False, boxprops=thin, whiskerprops=thin,
                 capprops=thin, medianprops=thick, manage_ticks=False, capwidths=0, zorder=2)  # fmt: skip
