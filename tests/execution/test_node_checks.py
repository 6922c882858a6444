from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from brainage_ray.errors import EngineError
from brainage_ray.execution import Cluster
from brainage_ray.execution.node_checks import (
    Finding,
    check_nodes,
    clocks_off,
    facts_here,
    full_disks,
    least_offset,
    missing_drivers,
    node_facts,
    other_versions,
    unwritable,
)


@pytest.mark.ray
def test_each_node_describes_itself(cluster: Cluster, tmp_path: Path):
    (node,) = node_facts(cluster, tmp_path / "not" / "yet")
    here = facts_here(tmp_path / "not" / "yet")
    assert (node.python, node.versions, node.clock_s) == (here.python, here.versions, 0.0)
    assert set(node.free) == set(here.free)
    assert all(free > 0 for free in node.free.values())
    assert all(node.writable.values())
    assert node.declared_gpus == 0
    assert list(other_versions([node], here)) == []
    check_nodes(cluster, tmp_path)


def test_a_node_that_will_not_do_ends_the_run_and_a_wrong_clock_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    here = facts_here(tmp_path)
    nodes = [replace(here, node="late", clock_s=-90.0)]
    monkeypatch.setattr("brainage_ray.execution.node_checks.node_facts", lambda *_: nodes)
    check_nodes(Cluster(), tmp_path)
    assert "the node late has a clock that is at least 90 s behind" in caplog.text
    nodes.append(replace(here, node="old", python="3.9.1"))
    with pytest.raises(EngineError, match=r"the node old has Python 3.9, the driver 3\."):
        check_nodes(Cluster(), tmp_path)


def findings(here: Any, **change: Any) -> list[Finding]:
    nodes = [here, replace(here, node="worker", **change)]
    return [*other_versions(nodes, here), *clocks_off(nodes), *full_disks(nodes, 0.0 + 2**20), *unwritable(nodes),
            *missing_drivers(nodes)]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"python": "3.9.1"}, "has Python 3.9, the driver 3."),
        ({"versions": {"ray": "2.1.0"}}, "has ray 2.1.0, the driver 2."),
        ({"versions": {"torch": ""}}, "has torch (none), the driver 2."),
        ({"clock_s": -3600.0}, "at least 3600 s behind"),
        ({"clock_s": 31.0}, "at least 31 s ahead of"),
        ({"free": {"/data": 1000.0}}, "has 0.00 GiB free for /data"),
        ({"writable": {"/data": False}}, "cannot write /data"),
        ({"declared_gpus": 1.0, "gpus": 0}, "told Ray of 1 GPUs, but its NVIDIA driver knows 0"),
    ],
)
def test_what_will_not_do_is_named(change: dict[str, Any], words: str, tmp_path: Path):
    here = facts_here(tmp_path)
    if "versions" in change:
        change = {"versions": {**here.versions, **change["versions"]}}
    (found,) = findings(here, **change)
    assert found.node == "worker"
    assert words in found.problem
    assert found.fix


def test_what_will_do_is_not(tmp_path: Path):
    here = facts_here(tmp_path)
    assert findings(here, clock_s=5.0, versions={**here.versions, "brainage-ray": ""}) == []


@pytest.mark.parametrize(("there", "offset"), [(105.0, 0.0), (100.0, 0.0), (111.0, 1.0), (40.0, -60.0)])
def test_a_clock_is_off_only_where_it_cannot_be_right(there: float, offset: float):
    assert least_offset(there, 100.0, 110.0) == offset
