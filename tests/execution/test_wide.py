"""Wide trials: workers that fit a trial together, for real on the CPU."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from engine_plans import LR, LR_RANGE, Heard, make_plan
from training_stores import make_run as tiny_run

from brainage_ray.config import ResourcesConfig, TrainingRun
from brainage_ray.data import SliceStore
from brainage_ray.errors import EngineError
from brainage_ray.execution import Cluster, StudyPlan, run_study
from brainage_ray.execution.search import concurrent_trials
from brainage_ray.execution.session import trial_runs

WIDE = {"workers_per_trial": 2, "sampler": "random"}


def free_cpus(cluster: Cluster) -> float:
    import ray

    return float(ray.available_resources().get("CPU", 0.0))


def placement_groups() -> list[str]:
    from ray.util import placement_group_table

    return [group["state"] for group in placement_group_table().values() if group["state"] != "REMOVED"]


def nothing_is_left(cluster: Cluster) -> bool:
    """Ray frees what a killed actor held a moment later; the test's own time limit ends the wait."""
    while free_cpus(cluster) < 2 or placement_groups():
        time.sleep(0.1)
    return True


def test_a_wide_trial_gives_its_runs_what_a_worker_holds(tmp_path: Path):
    plan = make_plan(tmp_path, LR_RANGE, seeds_per_trial=2, **WIDE)
    plan = replace(plan, resources=ResourcesConfig(cpus_per_worker=3, gpus_per_worker=1, cpus_per_trial=7))
    runs = trial_runs(plan, 0, {LR: 1e-3})
    assert [(run.team, run.threads, run.device, run.seed) for run in runs] == [(2, 3, "cpu", 0), (2, 3, "cpu", 1)]
    narrow = replace(plan, search=plan.search.model_copy(update={"workers_per_trial": 1}))
    assert [(run.team, run.threads) for run in trial_runs(narrow, 0, {LR: 1e-3})] == [(1, 7)] * 2
    assert narrow.key != plan.key


@pytest.mark.parametrize(("places", "at_once"), [(9, 4), (2, 1), (40, 6)])
def test_as_many_wide_trials_run_at_once_as_all_their_workers_fit(tmp_path: Path, places: int, at_once: int):
    class Some(Cluster):
        def places(self, cpus: float, gpus: float, wanted: int = 1, memory: float = 0) -> int:
            assert (cpus, gpus, wanted) == (1, 0, 12)
            return places

    assert concurrent_trials(Some(), make_plan(tmp_path, LR_RANGE, **WIDE), 6) == at_once


def test_two_workers_on_one_gpu_are_refused(tmp_path: Path):
    plan = make_plan(tmp_path, LR_RANGE, **WIDE)
    plan = replace(plan, resources=ResourcesConfig(gpus_per_worker=0.5))
    with pytest.raises(EngineError, match=r"gpus_per_worker is 0\.5, but the 2 workers of a trial share no GPU"):
        concurrent_trials(Cluster(), plan, 6)


@pytest.mark.ray
def test_a_wide_trial_that_does_not_fit_is_refused_with_the_numbers(cluster: Cluster, tmp_path: Path):
    plan = make_plan(tmp_path, LR_RANGE, **{**WIDE, "workers_per_trial": 3})
    match = "wants 3 workers at once with 1 CPUs, 0 GPUs each, 3 CPUs.*has 2 CPUs and 0 GPUs: room for 2 of 3.*workers"
    with pytest.raises(EngineError, match=match):
        run_study(cluster, plan, Heard())


def real_plan(ages: SliceStore, folder: Path, workers: int) -> StudyPlan:
    space = {LR: {"type": "categorical", "choices": [1.0e-3, 3.0e-3]}}
    plan = make_plan(folder, space, sampler="grid", workers_per_trial=workers, seeds_per_trial=2)
    run = tiny_run(ages, folder, {"max_epochs": 3, "batch_size": 13}, keep_weights=False)
    return replace(plan, run=run)


@pytest.mark.ray
@pytest.mark.slow
def test_two_workers_find_what_one_process_finds(cluster: Cluster, ages: SliceStore, tmp_path: Path):
    heard = Heard()
    together = run_study(cluster, real_plan(ages, tmp_path / "two", 2), heard)
    assert nothing_is_left(cluster)
    alone = run_study(cluster, real_plan(ages, tmp_path / "one", 1), Heard())
    assert [trial.state for trial in together.trials] == ["complete"] * 2
    for two, one in zip(together.trials, alone.trials, strict=True):
        assert two.params == one.params
        assert two.seed_values[0][0] != two.seed_values[0][1]
        for both, single in zip(two.seed_values, one.seed_values, strict=True):
            assert both == pytest.approx(single, rel=1e-3, abs=0.05)
    losses = [metrics["train_loss"] for epochs in heard.epochs.values() for _, metrics in epochs]
    assert len(losses) == 6
    assert min(losses) > 0


@pytest.mark.ray
@pytest.mark.slow
def test_early_stops_leave_nothing_behind(cluster: Cluster, tmp_path: Path):
    def epochs(run: TrainingRun) -> Iterator[dict[str, float]]:
        import math

        import torch
        import torch.distributed as dist

        distance = abs(math.log10(run.training.optimizer.lr) + 3)
        for epoch in range(run.epochs):
            value = torch.tensor([distance / 2])
            dist.all_reduce(value)  # of both workers, or this waits for ever
            yield {"validation_mae": 3 + float(value) + 1 / (epoch + 1), "train_loss": 1.0}

    plan = make_plan(tmp_path, LR_RANGE, epochs=8, trials=8, scheduler="asha", grace_epochs=1, **WIDE)
    result = run_study(cluster, plan, Heard(), epochs)
    assert {trial.state for trial in result.trials} == {"complete", "pruned"}
    assert len(result.trials) == 8
    assert nothing_is_left(cluster)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_worker_that_is_killed_is_a_lost_trial_and_tried_again(cluster: Cluster, tmp_path: Path, rank: int):
    def epochs(run: TrainingRun) -> Iterator[dict[str, float]]:
        import os
        import signal

        import torch
        import torch.distributed as dist

        for epoch in range(run.epochs):
            mark = run.folder.parents[2] / "killed"
            if epoch == 1 and dist.get_rank() == rank and not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            dist.all_reduce(torch.ones(1))
            yield {"validation_mae": 4.0}

    plan = make_plan(tmp_path, LR_RANGE, epochs=3, trials=2, **WIDE)
    result = run_study(cluster, plan, Heard(), epochs)
    assert (plan.folder / "killed").exists()
    assert [(trial.state, trial.values) for trial in result.trials] == [("complete", (4.0, 4.0, 4.0))] * 2
    assert nothing_is_left(cluster)


@pytest.mark.ray
@pytest.mark.slow
def test_a_worker_that_fails_alone_does_not_let_the_others_wait(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def epochs(run: TrainingRun) -> Iterator[dict[str, Any]]:
        import time

        import torch.distributed as dist

        yield {"validation_mae": 4.0}
        if run.folder.parent.name == "000" and dist.get_rank() == 1:
            raise OSError("the store is gone")
        if run.folder.parent.name == "000":
            time.sleep(3600)
        yield {"validation_mae": 4.0}

    plan = make_plan(tmp_path, LR_RANGE, epochs=2, trials=2, **WIDE)
    monkeypatch.setattr("brainage_ray.execution.journal.TRIES", 1)
    result = run_study(cluster, plan, Heard(), epochs)
    assert [trial.state for trial in result.trials] == ["failed", "complete"]
    assert result.trials[0].reason == "OSError: the store is gone"
    assert nothing_is_left(cluster)
