"""The same function over many items, as Ray tasks."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from brainage_ray.errors import EngineError
from brainage_ray.execution.cluster import Cluster
from brainage_ray.execution.memory import GIB, memory_limit

Item = TypeVar("Item")
Result = TypeVar("Result")

MEMORY_SETTING = "resources.memory_gib_per_scan"
"""Is named where an item failed for want of memory."""


def parallel_map(
    cluster: Cluster,
    function: Callable[[Item], Result],
    items: Sequence[Item],
    on_done: Callable[[int, Result | Exception], None] | None = None,
    cpus_per_task: float = 1,
    gib_per_task: float = 1,
) -> list[Result | Exception]:
    """Apply a function to every item; an item that fails does not stop the others.

    Args:
        cluster: where the tasks run; not started where there is nothing to do.
        function: is pickled, as are the items and the results: pass paths, not arrays.
        items: what to apply it to.
        on_done: told the index and the result or exception of each item as it ends, in this process.
        cpus_per_task: CPUs that each item holds.
        gib_per_task: memory that each item holds, GiB; an item that needs more fails.

    Returns:
        The result of each item, or the exception that it raised, in the order of the items.

    Raises:
        EngineError: no node of the cluster has that many CPUs and that much memory.
    """
    if not items:
        return []
    results: dict[int, Result | Exception] = {}
    flying: dict[Any, int] = {}
    todo = iter(enumerate(items))
    try:
        room = 2 * task_places(cluster, cpus_per_task, len(items), gib_per_task)
        import ray

        options = {"num_cpus": cpus_per_task, "memory": int(gib_per_task * GIB), "max_retries": 1}
        task = ray.remote(**options)(_bounded(function, gib_per_task))
        while len(results) < len(items):
            while len(flying) < room and (following := next(todo, None)) is not None:
                flying[task.remote(following[1])] = following[0]
            ready, _ = ray.wait(list(flying), num_returns=1)
            index = flying.pop(ready[0])
            results[index] = _outcome(ready[0], gib_per_task)
            if on_done is not None:
                on_done(index, results[index])
    finally:
        for reference in flying:
            ray.cancel(reference, force=True)
        cluster.release()
    return [results[index] for index in range(len(items))]


def task_places(cluster: Cluster, cpus: float, wanted: int, gib: float = 0) -> int:
    """Count how many tasks of so many CPUs and so much memory fit at once.

    A cluster that grows does so for as many as are wanted.

    Raises:
        EngineError: not even one does.
    """
    places = cluster.places(cpus, 0, wanted, gib * GIB)
    if places == 0:
        found = cluster.resources()
        raise EngineError(
            f"a task wants {cpus:g} CPUs and {gib:g} GiB of memory, but the cluster has {found}, "
            f"and for tasks {found.memory / GIB:.1f} GiB of memory on a node",
            f"Lower resources.cpus_per_scan or {MEMORY_SETTING}, or give the cluster larger nodes.",
        )
    return places


def _bounded(function: Callable[[Item], Result], gib: float) -> Callable[[Item], Result]:
    @functools.wraps(function, updated=())  # the name that ps and top show
    def bounded(item: Item) -> Result:
        with memory_limit(gib):
            return function(item)

    return bounded


def _outcome(reference: Any, gib: float) -> Any:
    import ray

    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, MemoryError):
            problem = f"it needs more memory than {gib:g} GiB: {error.cause}"
            return EngineError(problem, f"Raise {MEMORY_SETTING}, or leave it out.")
        return error.cause if isinstance(error.cause, Exception) else EngineError(str(error))
    except ray.exceptions.RayError as error:
        problem = f"a worker process died: {str(error).strip().splitlines()[0]}"
        return EngineError(problem, f"Raise {MEMORY_SETTING} if it lacked memory.")
