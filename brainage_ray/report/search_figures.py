"""Figures of what the searched parameters did: their importance, and parallel coordinates of the trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil, floor, inf, isfinite, log10
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.ensemble import RandomForestRegressor

from brainage_ray.report.figure import BAND, INK, MUTED, FigureSpec, Panel, arm_color
from brainage_ray.report.inputs import StudyReport, TrialReport
from brainage_ray.report.text import NOTHING, number, setting

FEWEST_TRIALS = 8
"""That an importance is estimated from."""
LOG_SPAN = 10
"""Largest over smallest value from which an axis is logarithmic."""
MOST_TICKS = 5
CLOSEST_TICKS = 0.14
"""Of the length of an axis."""
ABSENT = 1.2
"""Where on an axis of length 1 the trials are that do not have its parameter."""
LONG_NAME = 10
"""Letters, from which a name is written in two lines."""
_TREES, _REPEATS = 200, 8


@dataclass(frozen=True)
class _Scale:
    """Where the values of a parameter lie on its axis, from 0 to 1."""

    categories: tuple[str, ...] = ()
    """In their order; empty for numbers."""
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    ticks: tuple[Any, ...] = ()

    def __call__(self, value: Any) -> float:
        """Return the place of a value, NaN for None."""
        if value is None:
            return float("nan")
        if self.categories:
            return self.categories.index(setting(value)) / (len(self.categories) - 1)
        low, high, at = (log10(v) if self.log else float(v) for v in (self.low, self.high, value))
        return (at - low) / (high - low)


def importance_figure(studies: Mapping[str, StudyReport], arms: Sequence[str]) -> FigureSpec | None:
    """Plot how much each searched parameter matters, or None where no study has enough trials and parameters."""
    found = {arm: _importances(study) for arm, study in studies.items()}
    shown = {arm: parts for arm, parts in found.items() if parts}
    if not shown:
        return None
    paths = list(dict.fromkeys(path for drops, _ in shown.values() for path in drops))
    paths.sort(key=lambda path: -sum(drops.get(path, 0.0) for drops, _ in shown.values()))
    reach = max(max(drops.values()) for drops, _ in shown.values())
    draw = partial(_bars, paths=paths, reach=max(reach, 0.1))
    return FigureSpec(
        "importance",
        "Importance of the searched parameters",
        "What the out-of-bag R\N{SUPERSCRIPT TWO} of a random forest loses when one parameter is permuted over the "
        f"trials (Breiman 2001; {_TREES} trees on the rank of each trial's best validation MAE, complete and pruned "
        "trials); no bar: nothing. R\N{SUPERSCRIPT TWO} is what the forest explains of the search; bars are grey where "
        "it explains nothing.",
        [
            Panel(arm, partial(draw, drops=drops, explained=explained, color=color), color)
            for arm, (drops, explained) in shown.items()
            for color in [arm_color(arms, arm)]
        ],
        size=(3.3, 0.65 + 0.36 * len(paths)),
    )


def parallel_figure(studies: Mapping[str, StudyReport], arms: Sequence[str]) -> FigureSpec | None:
    """Plot parallel coordinates of the trials, one axis below the other, or None for fewer than two parameters."""
    shown = {arm: study for arm, study in studies.items() if len(_varying(_finished(study))) > 1}
    if not shown:
        return None
    gaps = any(len(t.params) < len(_varying(_finished(s))) for s in shown.values() for t in _finished(s))
    rows = max(len(_varying(_finished(study))) for study in shown.values()) + 1
    return FigureSpec(
        "parallel",
        "Parallel coordinates of the search",
        "One line a trial, from its settings down to its best validation MAE; the stronger its colour, the smaller the "
        "MAE. Thick: the trial that was chosen; dashes: stopped early."
        + (f" {NOTHING}: the trial does not have that parameter." if gaps else ""),
        [
            Panel(arm, partial(_lines, study=study, color=color), color)
            for arm, study in shown.items()
            for color in [arm_color(arms, arm)]
        ],
        size=(3.5, 0.4 + 0.48 * rows),
    )


def _finished(study: StudyReport) -> list[TrialReport]:
    return [t for t in study.trials if t.state in ("complete", "pruned") and isfinite(_value(t))]


def _value(trial: TrialReport) -> float:
    return inf if trial.best_value is None else trial.best_value


def _varying(trials: Sequence[TrialReport]) -> list[str]:
    """Return the paths of the parameters with two values or more, in the order of the trials."""
    paths = dict.fromkeys(path for trial in trials for path in trial.params)
    return [path for path in paths if len({setting(t.params[path]) for t in trials if path in t.params}) > 1]


def _names(paths: Sequence[str]) -> list[str]:
    """Return the last part of each path that says something, or all of it where two share that."""
    last = [
        " ".join(path.split(".")[-2:]) if path.endswith((".name", ".kind")) else path.split(".")[-1] for path in paths
    ]
    return [name if last.count(name) == 1 else path for name, path in zip(last, paths, strict=True)]


def _scale(values: Sequence[Any]) -> _Scale:
    """Choose an axis: numbers need one value, others two."""
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        categories = tuple(sorted({setting(value) for value in values}))
        return _Scale(categories, ticks=categories)
    distinct = sorted(set(values))
    low, high = float(distinct[0]), float(distinct[-1])
    if low == high:
        return _Scale(low=low - 1, high=high + 1, ticks=(low,))
    log = low > 0 and high / low >= LOG_SPAN
    if len(distinct) <= MOST_TICKS:
        ticks = distinct
    elif log and floor(log10(high)) > ceil(log10(low)):
        ticks = [10.0**power for power in range(ceil(log10(low)), floor(log10(high)) + 1)]
    else:
        ticks = [distinct[0], distinct[-1]]
    return _Scale(low=low, high=high, log=log, ticks=tuple(ticks))


def _importances(study: StudyReport) -> tuple[dict[str, float], float] | None:
    """Return the loss of R2 by parameter and the R2 itself, or None where there is too little to tell."""
    trials = _finished(study)
    paths = _varying(trials)
    ranks = rankdata([_value(trial) for trial in trials]) if trials else np.zeros(0)
    if len(trials) < FEWEST_TRIALS or len(paths) < 2 or np.ptp(ranks) == 0:
        return None
    columns = [[trial.params.get(path) for trial in trials] for path in paths]
    scales = [_scale([value for value in column if value is not None]) for column in columns]
    settings = np.array([[scale(value) for value in column] for scale, column in zip(scales, columns, strict=True)]).T
    drops, explained = permutation_importance(settings, ranks)
    return dict(zip(paths, map(float, drops), strict=True)), explained


def permutation_importance(settings: NDArray[np.float64], values: NDArray[Any]) -> tuple[NDArray[np.float64], float]:
    """Compute Breiman's importance on the trials that a tree was not grown on (Machine Learning 45:5, 2001).

    scikit-learn's own function needs held-out rows, which a search of a dozen trials does not have.

    Args:
        settings: [n_trials, n_parameters]; NaN where a trial does not have the parameter: values are permuted among
            the trials that do.
        values: [n_trials], not all equal.

    Returns:
        By how much R2 falls when a parameter is permuted, [n_parameters], and R2.
    """
    forest = RandomForestRegressor(_TREES, min_samples_leaf=2, random_state=0).fit(settings, values)
    copies = [settings]
    rng = np.random.default_rng(0)
    for column in range(settings.shape[1]):
        present = np.flatnonzero(~np.isnan(settings[:, column]))
        for _ in range(_REPEATS):
            copies.append(settings.copy())
            copies[-1][present, column] = settings[rng.permutation(present), column]
    unseen = np.ones((_TREES, 1, len(values)))
    for tree, rows in enumerate(forest.estimators_samples_):
        unseen[tree, 0, rows] = 0
    read = np.array([tree.predict(np.concatenate(copies)) for tree in forest.estimators_])
    read = read.reshape(_TREES, len(copies), len(values))
    errors = (read * unseen).sum(axis=0) / unseen.sum(axis=0) - values
    explained = 1 - (errors**2).mean(axis=1) / np.var(values)
    return explained[0] - explained[1:].reshape(-1, _REPEATS).mean(axis=1), float(explained[0])


def _bars(
    axes: Axes, *, paths: Sequence[str], reach: float, drops: Mapping[str, float], explained: float, color: str
) -> None:
    shade = color if explained > 0 else MUTED
    for i, (path, name) in enumerate(zip(paths, _names(paths), strict=True)):
        drop = drops.get(path)
        text = name if drop is not None else f"{name}: not varied"
        axes.text(0.012, i - 0.28, text, transform=axes.get_yaxis_transform(), color=INK if drop is not None else MUTED)
        axes.barh(i + 0.08, max(drop or 0.0, 0.0), height=0.34, color=shade, alpha=0.85, linewidth=0)
    text = f"R\N{SUPERSCRIPT TWO} {number(explained)}"
    axes.text(1, 1.02, text, transform=axes.transAxes, ha="right", va="bottom", color=MUTED)
    axes.set_yticks([])
    label = "Loss of R\N{SUPERSCRIPT TWO} when permuted"
    axes.set(ylim=(len(paths) - 0.55, -0.75), xlim=(0, 1.05 * reach), xlabel=label)


def _lines(axes: Axes, *, study: StudyReport, color: str) -> None:
    trials = sorted(_finished(study), key=_value, reverse=True)
    paths = _varying(trials)
    scales = [_scale([t.params[path] for t in trials if path in t.params]) for path in paths]
    scales.append(_scale([_value(trial) for trial in trials]))
    for i, trial in enumerate(trials):
        places = [scale(trial.params.get(path)) for path, scale in zip(paths, scales, strict=False)]
        x = np.nan_to_num([*places, scales[-1](trial.best_value)], nan=ABSENT)
        chosen = trial is study.selected
        (line,) = axes.plot(x, range(len(x)), color=INK if chosen else color, linewidth=2 if chosen else 1)
        line.set_alpha(1 if chosen else 0.12 + 0.88 * ((i + 1) / len(trials)) ** 2)
        line.set_linestyle((0, (3, 2)) if trial.state == "pruned" else "-")
        line.set_zorder(3 if chosen else 2)
    gaps = [any(path not in trial.params for trial in trials) for path in paths]
    for i, (scale, gap) in enumerate(zip(scales, [*gaps, False], strict=True)):
        _axis(axes, i, scale, gap)
    names = [name.replace("_", "_\n") if len(name) > LONG_NAME else name for name in _names(paths)]
    axes.set_yticks(range(len(scales)), [*names, "validation\nMAE, years"], color=INK)
    axes.set_xticks([])
    axes.tick_params(axis="y", length=0)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.set(xlim=(-0.08, ABSENT + 0.04 if any(gaps) else 1.08), ylim=(len(scales) - 0.7, -0.3))


def _axis(axes: Axes, row: int, scale: _Scale, gap: bool) -> None:
    axes.hlines(row, 0, 1, color=MUTED, linewidth=0.8, zorder=1)
    ticks = [(scale(tick), setting(tick)) for tick in scale.ticks]
    taken = -inf
    for at, text in [*ticks, (ABSENT, NOTHING)] if gap else ticks:
        if at - taken >= CLOSEST_TICKS:
            chip = {"facecolor": BAND, "edgecolor": "none", "pad": 1.5}
            axes.text(at, row, text, color=INK, fontsize=6.5, ha="center", va="center", bbox=chip, zorder=4)
            taken = at
