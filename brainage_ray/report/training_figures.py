"""Figures of the search, of the trainings and of the slices that they saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from brainage_ray.report.figure import INK, MUTED, PALETTE, RULE, FigureSpec, Panel, arm_color
from brainage_ray.report.inputs import Curve, PretrainingReport, SampleSlices, StudyReport, TrialReport
from brainage_ray.report.text import number

DICE = "validation_dice_"


def search_figure(studies: Mapping[str, StudyReport], arms: Sequence[str]) -> FigureSpec | None:
    """Plot each trial's value and the best so far, or None where nothing was searched."""
    values = [t.best_value for study in studies.values() for t in study.trials if t.best_value is not None]
    if not values:
        return None
    limits = _limits(values)
    return FigureSpec(
        "search",
        "Search history",
        "Validation MAE of each trial, in the order in which they were begun. Discs: trained to the end; crosses: "
        "stopped early; triangles at the top: failed, or beyond the axis. Line: the best full trial so far; ring: the "
        "trial that was chosen.",
        [
            Panel(arm, partial(_history, study=study, limits=limits, color=color), color)
            for arm, study in studies.items()
            for color in [arm_color(arms, arm)]
        ],
        size=(3.3, 2.5),
    )


def validation_figure(studies: Mapping[str, StudyReport], arms: Sequence[str]) -> FigureSpec | None:
    """Plot validation MAE by epoch for each trial, or None where there are no curves."""
    values = [value for study in studies.values() for trial in study.trials for value in trial.values]
    if not values:
        return None
    limits = _limits(values)
    return FigureSpec(
        "search_curves",
        "Learning curves of the search",
        "Validation MAE by epoch. Grey: all trials; colour: the one that was chosen, with the epoch at which it was "
        "best.",
        [
            Panel(arm, partial(_trial_curves, study=study, limits=limits, color=color), color)
            for arm, study in studies.items()
            for color in [arm_color(arms, arm)]
        ],
        size=(3.3, 2.5),
    )


def refit_figure(curves: Mapping[str, Mapping[int, Curve]], arms: Sequence[str]) -> FigureSpec | None:
    """Plot the training loss of the final models, or None where there are no curves."""
    losses = {
        arm: {seed: [epoch["train_loss"] for epoch in curve if "train_loss" in epoch] for seed, curve in seeds.items()}
        for arm, seeds in curves.items()
    }
    if not any(loss for seeds in losses.values() for loss in seeds.values()):
        return None
    return FigureSpec(
        "refit_curves",
        "Learning curves of the final models",
        "Training loss by epoch on the standardised age, one line a seed.",
        [
            Panel(arm, partial(_losses, seeds=seeds, color=arm_color(arms, arm)), arm_color(arms, arm))
            for arm, seeds in losses.items()
        ],
        size=(3.3, 2.5),
    )


def dice_figure(runs: Sequence[PretrainingReport]) -> FigureSpec | None:
    """Plot the Dice of each tumour class by epoch, or None where no stage was scored."""
    scored = [run for run in runs if any(key.startswith(DICE) for epoch in run.curve for key in epoch)]
    if not scored:
        return None
    names = list(dict.fromkeys((run.stage, run.backbone) for run in scored))
    return FigureSpec(
        "dice",
        "Pre-training on tumour segmentation",
        "Dice of each class on the cases that were kept aside, by epoch: mean over the seeds, band from the lowest to "
        "the highest.",
        [
            Panel(f"{stage}, {backbone}", partial(_dice, runs=[r for r in scored if (r.stage, r.backbone) == name]))
            for name in names
            for stage, backbone in [name]
        ],
        size=(3.3, 2.5),
    )


def slices_figure(samples: Sequence[SampleSlices]) -> FigureSpec | None:
    """Show slices with the people's ages, or None where none are given."""
    panels = [
        Panel(f"{group.diagnosis} {number(age, 0)}", partial(_slice, image=image))
        for group in samples
        for image, age in zip(group.images, group.ages_years, strict=True)
    ]
    if not panels:
        return None
    caption = "Training slices as the models see them: diagnosis and chronological age, years."
    columns = max(len(group.images) for group in samples)
    return FigureSpec("slices", "Sample slices", caption, panels, size=(1.25, 1.5), columns=columns)


