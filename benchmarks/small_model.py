"""A model of real brains in a few minutes, without Ray: what the checks of prediction are made on.

The recipe of experiments/ixi.yaml without pre-training and without a search. Nobody of whom there is a whole head in
ixi/heads.csv trains or validates: on them the model is checked.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from brainage_ray.config import Experiment, TrainingRun, load_experiment
from brainage_ray.data import Scan, SliceStore, StoreRow, prepare_scan, write_store
from brainage_ray.data.sources import read_source
from brainage_ray.pipeline.fitted import FittedModel
from brainage_ray.pipeline.model_folder import write_model_folder
from brainage_ray.pipeline.reference import fit_reference, write_reference
from brainage_ray.pipeline.validation import Reading
from brainage_ray.training import predict_slice_years, select_scans, train

RECIPE = Path(__file__).parent.parent / "experiments" / "ixi.yaml"


def write_ixi_model(folder: Path, data: Path, seeds: int = 2, changes: Sequence[str] = ()) -> list[Scan]:
    """Train it.

    Args:
        folder: gets model/, the model's folder, and the files that it was made with.
        data: folder that holds ixi/participants.csv and ixi/heads.csv.
        seeds: of the final models, and of those that read the validation split.
        changes: of the experiment's settings, key.path=value.

    Returns:
        The people whom the model never saw.
    """
    experiment = load_experiment(RECIPE, [f"data.root={data}", *changes])
    scans = read_source(experiment.data.sources[0], folder).scans
    heads = head_subjects(data)
    known = [scan for scan in scans if scan.subject not in heads]
    store = _write_store(folder, experiment, known)
    runs = [_run(experiment, store, folder, seed, ("train",)) for seed in range(seeds)]
    years = [predict_slice_years(run, train(run), select_scans(run, ["validation"])) for run in runs]
    plan: Any = SimpleNamespace(run=runs[0])  # of a study, of which only the run is asked for
    reading = Reading(select_scans(runs[0], ["validation"]), np.stack(years), plan)
    final = [_run(experiment, store, folder, seed, ("train", "validation")) for seed in range(seeds)]
    models = [FittedModel("unet", run.seed, run, train(run)) for run in final]
    write_model_folder(folder / "model", "ixi", experiment.data.preprocessing, models)
    write_reference(folder / "model", fit_reference(experiment, store, reading))
    return [scan for scan in scans if scan.subject in heads]


def head_subjects(data: Path) -> set[str]:
    """Return the people of whom there is a whole head."""
    with (data / "ixi" / "heads.csv").open() as file:
        return {row["subject"] for row in csv.DictReader(file)}


def _write_store(folder: Path, experiment: Experiment, scans: Sequence[Scan]) -> SliceStore:
    settings = experiment.data.preprocessing
    prepared = [prepare_scan(scan, settings, folder / "cache") for scan in scans]
    by_age = np.argsort(np.argsort([scan.age_years for scan in scans]))
    rows = [
        StoreRow(scan, one, "validation" if rank % 5 == 2 else "train", "CN")
        for scan, one, rank in zip(scans, prepared, by_age, strict=True)
    ]
    return write_store(folder / "store", rows, "age", settings)


def _run(experiment: Experiment, store: SliceStore, folder: Path, seed: int, splits: tuple[str, ...]) -> TrainingRun:
    final = len(splits) > 1
    return TrainingRun(
        task="age", backbone=experiment.arms["unet"].backbone, training=experiment.training, seed=seed,
        store=store.folder, store_hash=store.content_hash, train_splits=splits,
        validation_split=None if final else "validation", aggregate=experiment.evaluation.aggregate,
        folder=folder / f"{'final' if final else 'trial'}-{seed}", threads=2,
    )  # fmt: skip
