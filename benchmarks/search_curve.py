"""The validation MAE that a search has reached by the time it has trained: samplers and schedulers on one task.

    python -m benchmarks.search_curve

searches the phantom task (see search_table) many times with each pair, draws docs/search_curve.png, and writes the
numbers to benchmarks/results/search_curve.json.
"""

from __future__ import annotations

import json
import multiprocessing
import random
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.search_arms import ours
from benchmarks.search_simulator import simulate
from benchmarks.search_table import LR, RATES, Table, choices, load_table
from benchmarks.search_tasks import EPOCHS, TableTask
from brainage_ray.config import SearchSpace
from brainage_ray.config.read import validate

HERE = Path(__file__).parent
RESULTS, FIGURE = HERE / "results" / "search_curve.json", HERE.parent / "docs" / "search_curve.png"
REPEATS, WORKERS, PROCESSES, TRAININGS = 40, 2, 2, 40
LATE = 15
"""Epochs of grace after which the order of the table's trainings tells the order of their best values."""
PAIRS: dict[str, dict[str, Any]] = {
    "grid + none": {"sampler": "grid", "scheduler": "none"},
    "random + none": {"sampler": "random", "scheduler": "none"},
    "random + ASHA": {"sampler": "random", "scheduler": "asha"},
    "TPE + none": {"sampler": "tpe", "scheduler": "none"},
    "TPE + ASHA": {"sampler": "tpe", "scheduler": "asha"},
    f"random + ASHA, grace {LATE}": {"sampler": "random", "scheduler": "asha", "grace_epochs": LATE},
    f"TPE + ASHA, grace {LATE}": {"sampler": "tpe", "scheduler": "asha", "grace_epochs": LATE},
}
DRAWN = {"grid + none": "#7f7f7f", "TPE + ASHA": "#d08a2c", f"TPE + ASHA, grace {LATE}": "#1f6fb4"}
"""Pairs of the figure, and their colours; it shows no more than can be told apart."""
SEEN = (3, 6, 9, 12, 15, 18, 21, 24)
NEAR = 0.25
"""Years above the best of the table that count as having found it."""


@dataclass(frozen=True)
class GridTask(TableTask):
    """The phantom task with a grid of all the table's points, in the order in which somebody happens to write it."""

    seed: int = 0

    @cached_property
    def space(self) -> SearchSpace:
        """Choices in a drawn order, of parameters in a drawn order."""
        rng = random.Random(self.seed)
        axes: dict[str, list[Any]] = {LR: list(RATES), **{path: list(values) for path, values in choices().items()}}
        paths = rng.sample(list(axes), len(axes))
        parameters = {
            path: {"type": "categorical", "choices": rng.sample(axes[path], len(axes[path]))} for path in paths
        }
        return validate(SearchSpace, {"parameters": parameters}, "benchmark")


def main() -> None:
    """Search, write and draw."""
    jobs = [(pair, seed) for pair in PAIRS for seed in range(REPEATS)]
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        curves = pool.starmap(search, jobs, chunksize=4)
    minutes = np.linspace(0, min(curve[0, -1] for curve in curves), 201)[1:]
    reached: dict[str, np.ndarray] = {}
    for pair in PAIRS:
        mine = [curve for (name, _), curve in zip(jobs, curves, strict=True) if name == pair]
        reached[pair] = np.array([at(curve, minutes) for curve in mine])
    found = summary(reached, minutes, load_table().best)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found["pairs"], indent=1))
    draw(reached, minutes, load_table().best)


def search(pair: str, seed: int) -> np.ndarray:
    """Return minutes of training on one core and the best validation MAE by then, years, shape (2, epochs)."""
    table = load_table()
    grid = PAIRS[pair]["sampler"] == "grid"
    task = GridTask(table, seed=seed) if grid else TableTask(table)
    with ours(task, seed, **PAIRS[pair]) as searcher:
        points = simulate(searcher, task, WORKERS, EPOCHS * TRAININGS, seed).points
    return np.array([[point.cost / 60 for point in points], [point.best_value for point in points]])


def at(curve: np.ndarray, minutes: np.ndarray) -> np.ndarray:
    """Return the best value that a curve has reached by each time, NaN before its first epoch."""
    index = np.searchsorted(curve[0], minutes, side="right") - 1
    return np.where(index >= 0, curve[1][np.maximum(index, 0)], np.nan)


def summary(reached: dict[str, np.ndarray], minutes: np.ndarray, best: float) -> dict[str, Any]:
    """Return the numbers of the figure.

    Args:
        reached: by pair, years, shape (repeats, times).
        minutes: shape (times,).
        best: of the table, years.
    """
    quarters = [len(minutes) // 4 * i - 1 for i in (1, 2, 3, 4)]
    pairs = {}
    for pair, values in reached.items():
        near = [minutes[row <= best + NEAR][0] if (row <= best + NEAR).any() else np.inf for row in values]
        median_minutes = float(np.median(near))
        pairs[pair] = {
            "mean_mae": {f"{minutes[i]:.1f} min": round(float(values[:, i].mean()), 3) for i in quarters},
            "mae_10_to_90_percent": {
                f"{minutes[i]:.1f} min": np.percentile(values[:, i], (10, 90)).round(3).tolist() for i in quarters
            },
            f"median_minutes_to_best_plus_{NEAR}": round(median_minutes, 1) if np.isfinite(median_minutes) else None,
            f"share_within_{NEAR}_at_the_end": round(float((values[:, -1] <= best + NEAR).mean()), 3),
        }
    found = {"command": "python -m benchmarks.search_curve", "repeats": REPEATS, "best_of_table": best, "pairs": pairs}
    return found | {"rank_correlation_with_the_best": foresight(load_table())}


def foresight(table: Table) -> dict[int, float]:
    """Return how well the best value by an epoch tells that of the whole training: Spearman's rho over the table."""
    values = np.array([curve.values for curve in table.curves])
    whole = values.min(axis=1)
    return {epoch: round(float(stats.spearmanr(values[:, :epoch].min(axis=1), whole)[0]), 2) for epoch in SEEN}


def draw(reached: dict[str, np.ndarray], minutes: np.ndarray, best: float) -> None:
    """Draw medians, and bands from the 10th to the 90th percentile of the repeats."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for pair, colour in DRAWN.items():
        low, middle, high = np.nanpercentile(reached[pair], (10, 50, 90), axis=0)
        axes.fill_between(minutes, low, high, color=colour, alpha=0.18, linewidth=0)
        axes.plot(minutes, middle, color=colour, linewidth=2, label=pair)
    axes.axhline(best, color="black", linewidth=0.8, linestyle=":", label="best of the table")
    axes.set(xlabel="training time on one core, minutes", ylabel="best validation MAE so far, years")
    axes.set_xlim(0, minutes[-1])
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(FIGURE, dpi=120)


if __name__ == "__main__":
    main()
