"""What an experiment would run and what it would cost, from a measured step; nothing is touched."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Literal

import torch

from brainage_ray.config import (
    BackboneConfig,
    Experiment,
    ImportedWeights,
    PreprocessingConfig,
    RefitConfig,
    SegmentationPretraining,
    TrainingConfig,
)
from brainage_ray.config.data import PhantomSource, Split, TableSource
from brainage_ray.data.exclusions import excuse, leave_out, read_exclusions
from brainage_ray.data.sources import outline_phantoms, phantoms_missing, read_sources
from brainage_ray.data.splits import assign_splits
from brainage_ray.errors import ConfigError
from brainage_ray.execution import (
    Demand,
)
from brainage_ray.pipeline.chains import chains
from brainage_ray.pipeline.checks import check_rejected, reject_unknown_labels
from brainage_ray.pipeline.plan_rows import BYTES_PER_WEIGHT, PlanRow, epochs_of, places_here, search_row, template_run
from brainage_ray.pipeline.stages import STAGES
from brainage_ray.training.measure import measure_step

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
BRAIN_HEIGHT_MM = 140.0
"""Of an adult, from the cerebellum to the top: what a segmentation case is counted with."""
CPU_BATCH = 16
"""Slices of a measured step on a CPU, where a slice costs about the same in any larger batch."""
BYTES_PER_PIXEL = 2


@dataclass(frozen=True)
class Counts:
    """How much data there is, and how that is known."""

    scans: Mapping[Split, int]
    """Healthy scans by split."""
    cases: int
    source: str
    """"read from the sources" or "expected by the experiment file"."""


@dataclass(frozen=True)
class Plan:
    """What `--dry-run` prints."""

    counts: Counts
    rows: tuple[PlanRow, ...]
    device: str

    @property
    def hours(self) -> float:
        """Sum over the rows."""
        return sum(row.hours for row in self.rows)

    @property
    def wall(self) -> float:
        """Sum over the rows."""
        return sum(row.wall for row in self.rows)

    @property
    def gpu_hours(self) -> float:
        """Sum over the rows."""
        return sum(row.gpu_hours for row in self.rows)

    @property
    def gigabytes(self) -> float:
        """Sum over the rows."""
        return sum(row.gigabytes for row in self.rows)


class StepTimes:
    """Seconds of one slice's training step on this machine, measured once for each network."""

    def __init__(self, shape: tuple[int, int], gpu: bool, threads: int) -> None:
        self._shape, self._gpu, self._threads = shape, gpu, threads
        self._known: dict[tuple[str, BackboneConfig], tuple[float, int]] = {}

    def measure(
        self, task: Literal["age", "segmentation"], backbone: BackboneConfig, training: TrainingConfig
    ) -> tuple[float, int]:
        """Return (seconds per slice, weights of the network)."""
        if (task, backbone) not in self._known:
            batch = training.batch_size if self._gpu else min(training.batch_size, CPU_BATCH)
            run = template_run(task, backbone, training.model_copy(update={"batch_size": batch}))
            placed = run.model_copy(update={"device": "cuda" if self._gpu else "cpu", "threads": self._threads})
            self._known[task, backbone] = measure_step(placed, self._shape)
        return self._known[task, backbone]


def make_plan(experiment: Experiment, workspace: Path, until: str = "report") -> Plan:
    """Count runs, hours and bytes.

    Args:
        experiment: to plan.
        workspace: where its phantoms may be.
        until: the last stage to count.

    Raises:
        ConfigError: the sources are not on this machine and the file does not say how many scans to expect.
        MetadataError: the sources cannot be read, or reject more inputs than data.max_failures.
    """
    counts = count_data(experiment, workspace)
    wants_gpu = max(experiment.resources.gpus_per_trial, experiment.resources.gpus_per_worker) > 0
    gpu = wants_gpu and torch.cuda.is_available()
    threads = max(1, int(experiment.resources.cpus_per_trial))
    times = StepTimes(experiment.data.preprocessing.slice_shape, gpu, threads)
    makers = {"pretrain": _pretraining_rows, "search": _search_rows, "refit": _refit_rows}
    wanted = STAGES[: STAGES.index(until) + 1]
    rows = [_store_row(experiment, counts)]
    for make in (make for stage, make in makers.items() if stage in wanted):
        rows += make(experiment, counts, times)
    return Plan(counts, tuple(rows), torch.cuda.get_device_name() if gpu else "CPU")


def count_data(experiment: Experiment, workspace: Path) -> Counts:
    """Count healthy scans and cases, from the sources where they are here, else from what the file expects."""
    data, cache = experiment.data, workspace / "cache" / "phantoms"
    places = [source.table if isinstance(source, TableSource) else source.root
              for source in data.sources if not isinstance(source, PhantomSource)]  # fmt: skip
    absent = [str(place) for place in places if not place.exists()]
    if not absent and not phantoms_missing(data.sources, cache):
        return _count_sources(experiment, cache)
    if not absent:
        with tempfile.TemporaryDirectory() as outlines:
            outline_phantoms(data.sources, Path(outlines))
            return _count_sources(experiment, Path(outlines))
    if data.expected_scans is None:
        raise ConfigError(
            f"The scans cannot be counted: there is no {absent[0]}",
            "Correct that, or say how many to plan with: --set 'data.expected_scans={train: 900, validation: 300, "
            "test: 300}', and data.expected_cases for segmentation.",
        )
    scans = {split: data.expected_scans.get(split, 0) for split in SPLITS}
    return Counts(scans, data.expected_cases or 0, "expected by the experiment file")


