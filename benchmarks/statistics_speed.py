"""Seconds of comparing arms with 10,000 bootstrap draws over a million predictions, against resampling per draw."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.measure import Row
from brainage_ray.evaluation.arms import compare_arms

ARMS, SEEDS, SCANS, DRAWS = 6, 5, 33_333, 10_000
PEER_DRAWS = 20


def measure() -> list[Row]:
    """Compare six arms of five seeds on 33,333 scans, one a person; the peer makes few draws and is scaled up."""
    brain_ages, age, person = _predictions()
    ours = _time(lambda: compare_arms(brain_ages, age, person, n_draws=DRAWS))
    table = _table(brain_ages, age, person)
    peer = _time(lambda: _draw_with_pandas(table, PEER_DRAWS)) * DRAWS / PEER_DRAWS
    what = f"arms compared, {ARMS * SEEDS * SCANS:,} predictions, {DRAWS:,} draws"
    name = f"pandas, a table drawn and grouped each time, {PEER_DRAWS} draws scaled to {DRAWS:,}"
    return [Row(what, "s", ours, peer, more_is_better=False, goal="<= 60 s", peer_name=name)]


def _predictions() -> tuple[Mapping[str, np.ndarray], np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    age = rng.uniform(55, 91, SCANS)
    spread = np.linspace(3.5, 4.5, ARMS)
    brain_ages = {f"arm{i}": age + sd * rng.standard_normal((SEEDS, SCANS)) for i, sd in enumerate(spread)}
    return brain_ages, age, np.array([f"person{i:05d}" for i in range(SCANS)], dtype=object)


def _table(brain_ages: Mapping[str, np.ndarray], age: np.ndarray, person: np.ndarray) -> pd.DataFrame:
    """One row a person, one column a model: absolute errors in years, with the models' arms above."""
    errors = {(arm, seed): np.abs(row - age) for arm, rows in brain_ages.items() for seed, row in enumerate(rows)}
    return pd.DataFrame(errors, index=person)


def _draw_with_pandas(table: pd.DataFrame, draws: int) -> list[Any]:
    rng = np.random.default_rng(0)
    results = []
    for _ in range(draws):
        people = table.sample(len(table), replace=True, random_state=rng)
        seeds = rng.integers(0, SEEDS, size=(ARMS, SEEDS))
        columns = [(f"arm{arm}", seed) for arm in range(ARMS) for seed in seeds[arm]]
        results.append(people[columns].mean().groupby(level=0).mean())
    return results


def _time(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
