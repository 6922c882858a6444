from __future__ import annotations

import gc
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.multiprocessing.spawn import spawn
from training_stores import make_run

from brainage_ray.config import FitResult, TrainingRun
from brainage_ray.data import SliceStore
from brainage_ray.errors import NoSpaceError, TrialFailed
from brainage_ray.training import distributed, train
from brainage_ray.training.distributed import align_buffers, from_first, in_parallel, share, sum_over_workers

CPU = torch.device("cpu")
WORKERS = 2


@given(st.integers(1, 40), st.integers(1, 6))
def test_shares_weigh_as_the_whole_batch_does(n, size):
    """The average over workers of weight x mean over share is the mean over the batch."""
    values = np.random.default_rng(n).standard_normal(n)
    total, seen = 0.0, []
    for rank in range(size):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(distributed, "rank_and_size", lambda rank=rank: (rank, size))
            rows, weight = share(np.arange(n))
        assert len(rows)
        total += weight * values[rows].mean() / size
        seen += rows.tolist() if weight else []
    assert total == pytest.approx(values.mean())
    assert sorted(seen) == list(range(n))


def test_a_worker_alone_does_everything_itself():
    rows, weight = share(np.arange(5))
    assert (rows.tolist(), weight) == ([0, 1, 2, 3, 4], 1.0)
    values, model = torch.ones(2), nn.BatchNorm1d(2)
    assert sum_over_workers(values) is values
    assert in_parallel(model, CPU) is model
    align_buffers(model)
    assert from_first(lambda: 3, CPU) == 3


def train_in_group(rank: int, folder: str, runs: list[dict[str, Any]]) -> None:
    """What each worker does: train the runs in turn, and write down what came of them."""
    torch.set_num_threads(1)
    address = f"file://{folder}/rendezvous"
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=WORKERS, timeout=timedelta(seconds=120))
    found = [_outcome(TrainingRun.model_validate_json(json.dumps(run)), rank) for run in runs]
    Path(folder, f"worker-{rank}.json").write_text(json.dumps(found))
    # Models that wait for the garbage collector hold the group: its threads would outlive it, and one that lets go of a
    # tensor while the interpreter ends aborts the process.
    gc.collect()
    dist.destroy_process_group()


def _outcome(run: TrainingRun, rank: int) -> Any:
    heard: list[int] = []
    if run.folder.name == "taken-up":

        def stop(epoch: int, metrics: Any) -> None:
            if epoch == 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train(run, stop)
    try:
        fit = train(run, lambda epoch, metrics: heard.append(epoch))
    except (TrialFailed, NoSpaceError) as error:
        return type(error).__name__
    return {"fit": fit.to_json(), "heard": heard}


@pytest.fixture(scope="module")
def outcomes(ages: SliceStore, tumours: SliceStore, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What two workers and what one process make of the same runs."""
    folder = tmp_path_factory.mktemp("workers")
    shared, alone = folder / "shared", folder / "alone"
    uneven = {"batch_size": 13, "max_epochs": 3}  # 144 slices: the last batch has one, a worker none
    runs = {
        "age": make_run(ages, shared / "age", uneven),
        "taken-up": make_run(ages, shared / "taken-up", uneven),
        "random": make_run(ages, shared / "random", {"dropout": 0.2, "augmentation": {"noise_sd": 0.1}}),
        "segmentation": make_run(tumours, shared / "segmentation", {"optimizer": {"lr": 1.0e-2}}),
        "diverged": make_run(ages, shared / "diverged", {"optimizer": {"name": "sgd", "lr": 10.0}, "max_epochs": 20}),
    }
    spawn(train_in_group, (str(folder), [run.to_json() for run in runs.values()]), nprocs=WORKERS)
    found = [json.loads((folder / f"worker-{rank}.json").read_text()) for rank in range(WORKERS)]
    single = {name: train(runs[name].model_copy(update={"folder": alone / name})) for name in ("age", "segmentation")}
    return {"runs": runs, "workers": [dict(zip(runs, each, strict=True)) for each in found], "alone": single}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["age", "taken-up", "random", "segmentation", "diverged"])
def test_all_workers_return_the_same(outcomes: dict[str, Any], name: str):
    first, second = (worker[name] for worker in outcomes["workers"])
    assert first == second


@pytest.mark.slow
@pytest.mark.parametrize(("name", "metric"), [("age", "validation_mae"), ("segmentation", "validation_dice_mean")])
def test_two_workers_learn_what_one_process_learns(outcomes: dict[str, Any], name: str, metric: str):
    alone: FitResult = outcomes["alone"][name]
    together = outcomes["workers"][0][name]["fit"]
    # Dice is of a worker's own share of the batch
    rel = 1e-3 if name == "age" else 0.1
    for one, both in zip(alone.curve, together["curve"], strict=True):
        assert both["train_loss"] == pytest.approx(one["train_loss"], rel=rel)
        assert both["learning_rate"] == one["learning_rate"]
        assert both[metric] == pytest.approx(one[metric], rel=rel, abs=0.05)
    assert together["n_train_slices"] == alone.n_train_slices


@pytest.mark.slow
def test_each_worker_hears_of_each_epoch(outcomes: dict[str, Any]):
    assert [worker["age"]["heard"] for worker in outcomes["workers"]] == [[1, 2, 3]] * 2


@pytest.mark.slow
def test_workers_take_a_run_up_again(outcomes: dict[str, Any]):
    fits = [outcomes["workers"][0][name]["fit"] for name in ("age", "taken-up")]
    assert fits[0]["weights_sha256"] == fits[1]["weights_sha256"]


@pytest.mark.slow
def test_workers_fail_together(outcomes: dict[str, Any]):
    assert [worker["diverged"] for worker in outcomes["workers"]] == ["TrialFailed"] * 2