def _count_sources(experiment: Experiment, cache: Path) -> Counts:
    excluded = read_exclusions(experiment.data.exclusions)
    found = reject_unknown_labels(read_sources(experiment.data.sources, cache), experiment.data.label_map)
    found = excuse(found, excluded)
    check_rejected(experiment, found)
    scans = found.scans
    faces = [scan for scan in scans if scan.segmentation is None]
    assigned = assign_splits(faces, experiment.data.split, experiment.data.label_map, experiment.training.diagnoses)
    healthy = [a for a in leave_out(assigned, excluded) if a.diagnosis in experiment.training.diagnoses]
    splits = {name: sum(a.split == name for a in healthy) for name in SPLITS}
    left_out = {one.id for one in excluded}
    cases = sum(scan.segmentation is not None and (scan.cohort, scan.image) not in left_out for scan in scans)
    return Counts(splits, cases, "read from the sources")


def _slices(preprocessing: PreprocessingConfig) -> int:
    low, high = preprocessing.slice_range_mm
    return ceil((high - low) / preprocessing.slice_step_mm)


def _store_row(experiment: Experiment, counts: Counts) -> PlanRow:
    preprocessing = experiment.data.preprocessing
    pixels = preprocessing.slice_shape[0] * preprocessing.slice_shape[1]
    age = sum(counts.scans.values()) * _slices(preprocessing) * pixels * BYTES_PER_PIXEL
    cases = counts.cases * _case_slices(preprocessing) * pixels * (4 * BYTES_PER_PIXEL + 1)
    # Each prepared scan is kept twice: in the cache, from which a store is made anew, and in the store.
    what = f"{sum(counts.scans.values())} healthy scans, {counts.cases} cases"
    return PlanRow("prepare", what, 0, 0, 0.0, 2 * (age + cases) / 1e9)


def _case_slices(preprocessing: PreprocessingConfig) -> int:
    return ceil(BRAIN_HEIGHT_MM / preprocessing.slice_step_mm)


def _pretraining_rows(experiment: Experiment, counts: Counts, times: StepTimes) -> Iterator[PlanRow]:
    for node in (node for level in chains(experiment) for node in level):
        config = experiment.pretraining[node.chain[-1]]
        if isinstance(config, ImportedWeights):
            yield PlanRow("pretrain", f"{node.label}: import {Path(config.uri).name}", 0, 0, 0.0, 0.1)
        else:
            slices = counts.cases * (1 - experiment.data.split.case_validation_fraction)
            slices *= _case_slices(experiment.data.preprocessing)
            work = (config.seeds, config.training, slices)
            row = _row("pretrain", node.label, work, times.measure("segmentation", node.backbone, config.training))
            yield _side_by_side(experiment, row, config)


def _row(stage: str, what: str, work: tuple[int, TrainingConfig, float], cost: tuple[float, int]) -> PlanRow:
    """Multiply out: runs x epochs x slices x seconds, and three times the weights for Adam's checkpoint."""
    runs, training, slices = work
    seconds, weights = cost
    hours = runs * training.max_epochs * slices * seconds / 3600
    return PlanRow(stage, what, runs, training.max_epochs, hours, runs * 4 * weights * BYTES_PER_WEIGHT / 1e9)


def _search_rows(experiment: Experiment, counts: Counts, times: StepTimes) -> Iterator[PlanRow]:
    slices = counts.scans["train"] * _slices(experiment.data.preprocessing)
    for name, arm in experiment.arms.items():
        seconds, weights = times.measure("age", arm.backbone, experiment.training)
        yield search_row(experiment, name, slices * seconds / 3600, weights)


def _refit_rows(experiment: Experiment, counts: Counts, times: StepTimes) -> Iterator[PlanRow]:
    slices = (counts.scans["train"] + counts.scans["validation"]) * _slices(experiment.data.preprocessing)
    for name, arm in experiment.arms.items():
        longest = experiment.training.model_copy(update={"max_epochs": epochs_of(experiment, name)})
        work = (len(experiment.refit.seeds), longest, float(slices))
        row = _row("refit", name, work, times.measure("age", arm.backbone, experiment.training))
        yield _side_by_side(experiment, row, experiment.refit)


def _side_by_side(experiment: Experiment, row: PlanRow, config: RefitConfig | SegmentationPretraining) -> PlanRow:
    """Say how many workers share a stage's work on this machine."""
    held = experiment.resources
    room = places_here(Demand(row.stage, 1, held.cpus_per_worker, held.gpus_per_worker))
    workers = config.workers if config.parallel == "ddp" else min(config.workers, row.runs)
    return replace(row, side_by_side=min(workers, room), gpus=held.gpus_per_worker)
