"""Tasks for the search benchmarks: what a trial with some settings reports, epoch by epoch, and what the best is.

Optuna's package ships no function to optimise (optuna.testing.objectives has one that fails and one that prunes; those
of OptunaHub are downloads), so three well-known ones are written from their formulas and given learning curves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from scipy.optimize import differential_evolution

from benchmarks.search_table import EXPERIMENT, Table
from brainage_ray.config import SearchSpace, load_experiment
from brainage_ray.config.read import validate

EPOCHS = 24
UNIT_FIELDS = (
    "training.dropout",
    "training.augmentation.scale",
    "training.augmentation.shear",
    "training.augmentation.gamma",
    "training.augmentation.intensity_scale",
    "training.augmentation.intensity_shift",
)
"""Fields of a training that take any number in [0, HIGH]: the coordinates of a function, whatever they are called."""
HIGH = 0.99
FLOOR, SPREAD, START = 4.0, 5.0, 9.5
"""Years: of the best settings' asymptote, from there to the worst's, and before any training."""
DIVERGES = 0.9
"""Above this first coordinate a training ends in NaN, in its third epoch."""


@dataclass(frozen=True)
class Course:
    """How the training of a trial goes."""

    values: tuple[float, ...]
    """What it reports by epoch: validation MAE, years."""
    true_best: float
    """Of its settings: the smallest value of a whole training without noise, years."""
    epoch_cost: float
    """Time of an epoch."""


class Task(Protocol):
    """What the searchers search."""

    name: str
    space: SearchSpace

    @property
    def optimum(self) -> float:
        """The smallest true_best of any settings, years."""

    def train(self, params: Mapping[str, Any], rng: np.random.Generator) -> Course:
        """Return the course of a trial."""


@dataclass(frozen=True)
class FunctionTask:
    """A function on the unit cube as the asymptote of a learning curve.

    The first coordinate also sets how fast the curve falls, the second how much it rises again at the end, so that
    curves cross and the last value is not the best. To it comes noise, of the trial and of the epoch.
    """

    name: str
    dimensions: int
    badness: Callable[[np.ndarray], float]
    """0 at the function's minimum, about 1 where it is bad."""
    noise_sd: float = 0.15
    """Years, each of both kinds."""

    @cached_property
    def space(self) -> SearchSpace:
        """A range for each coordinate."""
        ranges = {path: {"type": "float", "low": 0.0, "high": HIGH} for path in UNIT_FIELDS[: self.dimensions]}
        return validate(SearchSpace, {"parameters": ranges}, "benchmark")

    @cached_property
    def optimum(self) -> float:
        """By differential evolution."""
        box = [(0.0, DIVERGES)] + [(0.0, 1.0)] * (self.dimensions - 1)
        return float(differential_evolution(lambda x: self.curve(x).min(), box, rng=0, tol=1e-8).fun)

    def curve(self, x: np.ndarray) -> np.ndarray:
        """Return the values without noise, years, shape (EPOCHS,), of a point, shape (dimensions,)."""
        epoch = np.arange(1, EPOCHS + 1)
        asymptote = FLOOR + SPREAD * self.badness(x)
        rate = 0.08 * 12 ** x[0]
        return asymptote + (START - asymptote) * np.exp(-rate * epoch) + 1.5 * x[1] ** 2 * (epoch / EPOCHS) ** 2

    def train(self, params: Mapping[str, Any], rng: np.random.Generator) -> Course:
        """Return the course of a trial."""
        x = np.array([params[path] / HIGH for path in UNIT_FIELDS[: self.dimensions]])
        curve = self.curve(x)
        values = curve + self.noise_sd * (rng.standard_normal() + rng.standard_normal(EPOCHS))
        true_best = float(curve.min())
        if x[0] > DIVERGES:
            values[2:] = math.nan
            true_best = START
        return Course(tuple(values.tolist()), true_best, float(np.exp(0.3 * rng.standard_normal())))


@dataclass(frozen=True)
class TableTask:
    """The phantom task: trainings that were made once, see search_table."""

    table: Table
    name: str = "phantoms"

    @cached_property
    def space(self) -> SearchSpace:
        """That of the table's experiment."""
        return load_experiment(EXPERIMENT).search.space

    @property
    def optimum(self) -> float:
        """Of the table."""
        return self.table.best

    def train(self, params: Mapping[str, Any], rng: np.random.Generator) -> Course:
        """Return the course of a trial, its time in seconds of one core."""
        curve = self.table.look_up(params)
        return Course(curve.values, min(curve.values), curve.cpu_seconds / len(curve.values))


def branin(x: np.ndarray) -> float:
    """Branin and Hoo (1972) on the unit square: three minima of 0.397887; worst 308."""
    a, b = 15 * x[0] - 5, 15 * x[1]
    value = (b - 5.1 / (4 * math.pi**2) * a**2 + 5 / math.pi * a - 6) ** 2
    value += 10 * (1 - 1 / (8 * math.pi)) * math.cos(a) + 10
    return math.log1p(max(0.0, value - 0.397887)) / math.log1p(308)


_HARTMANN_A = np.array(
    [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
)
_HARTMANN_P = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)


def hartmann6(x: np.ndarray) -> float:
    """Hartmann (1973) on the unit cube of six dimensions: minimum of -3.32237; worst 0."""
    inner = (_HARTMANN_A * (x - _HARTMANN_P) ** 2).sum(axis=1)
    value = -(np.array([1.0, 1.2, 3.0, 3.2]) * np.exp(-inner)).sum()
    return float(1 + value / 3.32237)


def rosenbrock4(x: np.ndarray) -> float:
    """Rosenbrock (1960) in four dimensions on [-2, 2]: minimum of 0 at (1, 1, 1, 1); worst 10827."""
    z = 4 * x - 2
    value = (100 * (z[1:] - z[:-1] ** 2) ** 2 + (1 - z[:-1]) ** 2).sum()
    return float(math.log1p(value) / math.log1p(10827))


def function_tasks() -> list[FunctionTask]:
    """Return the three."""
    return [
        FunctionTask("Branin", 2, branin),
        FunctionTask("Hartmann 6", 6, hartmann6),
        FunctionTask("Rosenbrock 4", 4, rosenbrock4),
    ]
