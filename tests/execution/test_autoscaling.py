"""A cluster that grows for a search, from no worker to its cap, and shrinks to none: Ray's own fake machines.

Ray's AutoscalingCluster would begin and end with a bare `ray stop --force`, which ends every Ray of the machine; so the
head is started here.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from ray._raylet import GcsClient
from ray.autoscaler._private.fake_multi_node.node_provider import (
    FAKE_HEAD_NODE_ID,
    FAKE_HEAD_NODE_TYPE,
    FakeMultiNodeProvider,
)

from brainage_ray.execution.growth import BOOTSTRAP

pytestmark = [pytest.mark.ray, pytest.mark.slow]

CAP = 2
PROVIDER = f"{FakeMultiNodeProvider.__module__}.{FakeMultiNodeProvider.__name__}"
PARTS = ("initialization", "setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")
HERE = Path(__file__).parent
DRIVER = """
import json, sys
from dataclasses import replace
from pathlib import Path
from engine_plans import LR_RANGE, Heard, make_plan
from brainage_ray.config import ResourcesConfig
from brainage_ray.errors import EngineError
from brainage_ray.execution import Cluster, check_demands, run_study, trial_demand

def source(places):
    def epochs(run):
        import ray, time
        with open(places, "a") as file:
            file.write(ray.get_runtime_context().get_node_id() + "\\n")
        while len(set(open(places).read().split())) < int(run.folder.parents[2].joinpath("cap").read_text()):
            time.sleep(0.05)  # nobody ends before the cap is reached
        yield {"validation_mae": run.training.optimizer.lr}
    return epochs

folder, address, cap = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
plan = make_plan(folder, LR_RANGE, trials=4, sampler="random")
plan = replace(plan, resources=ResourcesConfig(cpus_per_trial=1, gpus_per_trial=1))
plan.folder.mkdir()
(plan.folder / "cap").write_text(cap)
with Cluster(address) as cluster:
    before = cluster.resources()
    check_demands(cluster, [trial_demand(plan.search, plan.resources)])
    try:
        check_demands(cluster, [replace(trial_demand(plan.search, plan.resources), gpus=2)])
    except EngineError as error:
        refused = error.problem
    result = run_study(cluster, plan, Heard(), source(str(folder / "places")))
print(json.dumps([before.nodes, before.gpus, refused, [trial.state for trial in result.trials]]))
"""


class FakeMachines:
    """A head without a CPU, whose autoscaler starts up to two fake machines of a CPU and a GPU each."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.address = folder, f"127.0.0.1:{port}"
        self.config: dict[str, Any] = {
            "cluster_name": "fake", "max_workers": CAP, "upscaling_speed": 1.0, "idle_timeout_minutes": 0.05,
            "provider": {
                "type": "external", "module": PROVIDER,  # "fake_multinode" itself reads a file that the wheel lacks
                "gcs_address": self.address, "launch_multiple": True, "disable_node_updaters": True,
                "head_node_id": FAKE_HEAD_NODE_ID,
            },
            **{f"{part}_commands": [] for part in PARTS}, "file_mounts": {},
            "cluster_synced_files": [], "file_mounts_sync_continuously": False, "rsync_exclude": [], "rsync_filter": [],
            "auth": {}, "head_node_type": FAKE_HEAD_NODE_TYPE,
            "available_node_types": {
                FAKE_HEAD_NODE_TYPE: {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
                "gpu": {"resources": {"CPU": 1, "GPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": CAP},
            },
        }  # fmt: skip

    def start(self) -> None:
        (self.folder / BOOTSTRAP).write_text(yaml.safe_dump(self.config))  # as `ray up` leaves it on a head
        ray = Path(sys.executable).parent / "ray"
        command = [
            str(ray), "start", "--head", "--node-ip-address=127.0.0.1", f"--port={self.address.split(':')[1]}",
            "--num-cpus=0", "--num-gpus=0", "--include-dashboard=false", "--disable-usage-stats",
            f"--temp-dir={self.folder}/ray", f"--autoscaling-config={self.folder / BOOTSTRAP}",
        ]  # fmt: skip
        done = subprocess.run(command, env=self.environment(), capture_output=True, text=True, timeout=330, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def environment(self) -> dict[str, str]:
        fake = {
            "RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1", "RAY_enable_autoscaler_v2": "1",
            "RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID,
            "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
        }  # fmt: skip
        return {**os.environ, **fake, "HOME": str(self.folder), "RAY_TMPDIR": str(self.folder)}

    def alive(self) -> int:
        nodes = GcsClient(address=self.address).get_all_node_info(timeout=30).values()
        return sum(node.state == 0 for node in nodes)

    def close(self) -> None:
        """End what has this folder in its command line; the monitor first, which starts the others."""
        ours = [p for p in psutil.process_iter(["cmdline"]) if f"{self.folder}/" in " ".join(p.info["cmdline"] or [])]
        for process in sorted(ours, key=lambda p: "monitor.py" not in " ".join(p.info["cmdline"])):
            process.send_signal(signal.SIGKILL)
        psutil.wait_procs(ours, timeout=20)


@pytest.fixture
def machines(short_folder: Path) -> Iterator[FakeMachines]:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    machines = FakeMachines(short_folder, port)
    try:
        machines.start()
        yield machines
    finally:
        machines.close()


def test_a_search_begins_on_no_worker_ends_on_the_cap_and_leaves_none(machines: FakeMachines, tmp_path: Path):
    assert machines.alive() == 1
    path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    environment = {**machines.environment(), "PYTHONPATH": path}
    for name in ("RAY_OVERRIDE_NODE_ID_FOR_TESTING", "RAY_CLOUD_INSTANCE_ID"):
        del environment[name]
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, str(tmp_path), machines.address, str(CAP)],
        env=environment, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    nodes, gpus, refused, states = json.loads(done.stdout.splitlines()[-1])
    assert (nodes, gpus) == (1, 0), "no worker ran before the search"
    assert "2 GPUs on one node, but the cluster has at most 1 CPUs, 1 GPUs" in refused
    assert states == ["complete"] * 4
    assert len(set((tmp_path / "places").read_text().split())) == CAP
    end = time.monotonic() + 120
    while machines.alive() > 1:
        assert time.monotonic() < end, "machines without work are still there"
        time.sleep(0.5)
