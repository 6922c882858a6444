"""The memory of a search trial, measured before the search, so that packing trials together cannot run out of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from brainage_ray.config.run import TrainingRun
from brainage_ray.config.space import CategoricalParameter, Choice, Parameter, SearchSpace
from brainage_ray.data.node_files import bring_run
from brainage_ray.errors import BrainageError, EngineError
from brainage_ray.execution.cluster import Cluster
from brainage_ray.execution.memory import GIB
from brainage_ray.execution.points import grid_points
from brainage_ray.execution.preflight import trial_demand
from brainage_ray.execution.results import StudyPlan

MARGIN = 1.15
"""Over what one step takes: pools grow while a training goes on, and libraries choose other algorithms."""
_DECIDE = ("training.optimizer.name", "training.precision")
"""Choices that change how much a network takes, besides those of the backbone; of numbers the largest takes most."""


@dataclass(frozen=True)
class TrialMemory:
    """What a process of a trial takes at most, bytes; of a wide trial one of its workers."""

    host: int
    gpu: int = 0
    """0 where it trains on the CPU."""
    gpu_total: int = 0
    """Memory of the GPU that it was measured on."""

    @property
    def per_gpu(self) -> int:
        """How many such processes fit into the GPU at once."""
        return math.floor(self.gpu_total / (self.gpu * MARGIN)) if self.gpu else 0


def measure_trial(cluster: Cluster, plan: StudyPlan) -> TrialMemory:
    """Measure the largest networks that a search may build, in a worker of the cluster that ends afterwards.

    Raises:
        EngineError: not even one trial fits into the memory that there is.
        DataError: there is nothing to train or validate on.
    """
    demand = trial_demand(plan.search, plan.resources)
    if not cluster.places(demand.cpus, demand.gpus, 1):  # the study itself says what is missing
        return TrialMemory(0)
    import ray  # seconds: only where there is work

    texts = [[run.model_dump_json() for run in runs] for runs in largest_trials(plan)]
    task = ray.remote(num_cpus=demand.cpus, num_gpus=demand.gpus, max_calls=1, max_retries=0)(_measure)
    try:
        return TrialMemory(*ray.get(task.remote(texts)))
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, BrainageError):
            raise error.cause from None
        raise _too_large(plan, str(error.cause).splitlines()[0]) from None
    except ray.exceptions.WorkerCrashedError:
        raise _too_large(plan, "its process died") from None


def largest_trials(plan: StudyPlan) -> list[list[TrainingRun]]:
    """Return the runs of the trials that may take most memory: the largest of all numbers, each kind of network.

    A worker of a wide trial has its share of the batch.
    """
    from brainage_ray.execution.session import trial_runs  # loads torch

    shrunk: dict[str, Parameter] = {
        path: CategoricalParameter(type="categorical", choices=_largest(path, parameter.values), when=parameter.when)
        for path, parameter in plan.search.space.parameters.items()
    }
    points = grid_points(SearchSpace(parameters=shrunk), plan.run)
    return [[_share(run) for run in trial_runs(plan, 0, point)] for point in points]


def settle(plan: StudyPlan, memory: TrialMemory) -> tuple[StudyPlan, str]:
    """Give a plan's trials the memory that they take, and as much of a GPU that no more share it than fit.

    Args:
        plan: with what the experiment says; a stated memory stays.
        memory: of one of its trials.

    Returns:
        The plan, and a note where it takes more of a GPU than the experiment says; else "".

    Raises:
        EngineError: a trial takes more than a GPU has.
    """
    held, changes, note = plan.resources, dict[str, Any](), ""
    if held.memory_gib_per_trial is None and memory.host:
        changes["memory_gib_per_trial"] = memory.host * MARGIN / GIB
    share, fits = held.gpus_per_trial, memory.per_gpu
    if memory.gpu and not fits:
        raise _too_large(plan, f"it takes {memory.gpu / GIB:.1f} of {memory.gpu_total / GIB:.1f} GiB")
    if 0 < share < 1 and memory.gpu and math.floor(1 / share + 1e-9) > fits:
        changes["gpus_per_trial"] = 1 / fits
        note = (
            f"A trial of {plan.arm} takes up to {memory.gpu * MARGIN / GIB:.1f} of the GPU's "
            f"{memory.gpu_total / GIB:.1f} GiB: {fits} share one, not {math.floor(1 / share + 1e-9)} as "
            f"resources.gpus_per_trial: {share:g} says"
        )
    return replace(plan, resources=held.model_copy(update=changes)), note


def _largest(path: str, values: Sequence[Choice]) -> tuple[Choice, ...]:
    numbers = [value for value in values if not isinstance(value, str)]
    if numbers:
        return (max(numbers),)
    return tuple(values) if path.startswith("backbone.") or path in _DECIDE else tuple(values[:1])


def _share(run: TrainingRun) -> TrainingRun:
    batch = math.ceil(run.training.batch_size / run.team)
    return run.model_copy(update={"training": run.training.model_copy(update={"batch_size": batch})})


def _measure(trials: Sequence[Sequence[str]]) -> tuple[int, int, int]:
    """Do the work inside the worker."""
    from brainage_ray.training.memory import measure_memory

    return measure_memory([[bring_run(TrainingRun.model_validate_json(text)) for text in runs] for runs in trials])


def _too_large(plan: StudyPlan, reason: str) -> EngineError:
    return EngineError(
        f"the largest network of {plan.arm}'s search space does not fit into memory with "
        f"{plan.search.seeds_per_trial} seeds a trial, all by itself: {reason}",
        "Take the largest batch_size, width or depth out of the search space, or lower search.seeds_per_trial.",
    )
