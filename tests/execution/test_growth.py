from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from engine_plans import LR_RANGE, Heard, make_jobs, make_plan
from ray.autoscaler._private.util import prepare_config

from brainage_ray.config import ResourcesConfig
from brainage_ray.errors import EngineError
from brainage_ray.execution import growth, parallel_map, run_study, run_training_jobs
from brainage_ray.execution.cluster import Cluster
from brainage_ray.execution.growth import Autoscaler, find_autoscaler, places_of

ROOT = Path(__file__).resolve().parents[2]
ONE_CPU = ResourcesConfig()


class FakeRay:
    """A cluster that grows by a place each time that it is slept for, up to a limit; its clock only sleeps."""

    def __init__(self, limit: int, delay: float = 0.0) -> None:
        self.places, self.limit, self.delay, self.now = 0, limit, delay, 0.0
        self.requests: list[list[dict[str, float]]] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.now > self.delay:
            self.places = min(self.places + 1, self.limit)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeRay]:
    def make(limit: int, delay: float = 0.0) -> FakeRay:
        ray = FakeRay(limit, delay)
        monkeypatch.setattr(growth, "time", ray)
        monkeypatch.setattr(growth, "_request", ray.requests.append)
        return ray

    return make


@pytest.fixture
def config() -> dict[str, Any]:
    """Up to 4 machines of 16 CPUs and 8 of 16 CPUs and a GPU, but 8 in all, and a head that does no work."""
    kinds = {
        "head": {"resources": {"CPU": 0}, "max_workers": 0},
        "cpu": {"resources": {"CPU": 16}, "max_workers": 4},
        "gpu": {"resources": {"CPU": 16, "GPU": 1}, "max_workers": 8},
    }
    return {"max_workers": 8, "head_node_type": "head", "available_node_types": kinds}


def test_the_cluster_of_this_repository_may_grow():
    autoscaler = Autoscaler(prepare_config(yaml.safe_load((ROOT / "cluster.yaml").read_text())))
    assert autoscaler.most_places(1, 0) > 0
    assert autoscaler.most_places(1, 1) > 0


def test_machines_are_asked_for_and_waited_for(config, fake):
    ray = fake(limit=20, delay=100)
    autoscaler = Autoscaler(config)
    assert autoscaler.grow(4, 1, 3, lambda: ray.places) == 3
    assert ray.requests == [[{"CPU": 4, "GPU": 1}] * 3]
    assert 100 < ray.now < 120
    autoscaler.release()
    autoscaler.release()
    assert ray.requests[1:] == [[]]


def test_what_is_there_needs_no_wait_but_takes_the_place_of_the_last_request(config, fake):
    ray = fake(limit=0)
    assert Autoscaler(config).grow(1, 0, 2, lambda: 5) == 5
    assert (ray.requests, ray.now) == ([[{"CPU": 1}] * 2], 0.0)


@pytest.mark.parametrize(("limit", "waited"), [(0, 900), (2, 300)])
def test_the_wait_for_machines_that_do_not_come_ends(config, fake, limit: int, waited: float):
    ray = fake(limit)
    assert Autoscaler(config).grow(4, 1, 8, lambda: ray.places) == limit
    assert waited <= ray.now < waited + 10


@pytest.mark.parametrize(
    ("cpus", "gpus", "most"),
    [
        (16, 0, 4),  # machines with GPUs are not started for that
        (1, 0, 64),
        (4, 1, 8),
        (4, 0.5, 16),
        (17, 0, 0),
        (1, 2, 0),
    ],
)
def test_no_more_is_asked_for_than_may_ever_come(config, fake, cpus: float, gpus: float, most: int):
    ray = fake(limit=1000)
    assert Autoscaler(config).most_places(cpus, gpus) == most
    assert Autoscaler(config).grow(cpus, gpus, 500, lambda: ray.places) == most
    assert len(ray.requests[0]) == most


def test_machines_with_gpus_do_work_without_them_where_there_are_no_others(config):
    del config["available_node_types"]["cpu"]
    config["available_node_types"]["head"]["resources"] = {"CPU": 2}
    assert Autoscaler(config).most_places(2, 0) == 1 + 8 * 8


def test_memory_is_asked_for_where_the_machines_say_what_they_have(config, fake):
    ray = fake(limit=1000)
    assert Autoscaler(config).grow(1, 0, 500, lambda: ray.places, memory=2**33) == 64
    assert ray.requests[-1][0] == {"CPU": 1}
    config["available_node_types"]["cpu"]["resources"]["memory"] = 2**36
    ray.places = 0
    assert Autoscaler(config).grow(1, 0, 500, lambda: ray.places, memory=2**33) == 4 * 8
    assert ray.requests[-1] == [{"CPU": 1, "memory": 2**33}] * 32


def test_only_the_head_of_a_launched_cluster_has_an_autoscaler(tmp_path, monkeypatch, config):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_autoscaler() is None
    (tmp_path / growth.BOOTSTRAP).write_text(json.dumps(config))
    assert find_autoscaler().most_places(16, 1) == 8


def test_a_cluster_grows_and_lets_go_at_its_end(config, fake, monkeypatch):
    ray = fake(limit=3)
    cluster = Cluster("auto")
    monkeypatch.setattr(cluster, "connect", lambda: None)
    monkeypatch.setattr(cluster, "_nodes", lambda: [{"CPU": 0.0}] + [{"CPU": 16.0, "GPU": 1.0}] * ray.places)
    assert cluster.places(16, 1) == 0
    cluster._autoscaler = Autoscaler(config)
    assert cluster.places(16, 1, wanted=3) == 3
    cluster.close()
    assert ray.requests == [[{"CPU": 16, "GPU": 1}] * 3, []]


@pytest.mark.parametrize("work", [
    lambda cluster, folder: parallel_map(cluster, str, [1]),
    lambda cluster, folder: run_study(cluster, make_plan(folder, LR_RANGE), Heard()),
    lambda cluster, folder: run_training_jobs(cluster, make_jobs(folder, range(1)), 1, "share", ONE_CPU, Heard()),
], ids=["parallel_map", "run_study", "run_training_jobs"])  # fmt: skip
def test_no_work_keeps_the_machines_that_it_asked_for(tmp_path, config, fake, monkeypatch, work):
    ray, cluster = fake(limit=0), Cluster("auto")
    monkeypatch.setattr(cluster, "connect", lambda: None)
    monkeypatch.setattr(cluster, "_nodes", lambda: [{"CPU": 0.0}])
    cluster._autoscaler = Autoscaler(config)
    with pytest.raises(EngineError, match="has 0 CPUs"):
        work(cluster, tmp_path)
    assert len(ray.requests) == 2
    assert ray.requests[-1] == []


@pytest.mark.parametrize(
    ("node", "cpus", "gpus", "places"),
    [
        ({"CPU": 2.0}, 1, 0, 2),
        ({"CPU": 2.0}, 0.1, 0, 20),
        ({"CPU": 2.0}, 3, 0, 0),
        ({"CPU": 2.0}, 1, 1, 0),
        ({"CPU": 16.0, "GPU": 2.0}, 1, 0.25, 8),
        ({"CPU": 16.0, "GPU": 2.0}, 1, 0.3, 6),
        ({"CPU": 16.0, "GPU": 3.0}, 1, 2, 1),
        ({"CPU": 4.0, "GPU": 8.0}, 1, 1, 4),
    ],
)
def test_places_of_a_node(node: dict[str, float], cpus: float, gpus: float, places: int):
    assert places_of(node, cpus, gpus) == places
