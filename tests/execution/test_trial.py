from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from engine_plans import LR_RANGE, make_plan

from brainage_ray.config import TrainingRun
from brainage_ray.errors import NoSpaceError, TrialFailed
from brainage_ray.execution.session import trial_runs
from brainage_ray.execution.trial import TrialActor, merge_metrics

Progress = Iterator[dict[str, float]]


def config(folder: Path, **search: int) -> dict[str, Any]:
    runs = trial_runs(make_plan(folder, LR_RANGE, epochs=2, **search), 0, {})
    return {"runs": json.dumps([run.model_dump_json() for run in runs]), "smooth_epochs": 1}


def actor(folder: Path, epochs: Callable[[TrainingRun], Progress], **search: int) -> TrialActor:
    """An actor in this process, without Ray."""
    made = TrialActor.__new__(TrialActor)
    made.setup(config(folder, **search), epochs)
    return made


def falling(run: TrainingRun) -> Progress:
    for epoch in range(run.epochs):
        yield {"validation_mae": 5.0 - epoch + run.seed, "train_loss": 1.0}


def test_the_seeds_of_a_trial_take_turns(tmp_path: Path):
    order: list[tuple[int, int]] = []

    def epochs(run: TrainingRun) -> Progress:
        for epoch, metrics in enumerate(falling(run)):
            order.append((run.seed, epoch))
            yield metrics

    trial = actor(tmp_path, epochs, seeds_per_trial=3)
    first, last = trial.step(), trial.step()
    assert order == [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1)]
    assert (first["epoch"], first["seed_values"], first["done"]) == (1, [5.0, 6.0, 7.0], False)
    assert (last["epoch"], last["seed_values"], last["done"]) == (2, [4.0, 5.0, 6.0], True)
    assert last["seconds"] > first["seconds"] > 0


def test_metrics_of_one_seed_stay_as_they_are():
    assert merge_metrics([{"validation_mae": 3.0, "train_loss": 1.0}]) == {"validation_mae": 3.0, "train_loss": 1.0}


def test_metrics_of_several_seeds_are_means_and_the_objective_is_told_apart():
    merged = merge_metrics([{"validation_mae": 2.0, "train_loss": 1.0}, {"validation_mae": 4.0, "train_loss": 3.0}])
    assert merged == {
        "validation_mae": 3.0,
        "train_loss": 2.0,
        "validation_mae_sd": pytest.approx(math.sqrt(2)),
        "validation_mae_seed_0": 2.0,
        "validation_mae_seed_1": 4.0,
    }


def test_a_failed_training_is_reported_and_the_process_goes_on(tmp_path: Path):
    def epochs(run: TrainingRun) -> Progress:
        yield from list(falling(run))[:1]
        raise TrialFailed("train_loss is nan in epoch 2", "Lower the rate.")

    trial = actor(tmp_path, epochs)
    trial.step()
    report = trial.step()
    assert (report["failure"], report["done"]) == ("nan", True)
    assert report["reason"] == "train_loss is nan in epoch 2. Lower the rate."
    assert trial.reset_config(config(tmp_path))
    assert trial.step()["epoch"] == 1


def test_a_metric_that_is_no_number_fails_the_trial(tmp_path: Path):
    trial = actor(tmp_path, lambda run: iter([{"validation_mae": math.nan}]))
    assert "validation_mae of epoch 1 is [nan]" in trial.step()["reason"]


def test_an_unforeseen_exception_is_reported_and_then_ends_the_process(tmp_path: Path):
    def epochs(run: TrainingRun) -> Progress:
        raise OSError("the store is gone")
        yield {}

    trial = actor(tmp_path, epochs)
    report = trial.step()
    assert (report["failure"], report["reason"]) == ("error", "OSError: the store is gone")
    assert "done" not in report
    with pytest.raises(RuntimeError, match="the store is gone"):
        trial.step()


def test_a_gpu_without_memory_may_be_the_fault_of_others_and_ends_the_process(tmp_path: Path):
    def epochs(run: TrainingRun) -> Progress:
        import torch

        yield from list(falling(run))[:1]
        raise TrialFailed("the memory of the GPU is too small", "Lower it.") from torch.OutOfMemoryError("CUDA")

    trial = actor(tmp_path, epochs)
    trial.step()
    report = trial.step()
    assert (report["failure"], report["reason"]) == ("error", "the memory of the GPU is too small. Lower it.")
    assert "done" not in report
    with pytest.raises(RuntimeError, match="the memory of the GPU"):
        trial.step()


def test_a_full_disk_is_told_apart_and_leaves_the_process_whole(tmp_path: Path):
    def epochs(run: TrainingRun) -> Progress:
        raise NoSpaceError("no space is left", "Free some.")
        yield {}

    trial = actor(tmp_path, epochs)
    report = trial.step()
    assert (report["failure"], report["reason"], report["done"]) == ("full", "no space is left. Free some.", True)
    trial.reset_config(config(tmp_path))


def test_a_stopped_training_is_closed(tmp_path: Path):
    closed = []

    def epochs(run: TrainingRun) -> Progress:
        try:
            yield from falling(run)
        finally:
            closed.append(run.seed)

    trial = actor(tmp_path, epochs, seeds_per_trial=2)
    trial.step()
    trial.reset_config(config(tmp_path))
    trial.step()
    trial.cleanup()
    assert closed == [0, 1, 0]
