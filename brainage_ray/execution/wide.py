"""A wide trial: workers that fit its runs together (DDP), and the actor under Ray Tune that leads them.

Why not a TorchTrainer inside the trial: docs/decisions/0010-wide-trials.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ray
from ray import tune
from ray.exceptions import RayActorError
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from brainage_ray.execution.preflight import Demand
from brainage_ray.execution.trial import EpochSource, TrialActor

GRACE_SECONDS = 30.0
"""How long workers may go on after one of them has failed, before they are taken to wait for it."""


class WideTrialActor(tune.Trainable):  # type: ignore[misc]
    """Lets workers train the runs of a trial together, one epoch of each run per step, and speaks for them.

    Seeds take turns within a step, as in a narrow trial. The workers live as long as this actor: they are kept for
    the next trial where this one ended in good order, and end with this actor however it ends. They lie in the
    placement group that Tune made for the trial, and Tune removes that with everything in it.
    """

    _damaged: str
    _epoch: int

    def setup(self, config: dict[str, Any], epochs: EpochSource | None, demand: Demand) -> None:
        """Start the workers and begin the first trial; see run_study for `epochs`."""
        self._source, self._demand = epochs, demand
        self._team: list[Any] = _start(demand)
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin another trial with the same workers; with new ones where the last one's were ended."""
        self._team = self._team or _start(self._demand)
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Train one epoch of every seed."""
        if self._damaged:
            raise RuntimeError(self._damaged)
        report = self._ask_all()
        self._epoch = report.get("epoch", self._epoch)
        if report.get("failure") == "error":
            self._damaged = report["reason"]
            self.cleanup()
        return report

    def cleanup(self) -> None:
        """End the workers."""
        for worker in self._team:
            ray.kill(worker)
        self._team = []

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        """Note the epoch: the runs keep what else they need in their own folders."""
        return {"epoch": self._epoch}

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Pass over the epochs that were reported before; the runs go on after them."""
        while self._epoch < checkpoint["epoch"]:
            self.step()

    def _begin(self, config: Mapping[str, Any]) -> None:
        self._epoch, self._damaged = 0, ""
        ray.get([worker.begin.remote(dict(config), self._source) for worker in self._team])

    def _ask_all(self) -> dict[str, Any]:
        """Return the first worker's report, or that of one that failed; raise where one has died."""
        waiting = {worker.step.remote(): rank for rank, worker in enumerate(self._team)}
        reports: dict[int, dict[str, Any]] = {}
        try:
            while waiting:
                failed = any("failure" in report for report in reports.values())
                ready, _ = ray.wait(list(waiting), timeout=GRACE_SECONDS if failed else None)
                if not ready:  # the others wait for the one that failed
                    break
                reports[waiting.pop(ready[0])] = ray.get(ready[0])
        except RayActorError:
            self.cleanup()
            raise
        failures = [report for report in reports.values() if "failure" in report]
        if waiting:
            self.cleanup()
        return failures[0] if failures else reports[0]


class TeamWorker(TrialActor):
    """One of the workers of a wide trial: a TrialActor without Tune around it, in a process group."""

    def __init__(self) -> None:  # not Tune's, which makes folders and looks for a trial
        self._progress = []

    def open(self) -> tuple[str, int]:
        """Open the store through which the workers find each other, and return its host and port; of the first."""
        import torch.distributed as dist

        host = ray.util.get_node_ip_address()
        self._store = dist.TCPStore(host, 0, is_master=True, wait_for_workers=False)  # type: ignore[attr-defined]
        return host, self._store.port

    def join(self, address: tuple[str, int], rank: int, size: int, gpu: bool) -> None:
        """Join the group, as its worker `rank` of `size`."""
        import torch.distributed as dist

        store = self._store if rank == 0 else dist.TCPStore(*address, is_master=False)  # type: ignore[attr-defined]
        self._writes = rank == 0
        dist.init_process_group("nccl" if gpu else "gloo", store=store, rank=rank, world_size=size)

    def begin(self, config: dict[str, Any], epochs: EpochSource | None) -> None:
        """Begin a trial, in place of the one before."""
        self._close()
        self.setup(config, epochs)


def bundles(demand: Demand) -> tune.PlacementGroupFactory:
    """Return what Tune reserves for a trial, all of it or nothing; the leader of a wide one holds nothing."""
    held = {"CPU": demand.cpus, "GPU": demand.gpus, "memory": int(demand.memory)}
    process = {kind: n for kind, n in held.items() if n}
    return tune.PlacementGroupFactory([process] if demand.processes == 1 else [{}, *[process] * demand.processes])


def _start(demand: Demand) -> list[Any]:
    """Start the workers in the placement group of this actor, and let them find each other."""
    group = ray.util.get_current_placement_group()
    worker = ray.remote(TeamWorker)
    team = [
        worker.options(
            num_cpus=demand.cpus,
            num_gpus=demand.gpus,
            memory=int(demand.memory) or None,
            scheduling_strategy=PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=index),
        ).remote()
        for index in range(demand.processes)
    ]
    _introduce(team, demand.gpus > 0)
    return team


def _introduce(team: Sequence[Any], gpu: bool) -> None:
    address = ray.get(team[0].open.remote())
    ray.get([worker.join.remote(address, rank, len(team), gpu) for rank, worker in enumerate(team)])
