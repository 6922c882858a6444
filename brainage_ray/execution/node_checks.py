"""What each node of a cluster has, asked in a task there, and what of it will not do."""

from __future__ import annotations

import logging
import os
import platform
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from brainage_ray.errors import EngineError
from brainage_ray.execution.cluster import Cluster
from brainage_ray.execution.memory import GIB

PACKAGES = ("ray", "torch", "brainage-ray")
"""Whose versions matter: the same weights and the same seed shall give the same numbers everywhere."""
CLOCK_SECONDS = 30.0
LEAST_FREE = 1.0 * GIB
_ANSWER_SECONDS = 120.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class NodeFacts:
    """One node, as it describes itself."""

    node: str
    """Name and address."""
    python: str
    versions: Mapping[str, str]
    """By package; "": it is not installed."""
    clock_s: float
    """How far its clock is at least ahead of the driver's, seconds; negative: behind."""
    free: Mapping[str, float]
    """Bytes by folder."""
    writable: Mapping[str, bool]
    """By folder."""
    gpus: int
    """That the NVIDIA driver knows."""
    declared_gpus: float
    """That Ray was told of."""


@dataclass(frozen=True)
class Finding:
    """What will not do on a node."""

    node: str
    problem: str
    fix: str


def node_facts(cluster: Cluster, folder: Path) -> list[NodeFacts]:
    """Ask each node that is alive; holds no CPU, and asks for no machine.

    Args:
        cluster: running, or started.
        folder: the workspace, as the nodes see it.

    Raises:
        EngineError: a node does not answer.
    """
    cluster.connect()
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    begun, asked = time.time(), {}
    for node in (node for node in ray.nodes() if node["Alive"]):
        there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        task = ray.remote(num_cpus=0, max_retries=1, scheduling_strategy=there)(describe_here)
        asked[task.remote(str(folder))] = node
    found, waiting = [], list(asked)
    while waiting:
        ready, waiting = ray.wait(waiting, num_returns=1, timeout=_ANSWER_SECONDS)
        if not ready:
            names = ", ".join(_name(asked[reference]) for reference in waiting)
            raise EngineError(f"no answer from {names}", "Look there with `ray status`, and start that node again.")
        node = asked[ready[0]]
        try:
            told = dict(ray.get(ready[0]))
        except ray.exceptions.RayError as error:
            reason = str(error).strip().splitlines()[0]
            raise EngineError(f"{_name(node)} runs no task: {reason}", "Set that node up again.") from None
        clock = least_offset(told.pop("time"), begun, time.time())
        declared = node["Resources"].get("GPU", 0.0)
        found.append(NodeFacts(node=_name(node), clock_s=clock, declared_gpus=declared, **told))
    return sorted(found, key=lambda facts: facts.node)


def describe_here(folder: str) -> dict[str, Any]:
    """Return what this machine has: the fields of `NodeFacts` that it knows by itself, and its time."""
    places = (folder, tempfile.gettempdir())
    real = {place: _existing(Path(place)) for place in places}
    return {
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "free": {place: float(shutil.disk_usage(path).free) for place, path in real.items()},
        "writable": {place: os.access(path, os.W_OK) for place, path in real.items()},
        "gpus": len(list(Path("/proc/driver/nvidia/gpus").glob("*"))),
        "time": time.time(),
    }


def facts_here(folder: Path) -> NodeFacts:
    """Describe this machine, where the driver runs."""
    told = describe_here(str(folder))
    told.pop("time")
    return NodeFacts(node=socket.gethostname(), clock_s=0.0, declared_gpus=0.0, **told)


def least_offset(there: float, before: float, after: float) -> float:
    """Return how far a clock is off at least, that showed `there` at some moment between `before` and `after`."""
    return max(there - after, 0.0) + min(there - before, 0.0)


def other_versions(nodes: Sequence[NodeFacts], here: NodeFacts) -> Iterator[Finding]:
    """Yield nodes whose Python or packages are not the driver's; a brainage-ray that is sent along need not be."""
    for node in nodes:
        pairs = {"Python": (_minor(node.python), _minor(here.python))}
        pairs |= {name: (node.versions[name], mine) for name, mine in here.versions.items()}
        for name, (its, mine) in pairs.items():
            if its != mine and not (name == "brainage-ray" and not (its and mine)):
                problem = f"has {name} {its or '(none)'}, the driver {mine or '(none)'}"
                yield Finding(node.node, problem, "Install the versions of constraints.txt on all nodes.")


def clocks_off(nodes: Sequence[NodeFacts], most_s: float = CLOCK_SECONDS) -> Iterator[Finding]:
    """Yield nodes whose clock differs from the driver's: trainings survive it, logins at object stores do not."""
    for node in nodes:
        if abs(node.clock_s) > most_s:
            word = "ahead of" if node.clock_s > 0 else "behind"
            problem = f"has a clock that is at least {abs(node.clock_s):.0f} s {word} the driver's"
            yield Finding(node.node, problem, "Let it keep the time (timedatectl set-ntp true).")


def full_disks(nodes: Sequence[NodeFacts], least: float = LEAST_FREE) -> Iterator[Finding]:
    """Yield folders of nodes where fewer bytes than `least` are free."""
    for node in nodes:
        for folder, free in node.free.items():
            if free < least:
                problem = f"has {free / GIB:.2f} GiB free for {folder}, less than {least / GIB:g}"
                yield Finding(node.node, problem, "Free some space there.")


def unwritable(nodes: Sequence[NodeFacts]) -> Iterator[Finding]:
    """Yield folders that nodes cannot write."""
    for node in nodes:
        for folder in (folder for folder, may in node.writable.items() if not may):
            yield Finding(node.node, f"cannot write {folder}", "Mount it there, or give its user the right to.")


def missing_drivers(nodes: Sequence[NodeFacts]) -> Iterator[Finding]:
    """Yield nodes that told Ray of more GPUs than the NVIDIA driver there knows."""
    for node in nodes:
        if node.gpus < node.declared_gpus:
            problem = f"told Ray of {node.declared_gpus:g} GPUs, but its NVIDIA driver knows {node.gpus}"
            yield Finding(node.node, problem, "Take an image with the driver (nvidia-smi shows it), or start it anew.")


def check_nodes(cluster: Cluster, folder: Path) -> None:
    """Refuse nodes on which trials would fail or give other numbers; of a clock that is off the log tells.

    Args:
        cluster: running; machines that it may still start are not looked at.
        folder: the workspace.

    Raises:
        EngineError: one will not do, with what and how to mend it.
    """
    nodes = node_facts(cluster, folder)
    for found in clocks_off(nodes):
        logger.warning("the node %s %s", found.node, found.problem)
    checks = (other_versions(nodes, facts_here(folder)), missing_drivers(nodes), unwritable(nodes), full_disks(nodes))
    bad = [found for check in checks for found in check]
    if bad:
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        raise EngineError(f"the node {bad[0].node} {bad[0].problem}{more}", bad[0].fix)


def _minor(python: str) -> str:
    return ".".join(python.split(".")[:2])


def _name(node: Mapping[str, Any]) -> str:
    return f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"


def _existing(path: Path) -> Path:
    return next(place for place in (path, *path.absolute().parents) if place.exists())


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
