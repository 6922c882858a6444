from __future__ import annotations

import platform
import time
from pathlib import Path

import pytest
import torch

from brainage_ray.execution import COMPARED, Cluster, NodeFacts, ask_nodes
from brainage_ray.execution.nodes import Witness, least_offset, workspace_problem


@pytest.mark.ray
def test_a_node_says_what_it_is_and_the_workspace_is_left_as_it_was(cluster: Cluster, tmp_path: Path):
    (node,) = ask_nodes(cluster, tmp_path / "made" / "runs")
    assert isinstance(node, NodeFacts)
    assert (node.versions["python"], node.versions["torch"]) == (platform.python_version(), torch.__version__)
    assert node.versions.keys() == {"python", *COMPARED}
    assert abs(node.clock_ahead) < 1
    assert (node.workspace_problem, node.gpus_declared, node.gpu_problem) == ("", 0, "")
    assert set(node.free_bytes) >= {str(tmp_path / "made" / "runs")}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.ray
def test_a_workspace_that_cannot_be_written_is_an_error(cluster: Cluster):
    with pytest.raises(OSError, match="/proc/runs"):
        ask_nodes(cluster, Path("/proc/runs"))


def test_a_folder_that_the_driver_does_not_share_is_told_apart(tmp_path: Path):
    mark = tmp_path / "runs" / ".doctor-1"
    assert workspace_problem(mark) == "there is no such folder"
    mark.parent.mkdir()
    assert "another folder of the same name" in workspace_problem(mark)
    mark.touch()
    assert workspace_problem(mark) == ""
    assert list(mark.parent.iterdir()) == [mark]


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about a machine without a GPU's driver")
def test_a_gpu_without_its_driver_is_found(tmp_path: Path):
    facts = Witness().facts(str(tmp_path / "mark"), 1.0)
    assert (facts["gpus_declared"], facts["gpus_seen"]) == (1.0, 0)
    assert "CUDA" in facts["gpu_problem"] or "NVIDIA" in facts["gpu_problem"]


def test_the_clock_is_in_seconds_since_1970():
    assert abs(Witness().now() - time.time()) < 10


@pytest.mark.parametrize(("there", "offset"), [(105.0, 0.0), (100.0, 0.0), (111.0, 1.0), (40.0, -60.0)])
def test_a_clock_is_off_only_where_it_cannot_be_right(there: float, offset: float):
    assert least_offset(there, 100.0, 110.0) == offset
