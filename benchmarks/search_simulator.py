"""An asynchronous search on a virtual clock: the searchers are the real ones, the trainings are courses of a task."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from benchmarks.search_tasks import Course, Task


class Searcher(Protocol):
    """Who proposes trials and stops them. Trials are named by numbers, from 0."""

    def ask(self, number: int) -> Mapping[str, Any]:
        """Return the settings of a new trial, value by dotted path."""

    def report(self, number: int, epoch: int, value: float) -> bool:
        """Take an epoch's value, which may be NaN; return whether the trial is to stop."""

    def end(self, number: int, epoch: int, value: float) -> None:
        """Take note that a trial was stopped or trained to its end, with its last epoch."""

    def choose(self) -> int | None:
        """Return the trial whose settings are to be used, None where there is none."""


@dataclass(frozen=True)
class Point:
    """Where a search is after an epoch of some trial."""

    cost: float
    """Training time of all workers so far."""
    best_value: float
    """Smallest value reported so far, years."""


@dataclass
class Searched:
    """What came of a search."""

    courses: list[Course] = field(default_factory=list)
    """By trial."""
    epochs: list[int] = field(default_factory=list)
    """Trained by trial."""
    ended: list[int] = field(default_factory=list)
    """Trials that did, in their order; the others were in flight when the budget was spent."""
    points: list[Point] = field(default_factory=list)
    """By epoch, in the order in which they ended."""
    chosen: int | None = None

    def regret(self, task: Task) -> float:
        """Return by how much the chosen settings are worse than the best there are, years; the worst's for none."""
        if self.chosen is None:
            return max(course.true_best for course in self.courses) - task.optimum
        return self.courses[self.chosen].true_best - task.optimum


def simulate(searcher: Searcher, task: Task, workers: int, budget: int, seed: int) -> Searched:
    """Let workers train trials until they have trained some epochs between them.

    Args:
        searcher: who proposes and stops.
        task: what is searched.
        workers: that train side by side, each one trial.
        budget: epochs that are trained over all trials; what is in flight then is cut off.
        seed: of the task's noise; trial i of two searchers has the same, whatever its settings.
    """
    searched = Searched()
    queue: list[tuple[float, int, int | None]] = [(0.0, worker, None) for worker in range(workers)]
    best, cost = math.inf, 0.0
    while len(searched.points) < budget:
        now, worker, number = heapq.heappop(queue)  # time at which the worker is through with an epoch of a trial
        if number is not None:
            value, ended = _epoch(searcher, searched, number)
            cost += searched.courses[number].epoch_cost
            best = min(best, value) if math.isfinite(value) else best
            searched.points.append(Point(cost, best))
            number = None if ended else number
        if number is None:
            number = _begin(searcher, searched, task, seed)
        heapq.heappush(queue, (now + searched.courses[number].epoch_cost, worker, number))
    searched.chosen = searcher.choose()
    return searched


def _begin(searcher: Searcher, searched: Searched, task: Task, seed: int) -> int:
    number = len(searched.courses)
    params = searcher.ask(number)
    searched.courses.append(task.train(params, np.random.default_rng((seed, number))))
    searched.epochs.append(0)
    return number


def _epoch(searcher: Searcher, searched: Searched, number: int) -> tuple[float, bool]:
    """End an epoch of a trial; return its value, and whether the trial ended with it."""
    course = searched.courses[number]
    searched.epochs[number] += 1
    epoch = searched.epochs[number]
    value = course.values[epoch - 1]
    ended = searcher.report(number, epoch, value) or epoch == len(course.values)
    if ended:
        searcher.end(number, epoch, value)
        searched.ended.append(number)
    return value, ended
