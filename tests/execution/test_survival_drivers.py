"""Drivers that are killed and interrupted; the same command goes on each time until all is done."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest
from survival_plans import (
    EPOCHS,
    TRIALS,
    best_value,
    check,
    finished_trials,
    give_orders,
    plan_in,
    real_plan,
    start_driver,
    trained,
    undisturbed_best,
    wait_until,
)

from brainage_ray.data import SliceStore
from brainage_ray.execution import Cluster

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.mark.parametrize(("sampler", "kills"), [("random", 3), ("tpe", 2)])
def test_a_driver_that_is_killed_at_random_moments(
    address: str, cluster: Cluster, tmp_path: Path, sampler: str, kills: int
):
    undisturbed = undisturbed_best(tmp_path / "undisturbed", sampler, cluster, {})
    plan, chance = plan_in(tmp_path, sampler=sampler), random.Random(sampler)
    moments = sorted(chance.sample(range(1, TRIALS * EPOCHS), kills))
    for moment in moments:
        driver = start_driver(tmp_path, sampler, address)
        wait_until(lambda at=moment: len(set(trained(plan))) >= at, driver)
        time.sleep(chance.uniform(0, 0.1))
        driver.kill()
        driver.communicate()
    driver = start_driver(tmp_path, sampler, address)
    _, errors = driver.communicate()
    assert (driver.returncode, errors) == (0, "")
    check(plan, tmp_path, extra=kills)
    assert best_value(plan) == undisturbed


def test_ctrl_c_once_is_gentle_and_twice_is_at_once(address: str, tmp_path: Path):
    plan = plan_in(tmp_path)
    give_orders(plan, t1_2="hang", t3_3="hang")
    for order, times, said in (("001-2", 1, "Stopped. What"), ("003-3", 2, "Stopped at once. What")):
        driver = start_driver(tmp_path, "random", address)
        wait_until((plan.folder / "orders" / f"{order}.obeyed").exists, driver)
        before = len(finished_trials(plan))
        for _ in range(times):
            os.killpg(driver.pid, signal.SIGINT)  # as a terminal does
            time.sleep(0.2)
        _, errors = driver.communicate(timeout=60)
        assert driver.returncode == 130
        assert errors.startswith(f"brainage: {said} is done is kept")
        assert "Traceback" not in errors
        assert len(finished_trials(plan)) == before == int(order[:3])
    driver = start_driver(tmp_path, "random", address)
    _, errors = driver.communicate()
    assert (driver.returncode, errors) == (0, "")
    check(plan, tmp_path, extra=0)


def test_a_driver_that_is_killed_in_a_real_training_loses_no_epoch(address: str, ages: SliceStore, tmp_path: Path):
    plan = real_plan(tmp_path, ages.folder)
    for moment in (6, 15):
        driver = start_driver(tmp_path, "random", address, store=ages.folder)
        wait_until(lambda at=moment: len(set(trained(plan))) >= at, driver)
        driver.kill()
        driver.communicate()
    driver = start_driver(tmp_path, "random", address, store=ages.folder)
    _, errors = driver.communicate()
    assert (driver.returncode, errors) == (0, "")
    check(plan, tmp_path, extra=2)
    for trial in finished_trials(plan):
        left = {path.name for path in plan.folder.glob(f"trials/{trial.user_attrs['place']:03d}/*/*")}
        assert left == {"best.safetensors", "result.json", "validation_slices.npy"}
