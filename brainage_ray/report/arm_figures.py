"""Figures of arms against each other: differences of their errors, what they are made of, error and separation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from matplotlib.axes import Axes

from brainage_ray.evaluation.analysis import Analysis
from brainage_ray.evaluation.pretraining_effect import BACKBONE, FactorEffect
from brainage_ray.report.figure import INK, MUTED, FigureSpec, Panel, arm_color
from brainage_ray.report.text import count, number, p_value

SIGNIFICANT = 0.05
GAP = 0.07
"""Between two names beside a panel, as a share of its height."""
_MINUS = "\N{MINUS SIGN}"


@dataclass(frozen=True)
class _Row:
    """One difference of a forest plot."""

    label: str
    years: float
    interval: tuple[float, float] | None
    color: str


def arms_figure(analysis: Analysis, arms: Sequence[str]) -> FigureSpec | None:
    """Plot the MAE difference of each pair of arms with its interval, or None for one arm."""
    rows = []
    for pair in analysis.comparisons:
        if pair.difference_years is not None:
            told = pair.p_adjusted is not None and pair.p_adjusted < SIGNIFICANT
            color = arm_color(arms, pair.first if pair.difference_years < 0 else pair.second) if told else MUTED
            label = f"{pair.first} {_MINUS} {pair.second}"
            rows.append(_Row(label, pair.difference_years, pair.interval, color))
    if not rows:
        return None
    return FigureSpec(
        "arms",
        "Arms against each other",
        "MAE of the first arm minus MAE of the second on the same scans: below 0 the first is better. Bars: 95 % "
        "confidence interval over persons and seeds. Colour: the better arm, where p < 0.05 after Holm's correction."
        + _missing([pair.reason for pair in analysis.comparisons]),
        [Panel("", partial(_forest, rows=rows, label="Difference of MAE, years"))],
        size=(4.2, 0.65 + 0.34 * len(rows)),
    )


def pretraining_figure(analysis: Analysis) -> FigureSpec | None:
    """Plot what backbone and pre-training add to the MAE, or None where no effect was estimated."""
    effect = analysis.pretraining
    parts = effect.effects if effect else ()
    rows = [
        _Row(_factor(part), part.years, part.interval, INK if _is_significant(part) else MUTED)
        for part in parts
        if part.years is not None
    ]
    if effect is None or not rows:
        return None
    return FigureSpec(
        "pretraining_effect",
        "Does pre-training help?",
        f"What each factor adds to the MAE, the others being equal: below 0 it helps. Linear mixed model of "
        f"{effect.n_arms} arms and {count(effect.n_persons, 'person')}; bars: 95 % confidence interval over persons "
        "and seeds, grey where p \N{GREATER-THAN OR EQUAL TO} 0.05."
        + _missing([f"{part.factor}: {part.reason}" for part in parts if part.reason]),
        [Panel("", partial(_forest, rows=rows, label="Change of MAE, years"))],
        size=(4.2, 0.65 + 0.34 * len(rows)),
    )


def biomarker_figure(analysis: Analysis, arms: Sequence[str]) -> FigureSpec | None:
    """Plot each arm's MAE against how well its delta separates two diagnoses, or None below four arms."""
    found = analysis.biomarker
    if found is None or found.spearman is None or found.kendall is None:
        return None
    low, high = found.spearman_interval or (None, None)
    interval = f" (95 % interval {number(low)} to {number(high)})" if low is not None else ""
    points = {arm: (mae, auc) for arm, mae, auc in zip(found.arms, found.mae_years, found.auc, strict=True)}
    colors = {arm: arm_color(arms, arm) for arm in found.arms}
    label = f"AUC, {found.first} and {found.second}"
    return FigureSpec(
        "biomarker",
        "Is the more accurate model the better biomarker?",
        f"One point an arm, mean over the seeds; AUC: chance that a scan of {found.second} has the larger brain-age "
        f"delta than one of {found.first}. Spearman's rank correlation {number(found.spearman)}{interval}, Kendall's "
        f"{number(found.kendall)} (p: {p_value(found.kendall_p)}); below 0 the smaller error separates "
        "better.",
        [Panel("", partial(_separation, points=points, colors=colors, label=label))],
        size=(4.4, max(2.9, 0.3 * len(points))),
    )


def _is_significant(effect: FactorEffect) -> bool:
    return effect.p is not None and effect.p < SIGNIFICANT


def _factor(effect: FactorEffect) -> str:
    name = effect.level if effect.factor == BACKBONE else f"with {effect.factor}"
    return f"{name} ({effect.note})" if effect.note else name


def _missing(reasons: Sequence[str]) -> str:
    """Say why a bar is missing."""
    known = list(dict.fromkeys(reason for reason in reasons if reason))
    return f" No interval: {'; '.join(known)}." if known else ""


def _forest(axes: Axes, *, rows: Sequence[_Row], label: str) -> None:
    axes.axvline(0, color=MUTED, linewidth=0.8, dashes=(4, 3), zorder=0)
    for i, row in enumerate(rows):
        axes.text(0, i - 0.22, row.label, transform=axes.get_yaxis_transform(), color=INK, fontsize=7)
        if row.interval is not None:
            axes.hlines(i + 0.1, *row.interval, color=row.color, linewidth=1.6)
        axes.scatter(row.years, i + 0.1, s=22, color=row.color, linewidth=0, zorder=3)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set(ylim=(len(rows) - 0.5, -0.7), xlabel=label)
    axes.margins(x=0.04)


def _separation(
    axes: Axes, *, points: Mapping[str, tuple[float, float]], colors: Mapping[str, str], label: str
) -> None:
    for arm, (mae, auc) in points.items():
        axes.scatter(mae, auc, s=34, color=colors[arm], linewidth=0, zorder=3)
    axes.set(xlabel="MAE, years", ylabel=label)
    axes.margins(0.08)
    low, high = axes.get_ylim()
    ordered = sorted(points, key=lambda arm: points[arm][1])
    heights = spread([(points[arm][1] - low) / (high - low) for arm in ordered], min(GAP, 1 / len(ordered)))
    for arm, height in zip(ordered, heights, strict=True):
        line = {"arrowstyle": "-", "color": colors[arm], "linewidth": 0.6, "alpha": 0.6, "shrinkB": 3}
        place = (1.04, height)
        axes.annotate(
            arm, points[arm], place, textcoords="axes fraction", va="center", color=colors[arm], arrowprops=line
        )


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Move labels apart, as little as one pass up and one down do.

    Args:
        places: in ascending order, 0 at the bottom and 1 at the top.
        gap: between two labels, at least; they have room.
    """
    moved: list[float] = []
    for place in places:
        moved.append(max(place, moved[-1] + gap) if moved else place)
    top = 1.0
    for i in reversed(range(len(moved))):
        moved[i] = min(moved[i], top)
        top = moved[i] - gap
    return moved