def _limits(values: Sequence[float]) -> tuple[float, float]:
    """Frame the bulk of the values: one diverged trial must not flatten the others."""
    finite = np.array([value for value in values if np.isfinite(value)])
    low, middle = float(finite.min()), float(np.quantile(finite, 0.75))
    high = min(float(finite.max()), middle + 1.5 * (middle - low))
    margin = 0.06 * (high - low) or 0.5
    return low - margin, high + margin


def _history(axes: Axes, *, study: StudyReport, limits: tuple[float, float], color: str) -> None:
    top = limits[1] - 0.03 * (limits[1] - limits[0])
    _best_so_far(axes, study.trials, color)
    for trial in study.trials:
        value = trial.best_value
        if trial.state == "failed" or value is None or value > limits[1]:
            axes.scatter(trial.number, top, s=18, marker="^", color=MUTED, linewidth=0)
        elif trial.state == "pruned":
            axes.scatter(trial.number, value, s=14, marker="x", color=MUTED, linewidth=0.9)
        else:
            axes.scatter(trial.number, value, s=14, color=color, linewidth=0, zorder=3)
    chosen = study.selected
    if chosen and chosen.best_value is not None:
        axes.scatter(chosen.number, chosen.best_value, s=62, facecolor="none", edgecolor=INK, linewidth=1, zorder=4)
    axes.set(ylim=limits, xlabel="Trial", ylabel="Validation MAE, years")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _best_so_far(axes: Axes, trials: Sequence[TrialReport], color: str) -> None:
    full = [(t.number, t.best_value) for t in trials if t.state == "complete" and t.best_value is not None]
    if full:
        last = max(trial.number for trial in trials)
        numbers = [*(n for n, _ in full), last]
        best = np.minimum.accumulate([value for _, value in full])
        axes.step(numbers, [*best, best[-1]], where="post", color=color, linewidth=1.1, alpha=0.7)


def _trial_curves(axes: Axes, *, study: StudyReport, limits: tuple[float, float], color: str) -> None:
    for trial in study.trials:
        chosen = trial is study.selected
        epochs = np.arange(1, len(trial.values) + 1)
        look = (color, 1.6, 3) if chosen else (RULE, 0.9, 2)
        axes.plot(epochs, trial.values, color=look[0], linewidth=look[1], zorder=look[2])
        if chosen and trial.best_epoch:
            at = trial.values[trial.best_epoch - 1]
            axes.scatter(trial.best_epoch, at, s=30, facecolor="none", edgecolor=INK, linewidth=1, zorder=4)
    axes.set(ylim=limits, xlim=(1, None), xlabel="Epoch", ylabel="Validation MAE, years")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _losses(axes: Axes, *, seeds: Mapping[int, Sequence[float]], color: str) -> None:
    for loss in seeds.values():
        axes.plot(np.arange(1, len(loss) + 1), loss, color=color, linewidth=1.1, alpha=0.6)
    axes.set(xlim=(1, None), xlabel="Epoch", ylabel="Training loss", yscale="log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _dice(axes: Axes, *, runs: Sequence[PretrainingReport]) -> None:
    classes = [key for key in runs[0].curve[0] if key.startswith(DICE) and key != f"{DICE}mean"]
    length = min(len(run.curve) for run in runs)
    epochs = np.arange(1, length + 1)
    for name, color in zip(classes, PALETTE, strict=False):
        values = np.array([[epoch[name] for epoch in run.curve[:length]] for run in runs])
        axes.fill_between(epochs, values.min(axis=0), values.max(axis=0), color=color, alpha=0.18, linewidth=0)
        label = name.removeprefix(DICE).replace("_", " ")
        axes.plot(epochs, values.mean(axis=0), color=color, label=label)
    axes.legend(frameon=False, loc="lower right", labelcolor=INK, handlelength=1.4)
    axes.set(ylim=(0, 1), xlim=(1, None), xlabel="Epoch", ylabel="Dice")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _slice(axes: Axes, *, image: NDArray[Any]) -> None:
    pixels = np.asarray(image, dtype=np.float64)
    brain = pixels[pixels != 0]
    low, high = np.quantile(brain, [0.01, 0.995]) if brain.size else (0.0, 1.0)
    axes.imshow(np.where(pixels == 0, low, pixels), cmap="gray", vmin=low, vmax=high, interpolation="bilinear")
    axes.set(xticks=[], yticks=[])
    axes.set_axis_off()
