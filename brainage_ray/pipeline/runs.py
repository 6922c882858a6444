"""Small things that every stage that trains needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from brainage_ray.config import FitResult, RefitConfig, SegmentationPretraining, TrainingRun
from brainage_ray.data import code_version
from brainage_ray.execution import Job, run_training_jobs
from brainage_ray.pipeline.session import Session, Tracking
from brainage_ray.training import read_result, trained_epochs


@cache
def this_commit() -> str:
    """Return the commit of the code that this process loaded."""
    return code_version()


def in_folder(run: TrainingRun, base: Path) -> TrainingRun:
    """Give a run a folder named by its key, so that a changed setting never meets old files."""
    return run.model_copy(update={"folder": base.with_name(f"{base.name}-{run.key}")})


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings into dotted paths."""
    leaves: dict[str, Any] = {}
    for key, value in values.items():
        path = f"{prefix}.{key}" if prefix else key
        leaves |= flat(value, path) if isinstance(value, Mapping) else {path: value}
    return leaves


def team(config: RefitConfig | SegmentationPretraining) -> int:
    """Return how many workers train one run together."""
    return config.workers if config.parallel == "ddp" else 1


def train_all(
    session: Session, name: str, jobs: Sequence[Job], config: RefitConfig | SegmentationPretraining
) -> dict[str, FitResult]:
    """Train the jobs that have no result yet, as one Ray Train job under one bar.

    Returns:
        Every job's result by the key of its run.

    Raises:
        TrialFailed: a training ended with NaN or an error; the others are kept.
    """
    fits = [read_result(job.run) for job in jobs]
    if None in fits:
        epochs = {job.run.key: job.run.epochs for job in jobs}
        jobs = [replace(job, info=replace(job.info, trained=trained_epochs(job.run))) for job in jobs]
        with session.bar(name, sum(epochs.values()), "epochs"):
            fits = [*run_training_jobs(session.cluster, jobs, config.workers, config.parallel,
                                       session.experiment.resources, session.recorder(epochs))]  # fmt: skip
    elif session.tracking.behind:
        for job, fit in zip(jobs, fits, strict=True):
            _retell(session.tracking, job, fit)
    return {fit.key: fit for fit in fits if fit is not None}


def _retell(tracking: Tracking, job: Job, fit: FitResult | None) -> None:
    if fit is not None:
        tracking.started(job.info)
        for epoch, metrics in enumerate(fit.curve, 1):
            tracking.epoch(fit.key, epoch, metrics)
        tracking.finished(fit.key, "complete", {"epochs": len(fit.curve), "total_seconds": fit.seconds})
