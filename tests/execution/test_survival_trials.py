"""Trials that die, raise, hang and diverge: the study ends as if none of that had been, but for the diverged one."""

from __future__ import annotations

from pathlib import Path

import pytest
from survival_plans import EXPERIMENT, best_value, check, give_orders, plan_in, source, trained, undisturbed_best

from brainage_ray.execution import Cluster, load_study_result, run_study
from brainage_ray.tracking import MlflowTracker

pytestmark = [pytest.mark.ray, pytest.mark.slow]
DIVERGED = {"t5_3": "nan"}
MISHAPS = {
    "random": {"t1_1": "die", "t1_2": "die", "t1_4": "die", "t3_4": "hang"},  # further each time: not given up
    "tpe": {"t1_1": "raise", "t4_3": "die"},
}


@pytest.mark.parametrize("sampler", MISHAPS)
def test_trials_that_die_raise_hang_and_diverge(cluster: Cluster, tmp_path: Path, sampler: str):
    undisturbed = undisturbed_best(tmp_path / "undisturbed", sampler, cluster, DIVERGED)
    plan = plan_in(tmp_path, sampler=sampler, hang_minutes=0.1)
    give_orders(plan, **MISHAPS[sampler], **DIVERGED)
    with MlflowTracker(tmp_path, EXPERIMENT, interval_s=0.2) as tracker:
        run_study(cluster, plan, tracker, source())
    check(plan, tmp_path, extra=0, failed=(5,))
    assert best_value(plan) == undisturbed
    (diverged,) = [trial for trial in load_study_result(plan.folder).trials if trial.state == "failed"]
    assert "validation_mae of epoch 3 is [nan]" in diverged.reason
    assert trained(plan).count("005-4") == 0
