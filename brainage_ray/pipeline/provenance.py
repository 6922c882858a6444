"""Says beside each file of weights whom it was trained on, so that the next experiment can check it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from brainage_ray.config import FitResult, TrainingRun
from brainage_ray.data import TrainedOn, read_provenance, trained_on, write_provenance


def keep_provenance(
    experiment: str, runs: Sequence[TrainingRun], fits: Mapping[str, FitResult], manifest: pd.DataFrame
) -> None:
    """Write the provenance of trainings beside their weights.

    Args:
        experiment: its name.
        runs: that were trained.
        fits: by key of the run.
        manifest: of the store that they were trained on.
    """
    for run in runs:
        fit = fits[run.key]
        both = ((fit.weights, fit.weights_sha256), (fit.encoder, fit.encoder_sha256))
        files = {path: sha256 for path, sha256 in both if path is not None and sha256 is not None}
        if files:
            write_provenance(_of_run(experiment, run, manifest), files)


def _of_run(experiment: str, run: TrainingRun, manifest: pd.DataFrame) -> TrainedOn:
    mine = manifest["split"].isin(run.train_splits)
    if run.cohorts:
        mine &= manifest["cohort"].isin(run.cohorts)
    if run.task == "age":
        mine &= manifest["diagnosis"].isin(run.training.diagnoses)
    scans = manifest[mine]
    before = []
    if run.initial is not None:
        known = read_provenance(run.initial.path)
        before = [known or TrainedOn(experiment=experiment, unknown=(f"weights {run.initial.sha256[:8]}",))]
    return trained_on(experiment, scans["person"], scans["contents"], *before)
