"""Seconds that a trial with no work costs: our in-actor trials against the stock Tuner around a TorchTrainer."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

from benchmarks.measure import Row
from brainage_ray.config import SearchConfig, SearchSpace, TrainingConfig, TrainingRun, UNetConfig
from brainage_ray.config.read import validate
from brainage_ray.execution import Cluster, StudyPlan, run_study
from brainage_ray.pipeline.progress import Fanout

OUR_TRIALS, PEER_TRIALS = 100, 2
SPACE = {"parameters": {"training.optimizer.lr": {"type": "float", "low": 1.0e-4, "high": 1.0e-2}}}


def measure() -> list[Row]:
    """Run no-op trials both ways on the same local cluster of two CPUs, after one trial each that warms up."""
    with tempfile.TemporaryDirectory() as name, Cluster(cpus=2, gpus=0) as cluster:
        cluster.connect()
        _ours(cluster, Path(name) / "warm", 2)
        ours = _ours(cluster, Path(name) / "ours", OUR_TRIALS)
        _stock(Path(name), 1)
        peer = _stock(Path(name), PEER_TRIALS)
    return [Row("no-op trial", "s", ours, peer, more_is_better=False, goal=">= 50 x less",
                peer_name="Tuner(function trial that fits a TorchTrainer)")]  # fmt: skip


def no_work(run: TrainingRun) -> Generator[dict[str, float], None, Any]:
    """Be a training of one epoch that does nothing."""
    yield {"train_loss": 1.0, "validation_mae": run.training.optimizer.lr, "seconds": 0.0}


def _ours(cluster: Cluster, folder: Path, trials: int) -> float:
    run = TrainingRun(
        task="age", backbone=UNetConfig(kind="unet"), training=TrainingConfig(max_epochs=1), seed=0,
        store=folder, store_hash="", folder=folder, keep_weights=False,
    )  # fmt: skip
    search = SearchConfig(space=validate(SearchSpace, SPACE, "benchmark"), sampler="random", trials=trials)
    start = time.perf_counter()
    run_study(cluster, StudyPlan("noop", run, search, folder), Fanout([]), no_work)
    return (time.perf_counter() - start) / trials


def _stock(folder: Path, trials: int) -> float:
    from ray import train, tune
    from ray.train.torch import TorchTrainer

    def worker() -> None:
        train.report({"validation_mae": 1.0})

    def trial(config: dict[str, float]) -> None:
        scaling = train.ScalingConfig(num_workers=1, resources_per_worker={"CPU": 1})
        TorchTrainer(worker, scaling_config=scaling, run_config=_stored(folder, train)).fit()
        tune.report({"validation_mae": 1.0})  # Train keeps metrics only with a checkpoint, which is work

    start = time.perf_counter()
    results = tune.Tuner(
        tune.with_resources(trial, {"cpu": 0.5}),
        tune_config=tune.TuneConfig(num_samples=trials, max_concurrent_trials=1),
        run_config=_stored(folder, tune),
    ).fit()
    if results.num_errors:
        raise RuntimeError(f"the peer failed, so its time means nothing: {results.errors[0]}")
    return (time.perf_counter() - start) / trials


def _stored(folder: Path, module: Any) -> Any:
    return module.RunConfig(storage_path=str(folder / "stock"))
