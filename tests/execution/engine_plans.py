"""Plans whose trainings take milliseconds, and a recorder that keeps what it hears."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from brainage_ray.config import ResourcesConfig, SearchConfig, SearchSpace, TrainingConfig, TrainingRun, UNetConfig
from brainage_ray.config.read import validate
from brainage_ray.execution import Job, StudyPlan
from brainage_ray.training.recorder import RunInfo

LR = "training.optimizer.lr"
BATCH = "training.batch_size"
LR_RANGE = {LR: {"type": "float", "low": 1.0e-5, "high": 1.0e-1, "log": True}}
GRID = {
    LR: {"type": "categorical", "choices": [1.0e-3, 1.0e-4, 1.0e-5]},
    BATCH: {"type": "categorical", "choices": [32, 64]},
}


class Heard:
    """A recorder that keeps everything."""

    def __init__(self) -> None:
        self.runs: dict[str, RunInfo] = {}
        self.epochs: dict[str, list[tuple[int, dict[str, float]]]] = {}
        self.ends: dict[str, tuple[str, dict[str, float]]] = {}

    def started(self, run: RunInfo) -> None:
        self.runs[run.key] = run
        self.epochs.setdefault(run.key, [])

    def epoch(self, key: str, epoch: int, metrics: Mapping[str, float]) -> None:
        self.epochs[key].append((epoch, dict(metrics)))

    def finished(self, key: str, status: str, metrics: Mapping[str, float]) -> None:
        assert key in self.runs
        self.ends[key] = (status, dict(metrics))

    @property
    def states(self) -> list[str]:
        return sorted(status for status, _ in self.ends.values())


def make_run(folder: Path, epochs: int = 1, seed: int = 0) -> TrainingRun:
    """A run for trainers that train nothing."""
    training = TrainingConfig(max_epochs=epochs)
    backbone = UNetConfig(kind="unet")
    return TrainingRun(
        task="age", backbone=backbone, training=training, seed=seed,
        store=folder, store_hash="none", folder=folder, device="cpu",
    )  # fmt: skip


def make_plan(folder: Path, space: dict[str, Any], epochs: int = 1, cpus: float = 1, **search: Any) -> StudyPlan:
    config = SearchConfig(space=validate(SearchSpace, {"parameters": space}, "the test"), **search)
    resources = ResourcesConfig(cpus_per_trial=cpus)
    return StudyPlan("unet", make_run(folder, epochs), config, folder / "study", resources)


def make_jobs(folder: Path, seeds: range, epochs: int = 1) -> list[Job]:
    runs = [make_run(folder / f"seed-{seed}", epochs, seed) for seed in seeds]
    return [Job(RunInfo(run.key, f"seed-{run.seed}", "refit", "unet/refit"), run) for run in runs]
