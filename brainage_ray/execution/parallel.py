"""The same function over many items, as Ray tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from brainage_ray.errors import EngineError
from brainage_ray.execution.cluster import Cluster

Item = TypeVar("Item")
Result = TypeVar("Result")


def parallel_map(
    cluster: Cluster,
    function: Callable[[Item], Result],
    items: Sequence[Item],
    on_done: Callable[[int, Result | Exception], None] | None = None,
    cpus_per_task: float = 1,
) -> list[Result | Exception]:
    """Apply a function to every item; an item that fails does not stop the others.

    Args:
        cluster: where the tasks run; not started where there is nothing to do.
        function: is pickled, as are the items and the results: pass paths, not arrays.
        items: what to apply it to.
        on_done: told the index and the result or exception of each item as it ends, in this process.
        cpus_per_task: CPUs that each item holds.

    Returns:
        The result of each item, or the exception that it raised, in the order of the items.

    Raises:
        EngineError: no node of the cluster has that many CPUs.
    """
    if not items:
        return []
    results: dict[int, Result | Exception] = {}
    flying: dict[Any, int] = {}
    todo = iter(enumerate(items))
    try:
        room = 2 * task_places(cluster, cpus_per_task, len(items))
        import ray

        task = ray.remote(num_cpus=cpus_per_task, max_retries=1)(function)
        while len(results) < len(items):
            while len(flying) < room and (following := next(todo, None)) is not None:
                flying[task.remote(following[1])] = following[0]
            ready, _ = ray.wait(list(flying), num_returns=1)
            index = flying.pop(ready[0])
            results[index] = _outcome(ready[0])
            if on_done is not None:
                on_done(index, results[index])
    finally:
        for reference in flying:
            ray.cancel(reference, force=True)
        cluster.release()
    return [results[index] for index in range(len(items))]


def task_places(cluster: Cluster, cpus: float, wanted: int) -> int:
    """Count how many tasks of so many CPUs fit at once; a cluster that grows does so for as many as are wanted.

    Raises:
        EngineError: not even one does.
    """
    places = cluster.places(cpus, 0, wanted)
    if places == 0:
        raise EngineError(
            f"a task wants {cpus:g} CPUs, but the cluster has {cluster.resources()}",
            "Lower resources.cpus_per_scan, or give the cluster larger nodes.",
        )
    return places


def _outcome(reference: Any) -> Any:
    import ray

    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        return error.cause if isinstance(error.cause, Exception) else EngineError(str(error))
    except ray.exceptions.RayError as error:
        return EngineError(f"a worker process died: {str(error).strip().splitlines()[0]}", "Look for lack of memory.")
