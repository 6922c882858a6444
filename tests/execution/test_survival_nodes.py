"""A machine of the cluster that is taken away while a trial trains there."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Machines
from survival_plans import best_value, check, give_orders, plan_in, start_driver, undisturbed_best, wait_until

from brainage_ray.execution import Cluster

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def test_a_machine_that_is_taken_away_costs_an_epoch(machines: Machines, cluster: Cluster, tmp_path: Path):
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
