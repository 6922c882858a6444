from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import pytest

from brainage_ray.errors import DataError, EngineError
from brainage_ray.execution import Cluster, parallel_map
from brainage_ray.execution.memory import GIB

pytestmark = pytest.mark.ray


def test_results_come_in_the_order_of_the_items(cluster: Cluster, tmp_path: Path):
    def first_last(number: int) -> int:
        import time

        while number == 0 and not (tmp_path / "8").exists():
            time.sleep(0.01)
        (tmp_path / str(number)).touch()
        return number**2

    told: list[tuple[int, int | Exception]] = []
    assert parallel_map(cluster, first_last, range(9), lambda i, result: told.append((i, result))) == [
        i**2 for i in range(9)
    ]
    assert sorted(told) == [(i, i**2) for i in range(9)]
    assert told[0][0] != 0


@pytest.mark.parametrize("items", [[], [3], [3, 4]])
def test_few_items(cluster: Cluster, items: list[int]):
    def double(number: int) -> int:
        return 2 * number

    assert parallel_map(cluster, double, items) == [2 * item for item in items]


def test_an_item_that_fails_does_not_stop_the_others(cluster: Cluster):
    def picky(number: int) -> int:
        from brainage_ray.errors import DataError

        if number == 1:
            raise DataError(f"scan {number} is empty", "Leave it out.")
        if number == 3:
            raise ValueError("three")
        return number

    results = parallel_map(cluster, picky, range(5))
    assert [results[i] for i in (0, 2, 4)] == [0, 2, 4]
    assert isinstance(results[1], DataError)
    assert str(results[1]) == "scan 1 is empty. Leave it out."
    assert type(results[3]) is ValueError
    assert str(results[3]) == "three"


def test_a_process_that_dies_does_not_stop_the_others(cluster: Cluster):
    def dies(number: int) -> int:
        import os

        if number == 1:
            os._exit(1)
        return number

    results = parallel_map(cluster, dies, range(3))
    assert isinstance(results[1], EngineError)
    assert "died" in str(results[1])
    assert [results[0], results[2]] == [0, 2]


def test_an_error_in_the_callback_stops_what_is_left(cluster: Cluster, tmp_path: Path):
    def touch(path: Path) -> None:
        import time

        time.sleep(0.2)
        path.touch()

    def stop(index: int, result: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        parallel_map(cluster, touch, [tmp_path / str(i) for i in range(20)], stop)
    time.sleep(1)
    assert len(list(tmp_path.iterdir())) < 10


def test_a_task_that_fits_nowhere_is_refused(cluster: Cluster):
    with pytest.raises(EngineError, match=r"wants 64 CPUs.*has 2 CPUs.*cpus_per_scan"):
        parallel_map(cluster, str, [1], cpus_per_task=64)
    with pytest.raises(EngineError, match=r"and 5000 GiB of memory, .* GiB of memory on a node.*memory_gib_per_scan"):
        parallel_map(cluster, str, [1], gib_per_task=5000)


def test_no_more_tasks_run_at_once_than_there_is_memory_for(cluster: Cluster, tmp_path: Path):
    running, met = tmp_path / "running", tmp_path / "met"
    running.mkdir()

    def count(number: int, patience: int) -> int:
        import time

        (running / str(number)).touch()
        for _ in range(patience):  # for a second one, which a busy machine starts late
            if met.exists() or len(list(running.iterdir())) > 1:
                met.touch()
                break
            time.sleep(0.01)
        time.sleep(0.3)
        at_once = len(list(running.iterdir()))
        (running / str(number)).unlink()
        return at_once

    half = cluster.resources().memory / GIB / 2
    assert max(parallel_map(cluster, partial(count, patience=1), range(4), gib_per_task=1.2 * half)) == 1
    assert max(parallel_map(cluster, partial(count, patience=3000), range(6), gib_per_task=0.9 * half)) == 2


def test_an_item_that_needs_more_memory_than_it_may_have_does_not_stop_the_others(cluster: Cluster):
    def fill(mib: int) -> tuple[int, int]:
        import os

        import numpy as np

        return os.getpid(), np.ones(mib * 2**17).nbytes

    few, much, few_again, more = parallel_map(cluster, fill, [100, 1500, 100, 4000], gib_per_task=1)
    assert [few[1], few_again[1]] == [100 * 2**20] * 2  # type: ignore[index]
    for result in (much, more):
        assert isinstance(result, EngineError)
        assert "more memory than 1 GiB: Unable to allocate" in str(result)
        assert "Raise resources.memory_gib_per_scan" in str(result)
    (enough,) = parallel_map(cluster, fill, [1500], gib_per_task=2)
    assert enough[1] == 1500 * 2**20  # type: ignore[index]
