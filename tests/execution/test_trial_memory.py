from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_plans import BATCH, LR, LR_RANGE, Heard, make_plan
from training_stores import make_run as tiny_run

from brainage_ray.config import ResourcesConfig
from brainage_ray.data import SliceStore
from brainage_ray.errors import EngineError, StoreError
from brainage_ray.execution import GIB, Cluster, StudyPlan, TrialMemory, measure_trial, run_study, settle
from brainage_ray.execution.search import concurrent_trials
from brainage_ray.execution.trial_memory import MARGIN, _measure, largest_trials

SPACE = {
    **LR_RANGE,
    BATCH: {"type": "categorical", "choices": [32, 128, 64]},
    "backbone.width": {"type": "float", "low": 0.25, "high": 0.5},
    "backbone.depth": {"type": "int", "low": 3, "high": 5},
    "training.optimizer.name": {"type": "categorical", "choices": ["sgd", "adam"]},
    "training.loss": {"type": "categorical", "choices": ["mse", "l1", "huber"]},
}


def planned(folder: Path, gpus: float = 0, space: dict[str, Any] = SPACE, **search: Any) -> StudyPlan:
    return replace(make_plan(folder, space, **search), resources=ResourcesConfig(gpus_per_trial=gpus))


def test_the_largest_of_each_number_is_measured_for_each_kind_of_network(tmp_path: Path):
    trials = largest_trials(planned(tmp_path, seeds_per_trial=3))
    found = [(run.backbone.width, run.backbone.depth, run.training.batch_size) for runs in trials for run in runs]
    assert found == [(0.5, 5, 128)] * 6
    assert [runs[0].training.optimizer.name for runs in trials] == ["sgd", "adam"]
    assert [run.seed for run in trials[0]] == [0, 1, 2]


def test_a_worker_of_a_wide_trial_is_measured_with_its_share_of_the_batch(tmp_path: Path):
    ((run,), _) = largest_trials(planned(tmp_path, workers_per_trial=3))
    assert (run.training.batch_size, run.team) == (43, 3)


@pytest.mark.parametrize(
    ("share", "gib", "held"),
    [(0.25, 10.0, 0.25), (0.25, 20.0, 1 / 3), (0.25, 60.0, 1.0), (0.5, 20.0, 0.5), (1.0, 60.0, 1.0), (2.0, 60.0, 2.0)],
)
def test_no_more_trials_share_a_gpu_than_fit(tmp_path: Path, share: float, gib: float, held: float):
    memory = TrialMemory(GIB, int(gib * GIB), 80 * GIB)
    plan, note = settle(planned(tmp_path, share), memory)
    assert plan.resources.gpus_per_trial == pytest.approx(held)
    assert (1 / held) * gib * MARGIN <= 80 or held >= 1
    assert bool(note) == (held != share)
    if note:
        assert f"takes up to {gib * MARGIN:.1f} of the GPU's 80.0 GiB" in note
        assert f"{round(1 / held)} share one, not {round(1 / share)} as resources.gpus_per_trial: {share:g}" in note


def test_a_trial_larger_than_a_gpu_is_refused_with_the_numbers(tmp_path: Path):
    with pytest.raises(EngineError, match=r"largest network of unet's.*takes 78\.0 of 80\.0 GiB.*batch_size, width"):
        settle(planned(tmp_path, 1), TrialMemory(GIB, 78 * GIB, 80 * GIB))


def test_a_stated_memory_stays_and_a_measured_one_gets_a_margin(tmp_path: Path):
    plan = planned(tmp_path)
    measured, note = settle(plan, TrialMemory(2 * GIB))
    assert (measured.resources.memory_gib_per_trial, note) == (pytest.approx(2 * MARGIN), "")
    stated = replace(plan, resources=ResourcesConfig(memory_gib_per_trial=0.7))
    assert settle(stated, TrialMemory(2 * GIB))[0].resources.memory_gib_per_trial == 0.7
    assert settle(plan, TrialMemory(0)) == (plan, "")


def real_plan(ages: SliceStore, folder: Path, batch: int, seeds: int = 1) -> StudyPlan:
    space = {LR: {"type": "categorical", "choices": [1.0e-3]}, BATCH: {"type": "categorical", "choices": [8, batch]}}
    plan = make_plan(folder, space, sampler="random", trials=2, seeds_per_trial=seeds)
    return replace(plan, run=tiny_run(ages, folder, {"max_epochs": 1}, keep_weights=False))


@pytest.mark.ray
@pytest.mark.slow
def test_more_slices_a_step_take_more_memory_in_a_process_that_ends(cluster: Cluster, ages: SliceStore, tmp_path: Path):
    small = measure_trial(cluster, real_plan(ages, tmp_path, 16))
    large = measure_trial(cluster, real_plan(ages, tmp_path, 2048))
    assert 50 * 2**20 < small.host < large.host
    assert (large.gpu, large.gpu_total, large.per_gpu) == (0, 0, 0)
    # forward and backward of the tiny U-Net hold some copies of 2048 slices of 32 x 32 pixels and 4 channels, float32
    assert large.host - small.host > 2048 * 32 * 32 * 4 * 4


@pytest.mark.ray
def test_what_the_measuring_finds_wrong_with_the_data_is_said(cluster: Cluster, ages: SliceStore, tmp_path: Path):
    plan = real_plan(ages, tmp_path, 16)
    plan = replace(plan, run=plan.run.model_copy(update={"store_hash": "0" * 16}))
    with pytest.raises(StoreError, match="but the run was made for 0000"):
        measure_trial(cluster, plan)


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about a machine without a GPU's driver")
def test_a_node_that_counts_a_gpu_without_its_driver_is_found_before_the_first_trial(ages: SliceStore, tmp_path: Path):
    plan = real_plan(ages, tmp_path, 16)
    plan = replace(
        plan, run=plan.run.model_copy(update={"device": "auto"}), resources=ResourcesConfig(gpus_per_trial=0.25)
    )
    runs = [[run.model_dump_json() for run in trial] for trial in largest_trials(plan)]
    with pytest.raises(EngineError, match=r"cuda is not there: torch .* sees 0 GPUs on .*nvidia-smi"):
        _measure(runs)


@pytest.mark.ray
def test_ray_places_no_more_trials_than_their_memory_lets_it(cluster: Cluster, tmp_path: Path):
    node = cluster.resources().memory / GIB
    plan = make_plan(tmp_path, LR_RANGE, trials=3, sampler="random")
    for share, at_once in ((0.3, 2), (0.6, 1)):
        some = replace(plan, resources=ResourcesConfig(memory_gib_per_trial=share * node))
        assert concurrent_trials(cluster, some, 3) == at_once
    too_much = replace(plan, resources=ResourcesConfig(memory_gib_per_trial=1.5 * node))
    with pytest.raises(EngineError, match=rf"{1.5 * node:.1f} GiB of memory on one node.*room for 0 of 1"):
        concurrent_trials(cluster, too_much, 3)


@pytest.mark.ray
@pytest.mark.slow
def test_trials_hold_their_memory_while_they_train(cluster: Cluster, tmp_path: Path):
    def epochs(run: Any) -> Any:
        import ray

        yield {"validation_mae": ray.available_resources().get("memory", 0) / 2**30}

    node = cluster.resources().memory / GIB
    plan = make_plan(tmp_path, LR_RANGE, trials=2, sampler="random")
    plan = replace(plan, resources=ResourcesConfig(memory_gib_per_trial=0.6 * node))
    result = run_study(cluster, plan, Heard(), epochs)
    assert [trial.values[0] for trial in result.trials] == [pytest.approx(0.4 * node, rel=0.01)] * 2
