"""Long and wide trainings: one Ray Train job carries many runs."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from brainage_ray.config.experiment import ResourcesConfig
from brainage_ray.config.run import FitResult
from brainage_ray.data.node_files import adopt, send_now
from brainage_ray.errors import EngineError, TrialFailed
from brainage_ray.execution.cluster import Cluster
from brainage_ray.execution.results import Job
from brainage_ray.execution.train_launch import TrainingWork, launch

if TYPE_CHECKING:
    from brainage_ray.execution.train_worker import Event
    from brainage_ray.training.recorder import Recorder

logger = logging.getLogger(__name__)

TRIES = 3
"""How often a run is tried whose process died without getting further, and a job of Ray Train that began no run."""


def run_training_jobs(
    cluster: Cluster,
    jobs: Sequence[Job],
    workers: int,
    parallel: Literal["share", "ddp"],
    resources: ResourcesConfig,
    recorder: Recorder,
) -> list[FitResult]:
    """Train runs that have no result yet; the others' results are read.

    Args:
        cluster: where the workers run; not started where every run has its result.
        jobs: runs, each with a folder of its own, on a cluster one that all nodes share.
        workers: how many; in mode share at most as many as there are runs and as the cluster holds.
        parallel: share: worker r takes the runs r, r + workers, ...; ddp: all workers fit each run together.
        resources: what a worker holds.
        recorder: told of every run.

    Returns:
        The result of each job, in the order of the jobs.

    Raises:
        EngineError: the cluster does not hold the workers, they cannot train together with so little of a GPU, or
            Ray Train does not start them.
        TrialFailed: runs failed; the others are finished first.
    """
    return run_training_work(cluster, TrainingWork(jobs, workers, parallel, resources), recorder)


def run_training_work(cluster: Cluster, work: TrainingWork, recorder: Recorder) -> list[FitResult]:
    """As run_training_jobs, which see."""
    from brainage_ray.training.checkpoint import read_result

    ledger = JobLedger(work.jobs, recorder)
    ledger.take_up([read_result(job.run) for job in work.jobs])
    try:
        while todo := ledger.open:
            for index in todo:
                adopt(work.jobs[index].run.folder)
            send_now()
            workers = count_workers(cluster, work, len(todo))
            ledger.close_job(todo, launch(work, todo, workers, ledger.hear))
    finally:
        cluster.release()
    ledger.check()
    return [ledger.fits[index] for index in range(len(work.jobs))]


def count_workers(cluster: Cluster, work: TrainingWork, runs: int) -> int:
    """Return how many workers to start for so many runs.

    Fewer workers that share out the runs give the same results later; fewer that fit a run together do not.

    Raises:
        EngineError: the cluster does not hold them, or two that fit a run together would share a GPU.
    """
    cpus, gpus = work.resources.cpus_per_worker, work.resources.gpus_per_worker
    if work.parallel == "ddp" and work.workers > 1 and 0 < gpus < 1:
        raise EngineError(
            f"resources.gpus_per_worker is {gpus:g}, but workers that fit a run together (parallel: ddp) share no GPU",
            "Set resources.gpus_per_worker to 1, or parallel to share.",
        )
    wanted = work.workers if work.parallel == "ddp" else min(work.workers, runs)
    needed = wanted if work.parallel == "ddp" else 1
    places = cluster.places(cpus, gpus, wanted)
    if places < needed:
        raise EngineError(
            f"{needed} workers with {cpus:g} CPUs and {gpus:g} GPUs each do not fit on the cluster, which has "
            f"{cluster.resources()}: room for {places}",
            "Lower workers, resources.cpus_per_worker or resources.gpus_per_worker, or add nodes.",
        )
    if places < wanted:
        logger.warning("There is room for %d of %d workers, which share out the runs", places, wanted)
    return min(wanted, places)


class JobLedger:
    """What has become of each job, by its index."""

    def __init__(self, jobs: Sequence[Job], recorder: Recorder) -> None:
        self._jobs, self._recorder = jobs, recorder
        self.fits: dict[int, FitResult] = {}
        self.failures: dict[int, str] = {}
        self._running: set[int] = set()
        self._epochs: Counter[int] = Counter()
        """The last epoch heard of each job."""
        self._died_at: Counter[int] = Counter()
        """What that was at its last death."""
        self._deaths: Counter[int] = Counter()
        """Deaths of each job since it last got further."""
        self._idle = 0
        """Jobs of Ray Train in a row that began none of ours."""

    @property
    def open(self) -> list[int]:
        """Jobs without an answer."""
        return [i for i in range(len(self._jobs)) if i not in self.fits and i not in self.failures]

    def take_up(self, fits: Sequence[FitResult | None]) -> None:
        """Note the results of earlier starts; tell the recorder of them if something is left to do."""
        done = {index: fit for index, fit in enumerate(fits) if fit is not None}
        if len(done) == len(fits):
            self.fits = done
            return
        for index, fit in done.items():
            self.hear((index, "started", None))
            for epoch, metrics in enumerate(fit.curve, 1):
                self.hear((index, "epoch", (epoch, metrics)))
            self.hear((index, "finished", fit.model_dump_json()))

    def hear(self, event: Event) -> None:
        """Take an event down and pass it to the recorder."""
        index, kind, value = event
        info = self._jobs[index].info
        if kind == "started":
            self._running.add(index)
            self._recorder.started(info)
        elif kind == "epoch":
            self._epochs[index] = max(self._epochs[index], value[0])
            self._recorder.epoch(info.key, value[0], value[1])
        elif kind == "finished":
            self._running.discard(index)
            adopt(self._jobs[index].run.folder)
            fit = _at_home(FitResult.model_validate_json(value), self._jobs[index].run.folder)
            self.fits[index] = fit
            self._recorder.finished(info.key, "complete", {"epochs": len(fit.curve), "total_seconds": fit.seconds})
        elif index not in self.failures:  # in mode ddp several workers may say so
            self._fail(index, value)

    def close_job(self, todo: Sequence[int], crash: str | None) -> None:
        """Decide what is tried again after a Ray Train job over the jobs `todo` has ended.

        Raises:
            EngineError: again and again it has not even begun one of them.
        """
        self._idle = self._idle + 1 if self.open == todo and not self._running else 0
        if self._idle >= TRIES:
            raise EngineError(f"Ray Train could not train: {crash}", "See what Ray says with --debug.")
        for index in sorted(self._running):
            further = self._epochs[index] > self._died_at[index]
            self._deaths[index] = 1 if further else self._deaths[index] + 1
            self._died_at[index] = self._epochs[index]
            if self._deaths[index] >= TRIES:
                self._fail(index, f"its worker process died {TRIES} times: {crash}")
        self._running = set()

    def check(self) -> None:
        """Raise TrialFailed where runs failed."""
        if self.failures:
            first = min(self.failures)
            more = f" (and {len(self.failures) - 1} more failed)" if len(self.failures) > 1 else ""
            raise TrialFailed(
                f"the training {self._jobs[first].info.parent}/{self._jobs[first].info.name} failed{more}: "
                f"{self.failures[first]}",
                "Correct that and run again: what is finished is kept.",
            )

    def _fail(self, index: int, reason: str) -> None:
        self._running.discard(index)
        self.failures[index] = reason
        self._recorder.finished(self._jobs[index].info.key, "failed", {})


def _at_home(fit: FitResult, folder: Path) -> FitResult:
    """Return a result with the files of weights where the driver has them."""
    weights = fit.weights and folder / fit.weights.name
    encoder = fit.encoder and folder / fit.encoder.name
    return fit.model_copy(update={"weights": weights, "encoder": encoder})
