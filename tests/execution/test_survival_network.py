"""Machines with addresses of their own: one whose network is cut off in the middle of a search, one that is killed."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from network_hosts import Host, Network
from survival_plans import best_value, check, give_orders, plan_in, start_driver, undisturbed_best, wait_until

from brainage_ray.execution import Cluster

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture
def network(short_folder: Path) -> Iterator[Network]:
    if shutil.which("ip") is None:
        pytest.skip("needs ip (iproute2)")
    probe = f"brainage-{os.getpid()}-probe"
    if subprocess.run(["ip", "netns", "add", probe], capture_output=True, check=False).returncode:
        pytest.skip("this user may not make network namespaces")
    subprocess.run(["ip", "netns", "delete", probe], check=True)
    network = Network(short_folder)
    try:
        network.start()
        yield network
    finally:
        network.close()


def host_of(network: Network, obeyed: Path) -> Host:
    """The worker where the order was obeyed."""
    (host,) = [worker for worker in network.workers if int(obeyed.read_text()) in worker.pids()]
    return host


def test_one_worker_is_cut_off_and_one_is_killed(network: Network, cluster: Cluster, drivers: None, tmp_path: Path):
    undisturbed = undisturbed_best(tmp_path / "undisturbed", "random", cluster, {})
    plan = plan_in(tmp_path)
    give_orders(plan, t1_3="hang", t3_2="hang")
    driver = start_driver(tmp_path, "random", network.address, inside=network.head.inside)
    cut, killed = (plan.folder / "orders" / f"{name}.obeyed" for name in ("001-3", "003-2"))
    wait_until(cut.exists, driver)
    first = host_of(network, cut)
    network.cable(first, "down")
    wait_until(killed.exists, driver)
    second = host_of(network, killed)
    assert second is not first
    wait_until(lambda: int(cut.read_text()) not in first.pids(), driver)  # what is cut off ends, and disturbs no more
    network.cable(first, "up")
    first.kill()
    network.join(first)
    second.kill()
    _, errors = driver.communicate()
    assert (driver.returncode, errors) == (0, "")
    check(plan, tmp_path, extra=0)
    assert best_value(plan) == undisturbed
