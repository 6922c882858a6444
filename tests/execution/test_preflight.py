from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from engine_plans import LR_RANGE, make_plan

from brainage_ray.config import ResourcesConfig, SearchConfig
from brainage_ray.errors import EngineError
from brainage_ray.execution import GIB, Cluster, Demand, check_demands, trial_demand
from brainage_ray.execution.growth import Autoscaler


class Nodes(Cluster):
    """A cluster of nodes that are only numbers; nothing is started, no machine is asked for."""

    def __init__(self, *nodes: dict[str, float], autoscaler: Autoscaler | None = None) -> None:
        super().__init__()
        self._numbers, self._autoscaler = list(nodes), autoscaler

    def _nodes(self) -> list[dict[str, float]]:
        return self._numbers

    def places(self, *_: Any, **__: Any) -> int:
        raise AssertionError("this would ask for machines and wait for them")


NODE = {"CPU": 8.0, "GPU": 2.0, "memory": 32.0 * GIB}


def search_of(tmp_path: Path, workers: int) -> SearchConfig:
    return make_plan(tmp_path, LR_RANGE, workers_per_trial=workers).search


@pytest.mark.parametrize(
    ("demand", "nodes", "words"),
    [
        (Demand("a trial", 1, 9, 0, 0, "cpus"), [NODE, NODE], "9 CPUs, 0 GPUs on one node.*has at most 8 CPUs"),
        (Demand("a trial", 1, 1, 3, 0, "gpus"), [NODE, NODE], "1 CPUs, 3 GPUs on one node.*8 CPUs, 2 GPUs and 32"),
        (
            Demand("a trial", 1, 1, 0, 40 * GIB, "memory"), [NODE],
            "40.0 GiB of memory on one node.*32.0 GiB of memory on one node: room for 0 of 1. Lower memory",
        ),
        (
            Demand("refit (ddp)", 5, 2, 1, 0, "refit.workers"), [NODE, NODE],
            r"refit \(ddp\) wants 5 workers at once with 2 CPUs, 1 GPUs each, 10 CPUs and 5 GPUs in all, but.*16 CPUs "
            "and 4 GPUs on 2 nodes: room for 4 of 5. Lower refit.workers",
        ),
        (Demand("refit", 3, 6, 0), [NODE, NODE], "18 CPUs and 0 GPUs.*16 CPUs and 4 GPUs on 2 nodes: room for"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_the_numbers(demand: Demand, nodes: list[dict[str, float]], words: str):
    with pytest.raises(EngineError, match=words):
        check_demands(Nodes(*nodes), [Demand("small", 1, 1, 0), demand])


@pytest.mark.parametrize(
    "demand",
    [Demand("a", 1, 8, 2, 32 * GIB), Demand("b", 8, 2, 0), Demand("c", 4, 1, 1), Demand("d", 16, 1, 0.25, 2 * GIB)],
)
def test_what_just_fits_is_not_refused(demand: Demand):
    check_demands(Nodes(NODE, NODE), [demand])


def test_machines_that_may_still_start_count_and_are_not_waited_for():
    kinds = {
        "head": {"resources": {"CPU": 0}, "max_workers": 0},
        "gpu": {"resources": {"CPU": 16, "GPU": 1}, "max_workers": 8},
    }
    autoscaler = Autoscaler({"max_workers": 4, "head_node_type": "head", "available_node_types": kinds})
    cluster = Nodes({"CPU": 0.0}, autoscaler=autoscaler)
    check_demands(cluster, [Demand("refit", 4, 16, 1)])
    with pytest.raises(EngineError, match="64 CPUs and 4 GPUs on 5 nodes: room for 4 of 5"):
        check_demands(cluster, [Demand("refit", 5, 16, 1)])


def test_a_trial_alone_holds_what_a_trial_holds_and_a_wide_one_its_workers_alone(tmp_path: Path):
    resources = ResourcesConfig(cpus_per_trial=3, gpus_per_trial=0.5, cpus_per_worker=2, gpus_per_worker=1)
    narrow = trial_demand(search_of(tmp_path, 1), resources.model_copy(update={"memory_gib_per_trial": 1}))
    wide = trial_demand(search_of(tmp_path, 4), resources)
    assert (narrow.processes, narrow.cpus, narrow.gpus, narrow.memory) == (1, 3, 0.5, GIB)
    assert (wide.processes, wide.cpus, wide.gpus) == (4, 2, 1)
    assert "workers_per_trial" in wide.settings
    assert "memory_gib_per_trial" in narrow.settings


@pytest.mark.ray
def test_a_check_comes_with_the_cluster_before_any_work(cluster: Cluster):
    with pytest.raises(EngineError, match=r"64 CPUs, 0 GPUs on one node, but the cluster has at most 2 CPUs, 0 GPUs"):
        cluster.when_connected(lambda: check_demands(cluster, [Demand("a trial", 1, 64, 0)]))
    cluster._checks.clear()
    lazy, seen = Cluster(), []
    lazy.when_connected(lambda: seen.append(1))
    assert seen == []
    assert not lazy._connected
