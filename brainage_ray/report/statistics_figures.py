"""Figures of the statistics: agreement with age, p-values between diagnoses, errors by site, sex and age."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from math import ceil
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from brainage_ray.evaluation.analysis import Analysis
from brainage_ray.evaluation.comparisons import PairComparison
from brainage_ray.evaluation.predictions import ScanPredictions
from brainage_ray.evaluation.shift import SMALLEST_GROUP, GroupShift
from brainage_ray.evaluation.summary import Summary
from brainage_ray.report.figure import INK, RULE, FigureSpec, Panel, arm_color
from brainage_ray.report.text import listed, number

MOST_GROUPS = 12
"""Of one factor that a panel shows."""
MOST_LABELS = 6
"""In letters of the usual size below a panel."""
MOST_LETTERS, LONGEST = 48, 14
"""In a line below a panel, and of a name that stands upright."""
LOG_BELOW = 0.001
"""Mean p from which a panel needs a logarithmic axis."""
TINY = 1e-300
"""For a p that is too small for a number."""
LIMITS = 1.96
"""Standard deviations of the limits of agreement."""


def bland_altman_figure(summary: Summary, table: ScanPredictions, arms: Sequence[str]) -> FigureSpec | None:
    """Plot the delta against the mean of brain age and age (Bland and Altman, Lancet 327:307, 1986).

    None where fewer than two scans count for the MAE.
    """
    counts = np.isin(table.scans["diagnosis"].to_numpy(dtype=object), list(summary.mae_diagnoses))
    if counts.sum() < 2:
        return None
    age = table.scans["age_years"].to_numpy(dtype=np.float64)[counts]
    brain = {arm.arm: table.brain_ages[arm.arm][:, counts].mean(axis=0) for arm in summary.arms}
    reach = 1.1 * max(float(np.abs(values - age).max()) for values in brain.values())
    panels = []
    for arm, values in brain.items():
        color = arm_color(arms, arm)
        draw = partial(_agreement, means=(values + age) / 2, deltas=values - age, reach=reach, color=color)
        panels.append(Panel(arm, draw, color))
    return FigureSpec(
        "bland_altman",
        "Agreement of brain age and chronological age",
        f"Scans of {listed(list(summary.mae_diagnoses))} in the test split, averaged over the seeds. Line: mean "
        "brain-age delta; dashes: limits of agreement, mean \N{PLUS-MINUS SIGN} 1.96 sd (Bland and Altman 1986).",
        panels,
    )


def p_value_figure(summary: Summary, arms: Sequence[str]) -> FigureSpec | None:
    """Plot each arm's p-values by pair of diagnoses, MCI and AD first, or None where no pair was tested."""
    names = [(pair.first, pair.second) for pair in reversed(summary.arms[0].pairs)]
    names.sort(key=lambda pair: set(pair) != {"MCI", "AD"})
    panels = []
    for first, second in names:
        pairs = {arm.arm: pair for arm in summary.arms if (pair := arm.pair(first, second)) and pair.p}
        if pairs:
            colors = {arm: arm_color(arms, arm) for arm in pairs}
            panels.append(Panel(f"{first} and {second}", partial(_p_values, pairs=pairs, colors=colors)))
    if not panels:
        return None
    return FigureSpec(
        "p_values",
        "Does the brain-age delta tell diagnoses apart?",
        "Two-sided Mann-Whitney U on the brain-age delta, not corrected for the number of pairs: mean p over the "
        "seeds, whisker to the largest; dashes: 5 %. Where a mean is below 0.001 the axis is logarithmic.",
        panels,
        size=(3.3, 0.75 + 0.36 * len(summary.arms)),
    )


def shift_figure(analysis: Analysis, arms: Sequence[str]) -> FigureSpec | None:
    """Plot the MAE by site, sex and age decade, or None where none of them has two groups that are large enough."""
    by_factor: dict[str, dict[str, list[GroupShift]]] = {}
    cut = []
    for arm in analysis.arms:
        for shift in arm.shift:
            groups = [group for group in shift.groups if group.n_persons >= SMALLEST_GROUP]
            if len(groups) > 1:
                by_factor.setdefault(shift.factor, {})[arm.arm] = _largest(groups)
                cut += [shift.factor] if len(groups) > MOST_GROUPS else []
    if not by_factor:
        return None
    spans = [_span(group) for by_arm in by_factor.values() for groups in by_arm.values() for group in groups]
    low, high = min(span[0] for span in spans), max(span[1] for span in spans)
    room = 0.05 + (0.085 * ceil(len(analysis.arms) / 2) if len(analysis.arms) > 1 else 0)  # for the names of the arms
    limits = (low - 0.05 * (high - low), high + room * (high - low))
    colors = {arm.arm: arm_color(arms, arm.arm) for arm in analysis.arms}
    draw = partial(_groups, colors=colors, limits=limits)
    return FigureSpec(
        "shift",
        f"Error by {listed(list(by_factor))}",
        "MAE of the test scans that count for it, mean over the seeds; bars: 95 % confidence interval over persons, "
        f"counted below each group. Groups of fewer than {SMALLEST_GROUP} are left out."
        + (f" Of {listed(list(dict.fromkeys(cut)))} the {MOST_GROUPS} largest groups are shown." if cut else ""),
        [
            Panel(factor[0].upper() + factor[1:], partial(draw, by_arm=by_arm, legend=i == 0))
            for i, (factor, by_arm) in enumerate(by_factor.items())
        ],
        size=(3.3, 3.0),
    )


