"""A machine of the cluster that is taken away while a trial trains there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from survival_plans import best_value, check, give_orders, plan_in, start_driver, undisturbed_best, wait_until

from brainage_ray.execution import Cluster

pytestmark = [pytest.mark.ray, pytest.mark.slow]


class Machines:
    """A cluster of several raylets; a head without CPUs and one node of two at first."""

    def __init__(self, folder: Path) -> None:
        script = Path(__file__).parent / "survival_cluster.py"
        self._process = subprocess.Popen(
            [sys.executable, str(script), str(folder)],
            env={**os.environ, "RAY_TMPDIR": str(folder)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.address = self._process.stdout.readline().strip()
        assert self.address, "the cluster does not start"

    def do(self, what: str) -> None:
        """Add a node, or remove the oldest."""
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "done\n"

    def close(self) -> None:
        """End the cluster."""
        self._process.communicate(timeout=60)


@pytest.fixture
def machines(short_folder: Path) -> Iterator[Machines]:
    machines = Machines(short_folder)
    yield machines
    machines.close()


def test_a_machine_that_is_taken_away_costs_an_epoch(
    machines: Machines, cluster: Cluster, drivers: None, tmp_path: Path
):
    undisturbed = undisturbed_best(tmp_path / "undisturbed", "random", cluster, {})
    plan = plan_in(tmp_path)
    give_orders(plan, t1_3="hang")
    driver = start_driver(tmp_path, "random", machines.address)
    wait_until((plan.folder / "orders" / "001-3.obeyed").exists, driver)
    machines.do("add")
    machines.do("remove")
    _, errors = driver.communicate()
    assert (driver.returncode, errors) == (0, "")
    check(plan, tmp_path, extra=0)
    assert best_value(plan) == undisturbed
