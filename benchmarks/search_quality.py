"""How good the settings are that a search chooses: true states against the stock bridge's, and one lie at a time.

    python -m benchmarks.search_quality

runs every searcher on every task with the same seeds and the same number of trained epochs, prints the paired
differences of the regret with their 95 % intervals, and writes benchmarks/results/search_quality.json.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.measure import Row
from benchmarks.search_arms import ARMS
from benchmarks.search_simulator import Searched, simulate
from benchmarks.search_table import load_table
from benchmarks.search_tasks import EPOCHS, TableTask, Task, function_tasks

RESULTS = Path(__file__).parent / "results" / "search_quality.json"
SEEDS, WORKERS, PROCESSES = 20, 4, 2
TRAININGS = {"phantoms": 20}
"""Budget of a search by task, in trainings of all epochs."""
USUAL_TRAININGS = 40


@dataclass(frozen=True)
class Outcome:
    """Of one search."""

    task: str
    arm: str
    seed: int
    regret: float
    """Of the chosen settings, years."""
    trials: int
    """That ended."""
    stopped: int
    """Of them, by the scheduler: the bridge says that they are complete."""
    past_best: int
    """Of them, trained to the end with a last value above the best: the bridge tells the last."""
    nan: int
    """Of them, ended in NaN: the bridge never closes them."""


@dataclass(frozen=True)
class Difference:
    """Regret of ours less that of another searcher, over the same seeds, years."""

    task: str
    arm: str
    ours: float
    other: float
    mean: float
    low: float
    high: float
    """Mean and its 95 % interval: bootstrap over the seeds, bias-corrected and accelerated."""


def measure() -> list[Row]:
    """Search with ours and with the bridge."""
    outcomes = run_all(["ours", "bridge"], SEEDS)
    return [
        Row(f"regret of the chosen settings, {d.task}, mean of {SEEDS} searches; difference {_interval(d)}", "years",
            d.ours, d.other, more_is_better=False, peer_name="OptunaSearch + AsyncHyperBandScheduler")
        for d in differences(outcomes)
    ]  # fmt: skip


def main() -> None:
    """Compare all searchers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    arguments = parser.parse_args()
    outcomes = run_all(list(ARMS), arguments.seeds)
    compared = differences(outcomes)
    for d in compared:
        print(f"{d.task:14} ours {d.ours:.3f}, {d.arm:36} {d.other:.3f} years, difference {_interval(d)}")
    told = misstated(outcomes)
    print(json.dumps(told, indent=1))
    found = {"command": "python -m benchmarks.search_quality", "seeds": arguments.seeds, "misstated": told}
    lists = {"differences": [asdict(d) for d in compared], "outcomes": [asdict(o) for o in outcomes]}
    RESULTS.write_text(json.dumps({**found, **lists}, indent=1) + "\n")


def run_all(arms: Sequence[str], seeds: int) -> list[Outcome]:
    """Search every task with every searcher and seed."""
    jobs = [(task, arm, seed) for task in tasks() for arm in arms for seed in range(seeds)]
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        return pool.starmap(run_one, jobs, chunksize=5)


@cache
def tasks() -> dict[str, Task]:
    """Return the tasks by name."""
    found: list[Task] = [*function_tasks(), TableTask(load_table())]
    return {task.name: task for task in found}


def run_one(name: str, arm: str, seed: int) -> Outcome:
    """Run one search."""
    task = tasks()[name]
    with ARMS[arm](task, seed) as searcher:
        searched = simulate(searcher, task, WORKERS, EPOCHS * TRAININGS.get(name, USUAL_TRAININGS), seed)
    return Outcome(name, arm, seed, searched.regret(task), **count(searched))


def count(searched: Searched) -> dict[str, int]:
    """Count the trials that ended, by how the bridge would mis-state them."""
    counts = dict.fromkeys(("trials", "stopped", "past_best", "nan"), 0)
    for number in searched.ended:
        values = searched.courses[number].values[: searched.epochs[number]]
        counts["trials"] += 1
        if not np.isfinite(values[-1]):
            counts["nan"] += 1
        elif len(values) < len(searched.courses[number].values):
            counts["stopped"] += 1
        elif values[-1] > min(values):
            counts["past_best"] += 1
    return counts


def differences(outcomes: Sequence[Outcome]) -> list[Difference]:
    """Compare ours with every other searcher, task by task and over all tasks."""
    regrets: dict[tuple[str, str], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for o in outcomes:
        for task in (o.task, "all tasks"):
            regrets[task, o.arm][o.seed].append(o.regret)
    return [_difference(*key, regrets[key[0], "ours"], by_seed) for key, by_seed in regrets.items() if key[1] != "ours"]


def _difference(
    task: str, arm: str, ours: Mapping[int, Sequence[float]], other: Mapping[int, Sequence[float]]
) -> Difference:
    seeds = sorted(ours)
    a, b = (np.array([np.mean(by_seed[seed]) for seed in seeds]) for by_seed in (ours, other))
    low = high = 0.0
    if np.ptp(a - b) > 0:  # else they did the same in every search
        low, high = stats.bootstrap((a - b,), np.mean, rng=0).confidence_interval
    return Difference(task, arm, a.mean(), b.mean(), (a - b).mean(), float(low), float(high))


def misstated(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return the shares of the bridge's trials of which Optuna is not told the truth, by task."""
    shares = {}
    for task in dict.fromkeys(o.task for o in outcomes):
        mine = [o for o in outcomes if o.task == task and o.arm == "bridge"]
        trials = sum(o.trials for o in mine)
        kinds = ("stopped", "past_best", "nan")
        shares[task] = {kind: round(sum(getattr(o, kind) for o in mine) / trials, 3) for kind in kinds}
    return shares


def _interval(d: Difference) -> str:
    return f"{d.mean:+.3f} [{d.low:+.3f}, {d.high:+.3f}]"


if __name__ == "__main__":
    main()
