"""What cannot be placed is refused before anything trains, not after hours at the stage that asks for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from brainage_ray.config.experiment import ResourcesConfig
from brainage_ray.config.search import SearchConfig
from brainage_ray.errors import EngineError
from brainage_ray.execution.cluster import Cluster
from brainage_ray.execution.growth import places_of
from brainage_ray.execution.machine import this_machine
from brainage_ray.execution.memory import GIB


@dataclass(frozen=True)
class Demand:
    """Processes of one kind that have to run at the same time, or nothing goes on."""

    what: str
    """For the message: a trial of the search, the refit ..."""
    processes: int
    cpus: float
    """Of each."""
    gpus: float
    """Of each."""
    memory: float = 0.0
    """Of each, bytes; 0: not known."""
    settings: str = ""
    """To change, for the message."""

    def __str__(self) -> str:
        """Say it in words."""
        memory = f" and {self.memory / GIB:.1f} GiB of memory" if self.memory else ""
        each = f"{self.cpus:g} CPUs, {self.gpus:g} GPUs{memory}"
        if self.processes == 1:
            return f"{self.what} wants {each} on one node"
        total = f"{self.processes * self.cpus:g} CPUs and {self.processes * self.gpus:g} GPUs in all"
        return f"{self.what} wants {self.processes} workers at once with {each} each, {total}"


def trial_demand(search: SearchConfig, resources: ResourcesConfig) -> Demand:
    """Return what one trial of a search holds.

    A trial in its own process is one. A wide trial is its workers and no more: the actor that leads them computes
    nothing and holds nothing, so that leaders never take the CPUs that workers wait for.

    Args:
        search: says how many workers fit a trial together.
        resources: of a trial, and of a worker; its memory counts where it is stated or was measured.

    Raises:
        EngineError: two workers of a trial would share a GPU.
    """
    workers, gpus = search.workers_per_trial, resources.gpus_per_worker
    memory = (resources.memory_gib_per_trial or 0.0) * GIB
    if workers > 1 and 0 < gpus < 1:
        raise EngineError(
            f"resources.gpus_per_worker is {gpus:g}, but the {workers} workers of a trial share no GPU (NCCL)",
            "Set resources.gpus_per_worker to 1, or search.workers_per_trial to 1.",
        )
    if workers == 1:
        settings = "resources.cpus_per_trial, resources.gpus_per_trial"
        settings += " or resources.memory_gib_per_trial" if memory else ""
        return Demand("a trial of the search", 1, resources.cpus_per_trial, resources.gpus_per_trial, memory, settings)
    settings = "search.workers_per_trial, resources.cpus_per_worker, resources.gpus_per_worker"
    settings += " or resources.memory_gib_per_trial" if memory else ""
    return Demand("a trial of the search", workers, resources.cpus_per_worker, gpus, memory, settings)


def check_demands(cluster: Cluster, demands: Sequence[Demand]) -> None:
    """Check that each demand by itself fits on the cluster, as it is or as large as it may still grow.

    Asks for no machine and waits for none.

    Raises:
        EngineError: one does not; with the numbers.
    """
    for demand in demands:
        places = cluster.most_places(demand.cpus, demand.gpus, demand.memory)
        if places < demand.processes:
            where = f"the cluster has at most {_in_words(cluster.nodes_at_most())}"
            raise no_room(demand, where, places, "give the cluster more or larger nodes")


def check_here(demands: Sequence[Demand]) -> None:
    """Check that each demand by itself fits on this machine, before Ray is started on it.

    Raises:
        EngineError: one does not; with the numbers.
    """
    machine = this_machine(gpus=any(demand.gpus for demand in demands))
    for demand in demands:
        places = places_of(machine, demand.cpus, demand.gpus, demand.memory)
        if places < demand.processes:
            raise no_room(demand, f"this machine has {_in_words([machine])}", places, "name a cluster with --address")


def no_room(demand: Demand, where: str, places: int, else_: str) -> EngineError:
    """Return what to raise where a demand does not fit.

    Args:
        demand: that does not fit.
        where: what there is, in words.
        places: for how many of its processes there is room.
        else_: what to do if not less is asked for.
    """
    problem = f"{demand}, but {where}: room for {places} of {demand.processes}"
    return EngineError(problem, f"Lower {demand.settings}, or {else_}.")


def _in_words(nodes: Sequence[Mapping[str, float]]) -> str:
    kinds = ("CPU", "GPU", "memory")
    cpus, gpus, memory = (max(node.get(kind, 0.0) for node in nodes) for kind in kinds)
    one = f"{cpus:g} CPUs, {gpus:g} GPUs and {memory / GIB:.1f} GiB of memory on one node"
    if len(nodes) == 1:
        return one
    total = [sum(node.get(kind, 0.0) for node in nodes) for kind in kinds[:2]]
    return f"{one}, {total[0]:g} CPUs and {total[1]:g} GPUs on {len(nodes)} nodes"
