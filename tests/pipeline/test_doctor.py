from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from brainage_ray.errors import EngineError
from brainage_ray.execution import GIB, Cluster, NodeFacts, SilentNode, versions_here
from brainage_ray.pipeline import Check, check_nodes, doctor, examine

GOOD = NodeFacts(
    address="10.0.0.1", name="one", versions=versions_here(), clock_ahead=0.01, gpus_declared=1.0, gpus_seen=1,
    gpu_problem="", free_bytes={"/runs": 100 * GIB}, total_bytes={"/runs": 200 * GIB}, workspace_problem="",
)  # fmt: skip


def judged(what: str, **changes: Any) -> Check:
    bad = replace(GOOD, address="10.0.0.2", name="two", **changes)
    (found,) = [check for check in check_nodes([GOOD, bad]) if check.state != "ok"]
    assert found.what == f"{what} on two (10.0.0.2)"
    return found


def test_nodes_that_are_well_are_one_line_each_kind():
    checks = check_nodes([GOOD, replace(GOOD, name="two", clock_ahead=-1.9)])
    assert [(check.what, check.state) for check in checks] == [
        (what, "ok") for what in ("versions", "clock", "workspace", "disk", "GPU")
    ]
    assert not any(check.fix for check in checks)


@pytest.mark.parametrize("versions", [{**GOOD.versions, "torch": "1.0"}, {**GOOD.versions, "torch": ""}])
def test_a_version_that_differs_is_named_on_both_sides(versions: dict[str, str]):
    found = judged("versions", versions=versions)
    assert found.state == "wrong"
    assert found.found == f"torch {versions['torch'] or 'not installed'}, here {GOOD.versions['torch']}"
    assert "constraints.txt" in found.fix


@pytest.mark.parametrize(
    ("ahead", "state", "words"), [(3.4, "warning", "3 s ahead"), (-3600.0, "wrong", "3600 s behind")]
)
def test_a_clock_that_is_off(ahead: float, state: str, words: str):
    found = judged("clock", clock_ahead=ahead)
    assert (found.state, found.found) == (state, words)
    assert "set-ntp" in found.fix


@pytest.mark.parametrize(("free", "total", "state"), [(1, 200, "wrong"), (10, 100, "warning"), (40, 1000, "warning")])
def test_a_disk_that_is_nearly_full(free: int, total: int, state: str):
    found = judged("disk", free_bytes={"/runs": free * GIB}, total_bytes={"/runs": total * GIB})
    assert (found.state, found.found.startswith(f"{free} GiB free in /runs")) == (state, True)


def test_a_gpu_without_a_driver_and_a_folder_that_is_not_shared():
    found = judged("GPU", gpus_seen=0, gpu_problem="Found no NVIDIA driver on your system.")
    assert (found.state, found.found) == ("wrong", "Ray counts 1, torch sees 0: Found no NVIDIA driver on your system.")
    assert judged("workspace", workspace_problem="there is no such folder").state == "wrong"


def test_a_node_that_does_not_answer_is_wrong():
    silent = check_nodes([SilentNode("10.0.0.9", "it does not answer")])
    assert [(check.what, check.state) for check in silent] == [("node 10.0.0.9", "wrong")]


def test_a_run_is_refused_for_what_is_wrong_and_not_for_a_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    nodes = [GOOD, replace(GOOD, name="late", clock_ahead=-90.0), SilentNode("10.0.0.9", "it does not answer")]
    monkeypatch.setattr(doctor, "ask_nodes", lambda *_: nodes)
    doctor.refuse_bad_nodes(Cluster(), tmp_path)
    assert "clock on late (10.0.0.1): 90 s behind" in caplog.text
    assert "node 10.0.0.9: it does not answer" in caplog.text
    nodes.append(replace(GOOD, name="old", versions={**GOOD.versions, "ray": "2.1.0"}, gpus_seen=0))
    with pytest.raises(EngineError, match=r"versions on old .10\.0\.0\.1.: ray 2\.1\.0, here .* \(and 1 more"):
        doctor.refuse_bad_nodes(Cluster(), tmp_path)


def test_a_micro_version_of_python_does_not_count():
    other = GOOD.versions["python"].rpartition(".")[0] + ".99"
    assert all(c.state == "ok" for c in check_nodes([replace(GOOD, versions={**GOOD.versions, "python": other})]))


def test_no_cluster_is_a_line_of_the_list(tmp_path: Path):
    (check,) = examine(tmp_path, "127.0.0.1:9")
    assert (check.what, check.state) == ("Ray", "wrong")
    assert "127.0.0.1:9" in check.found
