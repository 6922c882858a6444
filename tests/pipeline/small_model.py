"""A model of phantoms, trained in seconds without Ray, and its reference."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from brainage_ray.config import AdniSource, Experiment, TrainingRun
from brainage_ray.config.read import validate
from brainage_ray.data import Scan, StoreRow, prepare_scan, write_store
from brainage_ray.data.phantoms import write_phantoms
from brainage_ray.data.sources.adni import Adni
from brainage_ray.pipeline.fitted import FittedModel
from brainage_ray.pipeline.model_folder import write_model_folder
from brainage_ray.pipeline.reference import fit_reference, write_reference
from brainage_ray.pipeline.validation import Reading
from brainage_ray.training import predict_slice_years, select_scans, train

PEOPLE = 26
EXPERIMENT = {
    "name": "small",
    "data": {
        "sources": [{"kind": "phantom", "subjects": PEOPLE, "tumours": 0, "seed": 0}],
        "preprocessing": {
            "voxel_mm": 4.0, "slice_range_mm": [48.0, 112.0], "slice_step_mm": 8.0, "slice_shape": [48, 48],
        },
        "split": {"rule": "by_subject", "fractions": {"train": 0.5, "validation": 0.25, "test": 0.25}},
    },
    "arms": {"unet": {"backbone": {"kind": "unet", "width": 0.125, "depth": 3}}},
    "training": {"max_epochs": 2, "batch_size": 8},
    "search": {"space": {"parameters": {"training.optimizer.lr": {"type": "float", "low": 1.0e-4, "high": 0.01}}}},
}  # fmt: skip


def write_small_model(folder: Path) -> list[Scan]:
    """Train it into folder/model; return the healthy people whom it never saw."""
    experiment = validate(Experiment, EXPERIMENT, "the test")
    write_phantoms(folder, PEOPLE, 0, 0)
    scans = [s for s in Adni(AdniSource(kind="adni", root=folder / "ADNI")).read().scans if s.diagnosis == "CN"]
    settings = experiment.data.preprocessing
    by_age = sorted({scan.person: scan for scan in scans}.values(), key=lambda scan: scan.age_years or 0)
    middle = len(by_age) // 2
    new, known = by_age[middle : middle + 2], by_age[:middle] + by_age[middle + 2 :]
    rows = [
        StoreRow(scan, prepare_scan(scan, settings, folder / "cache"), "train" if i % 3 else "validation", "CN")
        for i, scan in enumerate(known)
    ]
    store = write_store(folder / "store", rows, "age", settings)

    def run(seed: int, final: bool) -> TrainingRun:
        return TrainingRun(
            task="age", backbone=experiment.arms["unet"].backbone, training=experiment.training, seed=seed,
            store=store.folder, store_hash=store.content_hash, device="cpu",
            train_splits=("train", "validation") if final else ("train",),
            validation_split=None if final else "validation", folder=folder / f"{'final' if final else 'trial'}-{seed}",
        )  # fmt: skip

    trials = [run(seed, final=False) for seed in (0, 1)]
    years = [predict_slice_years(trial, train(trial), select_scans(trial, ["validation"])) for trial in trials]
    plan: Any = SimpleNamespace(run=trials[0])
    reading = Reading(select_scans(trials[0], ["validation"]), np.stack(years), plan)
    models = [FittedModel("unet", seed, run(seed, final=True), train(run(seed, final=True))) for seed in (0, 1)]
    write_model_folder(folder / "model", "small", settings, models)
    write_reference(folder / "model", fit_reference(experiment, store, reading))
    return new
