"""Several search trials on one GPU: all train on it, and no more share it than its memory holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_plans import LR_RANGE, Heard, make_plan
from training_stores import make_run

from brainage_ray.config import BudgetConfig, ResourcesConfig
from brainage_ray.data import SliceStore
from brainage_ray.execution import Cluster, StudyPlan, measure_trial, run_study, settle
from brainage_ray.execution.budget import Spent
from brainage_ray.execution.search import concurrent_trials
from brainage_ray.execution.storage import load_study_result

pytestmark = [pytest.mark.gpu, pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module")
def gpu_cluster(gpu: torch.device) -> Iterator[Cluster]:
    """A cluster with the GPU, which the one of the other tests has not: a process holds one at a time."""
    import ray

    if ray.is_initialized():
        pytest.skip("needs a process of its own: pytest tests/execution/test_gpu_sharing.py")
    with Cluster(cpus=8, gpus=1) as cluster:
        yield cluster


def shared(ages: SliceStore, folder: Path, share: float, training: dict[str, Any], **search: Any) -> StudyPlan:
    plan = make_plan(folder, LR_RANGE, trials=8, **search)
    run = make_run(ages, folder, {"max_epochs": 2, **training}, keep_weights=False, device="auto")
    return replace(plan, run=run, resources=ResourcesConfig(cpus_per_trial=1, gpus_per_trial=share))


def test_trials_share_a_gpu_and_all_train_on_it(gpu_cluster: Cluster, ages: SliceStore, tmp_path: Path):
    plan, note = settle(*_measured(gpu_cluster, shared(ages, tmp_path, 0.25, {})))
    assert (note, plan.resources.gpus_per_trial) == ("", 0.25)
    assert concurrent_trials(gpu_cluster, plan, 8) == 4
    result = run_study(gpu_cluster, plan, Heard())
    assert [trial.state for trial in result.trials] == ["complete"] * 8
    texts = [path.read_text() for path in (plan.folder / "trials").glob("*/seed-0/result.json")]
    assert len(texts) == 8
    assert all(torch.cuda.get_device_name() in text for text in texts)


def test_trials_too_large_for_their_share_get_a_larger_one(
    gpu_cluster: Cluster, ages: SliceStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    plan, memory = _measured(gpu_cluster, shared(ages, tmp_path, 0.125, {"batch_size": 4096}))
    small = replace(memory, gpu_total=int(3.5 * memory.gpu))  # as if the card held three of them
    settled, note = settle(plan, small)
    assert "3 share one, not 8" in note
    assert concurrent_trials(gpu_cluster, settled, 8) == 3
    assert [trial.state for trial in run_study(gpu_cluster, settled, Heard()).trials] == ["complete"] * 8


def test_gpu_hours_of_a_share_are_counted(gpu_cluster: Cluster, ages: SliceStore, tmp_path: Path):
    plan = shared(ages, tmp_path, 0.5, {}, budget=BudgetConfig(max_gpu_hours=100))
    result = run_study(gpu_cluster, plan, Heard())
    trained = sum(trial.seconds for trial in result.trials)
    assert 0 < _spent(plan).gpu_seconds == pytest.approx(0.5 * trained, rel=0.2)


def _measured(cluster: Cluster, plan: StudyPlan) -> tuple[StudyPlan, Any]:
    return plan, measure_trial(cluster, plan)


def _spent(plan: StudyPlan) -> Spent:
    from brainage_ray.execution.study import Study

    assert load_study_result(plan.folder) is not None
    with Study(plan) as study:
        return study.spent