def _largest(groups: Sequence[GroupShift]) -> list[GroupShift]:
    """Return those with the most persons, in the order of the table."""
    kept = sorted(groups, key=lambda group: -group.n_persons)[:MOST_GROUPS]
    return [group for group in groups if group in kept]


def _span(group: GroupShift) -> tuple[float, float]:
    mae = group.mae_years or 0.0
    return group.mae_interval or (mae, mae)


def _agreement(
    axes: Axes, *, means: NDArray[np.float64], deltas: NDArray[np.float64], reach: float, color: str
) -> None:
    mean, sd = float(deltas.mean()), float(deltas.std(ddof=1))
    axes.axhline(0, color=RULE, linewidth=0.8, zorder=0)
    axes.scatter(means, deltas, s=11, color=color, alpha=0.6, linewidth=0, zorder=1)
    low, high = mean - LIMITS * sd, mean + LIMITS * sd
    lines = ((mean, "mean", "-"), (high, "+1.96 sd", "--"), (low, "\N{MINUS SIGN}1.96 sd", "--"))
    for at, name, style in lines:
        axes.axhline(at, color=INK, linewidth=0.9, linestyle=style, zorder=2)
        text = f"{name}: {number(at, 1)}"
        axes.text(1, at, text, transform=axes.get_yaxis_transform(), ha="right", va="bottom", color=INK, fontsize=7)
    limit = max(reach, 1.15 * max(-low, high))
    axes.set(ylim=(-limit, limit), xlabel="(Brain age + age) / 2, years", ylabel="Brain-age delta, years")


def _p_values(axes: Axes, *, pairs: Mapping[str, PairComparison], colors: Mapping[str, str]) -> None:
    values = {arm: (max(pair.p_mean or 0.0, TINY), max(pair.p_max or 0.0, TINY)) for arm, pair in pairs.items()}
    log = min(mean for mean, _ in values.values()) < LOG_BELOW
    for i, (arm, (mean, largest)) in enumerate(values.items()):
        color = colors[arm]
        axes.text(0.012, i - 0.28, arm, transform=axes.get_yaxis_transform(), color=color, weight="bold")
        if log:  # a bar needs a zero
            axes.scatter(mean, i + 0.08, s=26, color=color, linewidth=0, zorder=3)
        else:
            axes.barh(i + 0.08, mean, height=0.34, color=color, alpha=0.75, linewidth=0)
        axes.hlines(i + 0.08, mean, largest, color=INK if not log else color, linewidth=1.1)
        axes.vlines(largest, i - 0.02, i + 0.18, color=INK if not log else color, linewidth=1.1)
    axes.axvline(0.05, color=INK, linewidth=0.9, dashes=(4, 3), zorder=2)
    if log:
        axes.set_xscale("log")
        axes.minorticks_off()
    else:
        axes.set_xlim(0, 1.06 * max(0.1, *(largest for _, largest in values.values())))
    axes.set_yticks([])
    axes.set(ylim=(len(values) - 0.55, -0.75), xlabel="p")


def _groups(
    axes: Axes,
    *,
    by_arm: Mapping[str, Sequence[GroupShift]],
    colors: Mapping[str, str],
    limits: tuple[float, float],
    legend: bool,
) -> None:
    step = 0.7 / len(by_arm)
    for k, (arm, groups) in enumerate(by_arm.items()):
        x = np.arange(len(groups)) + (k - (len(by_arm) - 1) / 2) * step
        low, high = zip(*map(_span, groups), strict=True)
        axes.vlines(x, low, high, color=colors[arm], linewidth=1.1)
        axes.scatter(x, [group.mae_years or 0.0 for group in groups], s=11, color=colors[arm], linewidth=0, label=arm)
    shown = next(iter(by_arm.values()))
    many, width = len(shown) > MOST_LABELS, MOST_LETTERS // len(shown)
    upright = many and max(len(group.group) for group in shown) > width
    names = [group.group[:LONGEST] if upright else fill(group.group, width) for group in shown]
    labels = [
        f"{name}{', ' if upright else chr(10)}{group.n_persons}" for name, group in zip(names, shown, strict=True)
    ]
    axes.set_xticks(range(len(shown)), labels, color=INK, fontsize=6 if many else 8, rotation=90 if upright else 0)
    axes.tick_params(axis="x", length=0)
    axes.set(xlim=(-0.6, len(shown) - 0.4), ylim=limits, ylabel="MAE, years")
    if legend and len(by_arm) > 1:
        axes.legend(frameon=False, ncols=2, fontsize=6.5, loc="upper left", handletextpad=0.2, labelcolor="linecolor")
