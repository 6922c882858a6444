"""Trials an hour of one search where 1, 4 or 8 trials share a GPU as processes; needs a GPU.

Everything counts but the start of Ray: the processes of the trials, their reading of the store, the search itself.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.data_path import brains
from benchmarks.measure import Row
from brainage_ray.config import (
    PreprocessingConfig,
    ResourcesConfig,
    SearchConfig,
    SearchSpace,
    TrainingConfig,
    TrainingRun,
    UNetConfig,
)
from brainage_ray.config.read import validate
from brainage_ray.data import PreparedScan, Scan, SliceStore, StoreRow, write_store
from brainage_ray.execution import GIB, Cluster, StudyPlan, measure_trial, run_study, settle
from brainage_ray.pipeline.progress import Fanout

AT_ONCE = (1, 4, 8)
TRIALS, EPOCHS, BATCH = 8, 3, 64
SCANS, SLICES = {"train": 300, "validation": 60}, 20
EDGE = 96
NOBODY = Fanout([])
SPACE = {"parameters": {"training.optimizer.lr": {"type": "float", "low": 1.0e-4, "high": 1.0e-3, "log": True}}}


def measure() -> list[Row]:
    """Run the same search with more and more trials on the GPU at once; none where there is no GPU."""
    if not torch.cuda.is_available():
        return []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, Cluster() as cluster:
        store = _store(Path(folder) / "store")
        first = _plan(store, Path(folder) / "first", 1)
        memory = measure_trial(cluster, first)
        run_study(cluster, replace(first, search=first.search.model_copy(update={"trials": 1})), NOBODY)
        per_hour = {}
        for at_once in AT_ONCE:
            plan, note = settle(_plan(store, Path(folder) / f"share-{at_once}", at_once), memory)
            assert not note, note
            began = time.perf_counter()
            result = run_study(cluster, plan, NOBODY)
            per_hour[at_once] = 3600 * TRIALS / (time.perf_counter() - began)
            assert [trial.state for trial in result.trials] == ["complete"] * TRIALS
    what = f"trials an hour, U-Net, {SCANS['train'] * SLICES} slices x {EPOCHS} epochs, batch {BATCH}, bf16"
    return [
        Row(f"{what}, {n} share the GPU", "", value, per_hour[1], peer_name="one at a time")
        for n, value in per_hour.items()
    ] + [Row("memory of such a trial on the GPU, measured before the search", "GiB", memory.gpu / GIB)]


def _plan(store: SliceStore, folder: Path, at_once: int) -> StudyPlan:
    training = TrainingConfig(batch_size=BATCH, max_epochs=EPOCHS, precision="bf16")
    run = TrainingRun(
        task="age", backbone=UNetConfig(kind="unet"), training=training, seed=0, store=store.folder,
        store_hash=store.content_hash, folder=folder, keep_weights=False,
    )  # fmt: skip
    search = SearchConfig(space=validate(SearchSpace, SPACE, "the benchmark"), sampler="random", trials=TRIALS)
    resources = ResourcesConfig(cpus_per_trial=1, gpus_per_trial=1 / at_once)
    return StudyPlan("unet", run, search, folder, resources)


def _store(folder: Path) -> SliceStore:
    images, rows = brains(SLICES)[:, :EDGE, :EDGE], []
    cache = folder.with_name("cache")
    cache.mkdir(parents=True)
    np.save(cache / "images.npy", images)
    positions = tuple(float(position) for position in range(SLICES))
    prepared = PreparedScan("images", cache / "images.npy", None, positions, SLICES, "0", 1.0)
    for split, count in SCANS.items():
        for i in range(count):
            name = f"{split}{i}"
            rows.append(StoreRow(Scan("Toy", name, "bl", name, {}, age_years=50 + i % 40), prepared, split, "CN"))  # type: ignore[arg-type]
    return write_store(folder, rows, "age", PreprocessingConfig(slice_shape=(EDGE, EDGE)))
