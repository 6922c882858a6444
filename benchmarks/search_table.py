"""Curves of real trainings at every point of a grid: a task on which a search costs milliseconds (Ying et al. 2019).

    python -m benchmarks.search_table --minutes 8

trains what search_table.csv lacks, on two processes, and adds each to it. A search that draws a learning rate between
two of the grid's is given the nearer one's curve.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import multiprocessing
import random
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import log
from pathlib import Path
from typing import Any

import numpy as np

from brainage_ray.config import Experiment, TrainingRun, load_experiment
from brainage_ray.config.run import apply_params
from brainage_ray.config.space import CategoricalParameter
from brainage_ray.data import SliceStore

HERE = Path(__file__).parent
EXPERIMENT, TABLE = HERE / "search_table.yaml", HERE / "search_table.csv"
LR = "training.optimizer.lr"
RATES = tuple(float(f"{rate:.3g}") for rate in np.geomspace(5.0e-4, 2.0e-2, 10))
WORKERS = 2


@dataclass(frozen=True)
class Curve:
    """A training of the table."""

    params: Mapping[str, Any]
    """Value by dotted path."""
    cpu_seconds: float
    """Of one core, for all its epochs."""
    values: tuple[float, ...]
    """Validation MAE by epoch, years."""


class Table:
    """Looks settings up.

    Args:
        curves: of points of the grid, some for every choice.
    """

    def __init__(self, curves: Sequence[Curve]) -> None:
        self.curves = tuple(curves)
        self._by_choices: dict[tuple[Any, ...], list[Curve]] = defaultdict(list)
        for curve in curves:
            self._by_choices[_choices_of(curve.params)].append(curve)

    @property
    def best(self) -> float:
        """Smallest validation MAE of any epoch, years."""
        return min(min(curve.values) for curve in self.curves)

    def look_up(self, params: Mapping[str, Any]) -> Curve:
        """Return the curve of the nearest learning rate and the same choices."""
        same = self._by_choices[_choices_of(params)]
        return min(same, key=lambda curve: abs(log(curve.params[LR] / params[LR])))


def main() -> None:
    """Train some of what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0, help="start no training later than this")
    parser.add_argument("--workspace", type=Path, default=Path("runs"))
    arguments = parser.parse_args()
    end = time.monotonic() + 60 * arguments.minutes
    experiment = load_experiment(EXPERIMENT)
    store = prepared_store(experiment, arguments.workspace)
    done = {_point(curve.params) for curve in load_table(TABLE).curves} if TABLE.is_file() else set()
    missing = [point for point in grid() if _point(point) not in done]
    with multiprocessing.get_context("spawn").Pool(WORKERS) as pool:
        for curve in pool.imap_unordered(train_point, [(store, point, end) for point in missing]):
            if curve is not None:
                _append(curve)
                print(f"{dict(curve.params)}: {min(curve.values):.2f} years, {curve.cpu_seconds:.1f} s", flush=True)


def grid() -> list[dict[str, Any]]:
    """Return the points, in an order in which any beginning of them is spread over the grid."""
    axes = {LR: RATES, **choices()}
    points = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    random.Random(0).shuffle(points)
    return points


@cache
def choices() -> dict[str, tuple[Any, ...]]:
    """Return the choices of every parameter of the experiment's space that is no range."""
    space = load_experiment(EXPERIMENT).search.space
    return {path: p.choices for path, p in space.parameters.items() if isinstance(p, CategoricalParameter)}


def prepared_store(experiment: Experiment, workspace: Path) -> Path:
    """Return the folder of the experiment's slices, made at the first call."""
    from brainage_ray.pipeline.prepare import prepare
    from brainage_ray.pipeline.progress import Silent
    from brainage_ray.pipeline.session import open_session

    with open_session(experiment, workspace, None, Silent()) as session:
        return prepare(session).age.folder


def training_run(experiment: Experiment, store: SliceStore) -> TrainingRun:
    """Return the training that every point changes."""
    return TrainingRun(
        task="age", backbone=experiment.arms["unet"].backbone, training=experiment.training, seed=0,
        store=store.folder, store_hash=store.content_hash, folder=Path(), keep_weights=False, device="cpu",
    )  # fmt: skip


def train_point(job: tuple[Path, Mapping[str, Any], float]) -> Curve | None:
    """Train a point of the grid; None where its time is up before it begins."""
    from brainage_ray.training import epochs

    folder, params, end = job
    if time.monotonic() > end:
        return None
    run = apply_params(training_run(load_experiment(EXPERIMENT), SliceStore.open(folder)), params)
    with tempfile.TemporaryDirectory() as scratch:
        start = time.process_time()
        values = [epoch["validation_mae"] for epoch in epochs(run.model_copy(update={"folder": Path(scratch)}))]
        return Curve(params, time.process_time() - start, tuple(values))


def load_table(file: Path = TABLE) -> Table:
    """Read the table."""
    with file.open(newline="") as lines:
        return Table([_read(row) for row in csv.DictReader(lines)])


def _read(row: Mapping[str, str]) -> Curve:
    params: dict[str, Any] = {LR: float(row[LR])}
    for path, allowed in choices().items():
        params[path] = next(choice for choice in allowed if str(choice) == row[path])
    values = tuple(float(value) for name, value in row.items() if name.startswith("epoch_"))
    return Curve(params, float(row["cpu_seconds"]), values)


def _append(curve: Curve) -> None:
    names = [f"epoch_{i + 1}" for i in range(len(curve.values))]
    new = not TABLE.is_file()
    with TABLE.open("a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if new:
            writer.writerow([*curve.params, "cpu_seconds", *names])
        values = [f"{value:.4f}" for value in curve.values]
        writer.writerow([*curve.params.values(), f"{curve.cpu_seconds:.1f}", *values])


def _choices_of(params: Mapping[str, Any]) -> tuple[Any, ...]:
    return _point({path: value for path, value in params.items() if path != LR})


def _point(params: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(sorted(params.items()))


if __name__ == "__main__":
    main()
