from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from engine_plans import Heard, make_jobs
from training_stores import make_run as tiny_run

from brainage_ray.config import FitResult, ResourcesConfig, TrainingRun
from brainage_ray.data import SliceStore
from brainage_ray.errors import EngineError, TrialFailed
from brainage_ray.execution import Cluster, Job, run_training_jobs
from brainage_ray.execution.train_jobs import TRIES, JobLedger, count_workers, run_training_work
from brainage_ray.execution.train_launch import TrainingWork, _run_json, _start_mailbox
from brainage_ray.training.checkpoint import read_result
from brainage_ray.training.recorder import RunInfo

ONE_CPU = ResourcesConfig()


def real_jobs(ages: SliceStore, folder: Path, count: int) -> list[Job]:
    runs = [tiny_run(ages, folder / f"seed-{i}", {"max_epochs": 2}, seed=i) for i in range(count)]
    return [Job(RunInfo(run.key, f"seed-{run.seed}", "refit", "unet/refit", {"seed": run.seed}), run) for run in runs]


@pytest.mark.ray
@pytest.mark.slow
def test_workers_share_out_the_runs(
    cluster: Cluster, ages: SliceStore, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    jobs, heard = real_jobs(ages, tmp_path, 3), Heard()
    fits = run_training_jobs(cluster, jobs, 2, "share", ONE_CPU, heard)
    assert capfd.readouterr() == ("", "")
    assert [fit.key for fit in fits] == [job.run.key for job in jobs]
    assert [fit.weights for fit in fits] == [job.run.folder / "model.safetensors" for job in jobs]
    assert len({fit.weights_sha256 for fit in fits}) == 3
    for job, fit in zip(jobs, fits, strict=True):
        assert read_result(job.run) == fit
        assert heard.runs[job.info.key] == job.info
        assert heard.epochs[job.info.key] == [(i, metrics) for i, metrics in enumerate(fit.curve, start=1)]
        assert heard.ends[job.info.key] == ("complete", {"epochs": 2, "total_seconds": fit.seconds})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["seed-0", "seed-1", "seed-2"]

    unused, silent = Cluster(), Heard()
    assert run_training_jobs(unused, jobs, 2, "share", ONE_CPU, silent) == fits
    assert not unused._connected
    assert not silent.runs


@pytest.mark.ray
@pytest.mark.slow
def test_workers_fit_each_run_together_and_one_that_fails_stops_no_other(
    cluster: Cluster, ages: SliceStore, tmp_path: Path
):
    jobs, heard = real_jobs(ages, tmp_path, 2), Heard()
    jobs[1] = replace(jobs[1], run=jobs[1].run.model_copy(update={"store_hash": "0" * 16}))
    with pytest.raises(TrialFailed, match=r"the training unet/refit/seed-1 failed: .*finished is kept"):
        run_training_jobs(cluster, jobs, 2, "ddp", ONE_CPU, heard)
    assert [read_result(job.run) is not None for job in jobs] == [True, False]
    assert heard.states == ["complete", "failed"]
    assert [epoch for epoch, _ in heard.epochs[jobs[0].info.key]] == [1, 2]


@pytest.mark.ray
@pytest.mark.slow
def test_a_process_that_dies_takes_no_run_with_it(cluster: Cluster, tmp_path: Path):
    def train(run: TrainingRun, record: Callable[..., None]) -> FitResult:
        import os

        import torch.distributed as dist

        from brainage_ray.config import FitResult

        assert not dist.is_initialized()
        record(1, {"train_loss": 1.0})
        died_before = run.folder.with_name("died")
        if run.seed == 0 and not died_before.exists():
            died_before.touch()
            os._exit(1)
        if run.seed == 1:
            raise ValueError("no such thing")
        return FitResult(key=run.key, curve=({"train_loss": 1.0},))

    heard = Heard()
    work = TrainingWork(make_jobs(tmp_path, range(3)), 1, "share", ONE_CPU, train)
    with pytest.raises(TrialFailed, match="seed-1 failed: no such thing"):
        run_training_work(cluster, work, heard)
    assert [heard.ends[job.info.key][0] for job in work.jobs] == ["complete", "failed", "complete"]
    assert [epoch for epoch, _ in heard.epochs[work.jobs[0].info.key]] == [1, 1]


@pytest.mark.ray
def test_workers_that_do_not_fit_are_refused_at_once(cluster: Cluster, tmp_path: Path):
    jobs = make_jobs(tmp_path, range(4))
    with pytest.raises(EngineError, match=r"3 workers with 1 CPUs and 0 GPUs each.*2 CPUs and 0 GPUs: room for 2"):
        run_training_jobs(cluster, jobs, 3, "ddp", ONE_CPU, Heard())
    with pytest.raises(EngineError, match=r"1 workers with 1 CPUs and 1 GPUs each"):
        run_training_jobs(cluster, jobs, 1, "share", ResourcesConfig(gpus_per_worker=1), Heard())


@pytest.mark.ray
@pytest.mark.parametrize(("workers", "runs", "started"), [(1, 4, 1), (2, 4, 2), (2, 1, 1), (5, 4, 2)])
def test_no_more_workers_share_than_there_are_runs_and_places(
    cluster: Cluster, tmp_path: Path, workers: int, runs: int, started: int
):
    work = TrainingWork(make_jobs(tmp_path, range(runs)), workers, "share", ONE_CPU)
    assert count_workers(cluster, work, runs) == started


@pytest.mark.ray
def test_the_mailbox_lies_on_the_node_of_the_driver(cluster: Cluster, monkeypatch: pytest.MonkeyPatch):
    import ray

    cluster.connect()
    asked: dict[str, Any] = {}
    remote = ray.remote
    monkeypatch.setattr(ray, "remote", lambda **options: asked.update(options) or remote(**options))
    mailbox = _start_mailbox()
    ray.get(mailbox.put.remote((0, "started", None)))
    assert ray.get(mailbox.take.remote()) == [(0, "started", None)]
    ray.kill(mailbox)
    assert asked["scheduling_strategy"].node_id == ray.get_runtime_context().get_node_id()
    assert not asked["scheduling_strategy"].soft


@pytest.mark.parametrize(("gpus", "device"), [(0, "cpu"), (1, "cuda")])
def test_a_worker_without_a_gpu_takes_none(tmp_path: Path, gpus: float, device: str):
    (job,) = make_jobs(tmp_path, range(1))
    job = replace(job, run=job.run.model_copy(update={"device": "auto"}))
    resources = ResourcesConfig(cpus_per_worker=3, gpus_per_worker=gpus, gpus_per_trial=2)
    run = TrainingRun.model_validate_json(_run_json(TrainingWork([job], 1, "share", resources), 0))
    assert (run.device, run.threads) == (device, 3)


@pytest.mark.parametrize(("parallel", "asked"), [("share", 4), ("ddp", 6)])
def test_a_growing_cluster_is_asked_for_the_workers_that_have_work(tmp_path: Path, parallel: str, asked: int):
    class Growing(Cluster):
        def places(self, cpus: float, gpus: float, wanted: int = 1, memory: float = 0) -> int:
            assert wanted == asked
            return wanted

    assert count_workers(Growing(), TrainingWork(make_jobs(tmp_path, range(4)), 6, parallel, ONE_CPU), 4) == asked


def test_jobs_that_begin_nothing_are_an_error_in_the_end(tmp_path: Path):
    ledger = JobLedger(make_jobs(tmp_path, range(2)), Heard())
    for _ in range(TRIES - 1):
        ledger.close_job([0, 1], "a spot machine went before its worker began")
    with pytest.raises(EngineError, match="Ray Train could not train: no route to host"):
        ledger.close_job([0, 1], "no route to host")


def test_a_job_that_begins_something_forgives_those_that_did_not(tmp_path: Path):
    ledger = JobLedger(make_jobs(tmp_path, range(2)), Heard())
    for _ in range(TRIES):
        ledger.close_job([0, 1], "a spot machine went before its worker began")
        ledger.hear((0, "started", None))
        ledger.hear((0, "epoch", (ledger._died_at[0] + 1, {})))
        ledger.close_job([0, 1], "a spot machine went")
    assert ledger.open == [0, 1]


def test_a_run_whose_process_keeps_dying_fails_in_the_end(tmp_path: Path):
    ledger = JobLedger(make_jobs(tmp_path, range(2)), heard := Heard())
    for _ in range(TRIES):
        assert ledger.open == [0, 1]
        ledger.hear((0, "started", None))
        ledger.close_job([0, 1], "worker died")
    assert ledger.open == [1]
    assert ledger.failures == {0: f"its worker process died {TRIES} times: worker died"}
    assert heard.states == ["failed"]
    with pytest.raises(TrialFailed, match="seed-0 failed"):
        ledger.check()


def test_a_run_that_gets_further_each_time_is_never_given_up(tmp_path: Path):
    ledger = JobLedger(make_jobs(tmp_path, range(1)), heard := Heard())
    for reached in [*range(1, 3 * TRIES), *[3 * TRIES] * TRIES]:
        assert ledger.open == [0]
        ledger.hear((0, "started", None))
        for epoch in range(1, reached + 1):  # those of earlier tries are told again
            ledger.hear((0, "epoch", (epoch, {"train_loss": 1.0})))
        ledger.close_job([0], "a spot machine went")
    assert ledger.open == []  # the last three got no further than each other
    assert heard.states == ["failed"]


@pytest.mark.parametrize(("gpus", "workers", "parallel", "refused"), [
    (0.5, 2, "ddp", True), (0.5, 1, "ddp", False), (1, 2, "ddp", False), (0, 2, "ddp", False), (0.5, 2, "share", False),
])  # fmt: skip
def test_workers_that_fit_a_run_together_need_a_gpu_each(
    tmp_path: Path, gpus: float, workers: int, parallel: str, refused: bool
):
    class Large(Cluster):
        def places(self, cpus: float, gpus: float, wanted: int = 1, memory: float = 0) -> int:
            assert not refused
            return wanted

    work = TrainingWork(make_jobs(tmp_path, range(4)), workers, parallel, ResourcesConfig(gpus_per_worker=gpus))
    with pytest.raises(EngineError, match=r"gpus_per_worker is 0\.5") if refused else contextlib.nullcontext():
        assert count_workers(Large(), work, 4) == workers


def test_several_failures_are_counted(tmp_path: Path):
    ledger = JobLedger(make_jobs(tmp_path, range(3)), heard := Heard())
    for index in (2, 1, 1):  # in mode ddp both workers say so
        ledger.hear((index, "started", None))
        ledger.hear((index, "failed", f"loss {index} is nan"))
    with pytest.raises(TrialFailed, match=r"seed-1 failed \(and 1 more failed\): loss 1 is nan"):
        ledger.check()
    assert heard.states == ["failed", "failed"]


def test_results_of_earlier_starts_are_told_if_something_is_left(tmp_path: Path):
    jobs = make_jobs(tmp_path, range(2))
    fits = [FitResult(key=job.run.key, curve=({"train_loss": 1.0},)) for job in jobs]
    heard, silent = Heard(), Heard()
    JobLedger(jobs, heard).take_up([fits[0], None])
    assert heard.ends == {jobs[0].info.key: ("complete", {"epochs": 1, "total_seconds": 0.0})}
    whole = JobLedger(jobs, silent)
    whole.take_up(fits)
    assert whole.open == []
    assert not silent.runs
