"""Machines that an autoscaling cluster may still start: how many, asking for them, waiting for them."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

BOOTSTRAP = "ray_bootstrap_config.yaml"
"""In the home folder of a head that `ray up` started: its cluster.yaml with all defaults filled in."""

_FIRST_SECONDS = 900.0  # for the first place: a machine starts, then installs what it needs
_MORE_SECONDS = 300.0  # for the next one: they start together, and spot machines may be sold out
_POLL_SECONDS = 2.0

logger = logging.getLogger(__name__)


class Autoscaler:
    """Asks a cluster's autoscaler for machines; what was asked for last counts until it is released.

    The cluster remembers it: a driver that is killed (kill -9) leaves its machines running.

    Args:
        config: a cluster.yaml with its defaults filled in.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config
        self._asked = False

    def grow(self, cpus: float, gpus: float, wanted: int, count: Callable[[], int], memory: float = 0) -> int:
        """Ask for places for units of work and wait for them: for as many as the cluster may ever have.

        Args:
            cpus: that each unit holds.
            gpus: that each unit holds.
            wanted: places to ask for.
            count: counts the places that there are.
            memory: that each unit holds, bytes; asked for where the cluster.yaml says what its machines have.

        Returns:
            How many there are now: fewer than wanted where no more came for some minutes.
        """
        wanted = min(wanted, self.most_places(cpus, gpus, memory))
        kinds = self._config["available_node_types"].values()
        known = any("memory" in (kind.get("resources") or {}) for kind in kinds)
        bundle = {"CPU": cpus} | ({"GPU": gpus} if gpus else {}) | ({"memory": memory} if memory and known else {})
        _request([bundle] * wanted)
        self._asked = True
        places, since = count(), time.monotonic()
        if places < wanted:
            logger.info("waiting for machines: %d of %d places are there", places, wanted)
        while places < wanted and time.monotonic() - since < (_MORE_SECONDS if places else _FIRST_SECONDS):
            time.sleep(_POLL_SECONDS)
            before, places = places, count()
            if places > before:
                since = time.monotonic()
        return places

    def release(self) -> None:
        """Take back what was asked for: machines without work then go."""
        if self._asked:
            with contextlib.suppress(Exception):  # the cluster itself may have gone
                _request([])
        self._asked = False

    def most_places(self, cpus: float, gpus: float, memory: float = 0) -> int:
        """Count how many units of work fit on the head and all workers that may be started.

        Work without GPUs counts machines with GPUs only where no others have room for it.
        """
        kinds = self._config["available_node_types"]
        places = {name: places_of(kind.get("resources") or {}, cpus, gpus, memory) for name, kind in kinds.items()}
        machines = {name: kind.get("max_workers", 0) for name, kind in kinds.items() if places[name]}
        plain = {name: count for name, count in machines.items() if count and not kinds[name]["resources"].get("GPU")}
        counted = plain if plain and not gpus else machines
        rooms = sorted((places[name] for name, count in counted.items() for _ in range(count)), reverse=True)
        return places[self._config["head_node_type"]] + sum(rooms[: self._config["max_workers"]])

    def machines(self) -> list[dict[str, float]]:
        """Return what each machine has where all have started that may: the head, then those with most GPUs, CPUs."""
        kinds = self._config["available_node_types"]
        head = dict(kinds[self._config["head_node_type"]].get("resources") or {})
        workers = [
            dict(kind.get("resources") or {}) for kind in kinds.values() for _ in range(kind.get("max_workers", 0))
        ]
        workers.sort(key=lambda node: (node.get("GPU", 0), node.get("CPU", 0)), reverse=True)
        return [head, *workers[: self._config["max_workers"]]]


def find_autoscaler() -> Autoscaler | None:
    """Return the autoscaler of the cluster whose head this machine is; None where `ray up` made no head of it."""
    path = Path.home() / BOOTSTRAP
    return Autoscaler(yaml.safe_load(path.read_text())) if path.is_file() else None


def places_of(node: Mapping[str, float], cpus: float, gpus: float, memory: float = 0) -> int:
    """Count how many units of work that hold so many CPUs, GPUs and bytes each fit on a node with these resources.

    A node that does not say how much memory it has, has enough.
    """
    by_cpu = math.floor(node.get("CPU", 0.0) / cpus + 1e-9)
    if memory and "memory" in node:
        by_cpu = min(by_cpu, math.floor(node["memory"] / memory))
    if gpus == 0:
        return by_cpu
    devices = node.get("GPU", 0.0)
    # a unit that takes part of a GPU lies on one GPU
    by_gpu = devices * math.floor(1 / gpus + 1e-9) if gpus < 1 else math.floor(devices / gpus + 1e-9)
    return min(by_cpu, int(by_gpu))


def _request(bundles: list[dict[str, float]]) -> None:
    from ray.autoscaler.sdk import request_resources  # seconds: only where there is work

    request_resources(bundles=bundles)
