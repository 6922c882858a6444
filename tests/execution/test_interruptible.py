from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from engine_plans import Heard, make_jobs
from ray.train.torch import TorchTrainer

from brainage_ray.config import FitResult, ResourcesConfig, TrainingRun
from brainage_ray.execution import Cluster
from brainage_ray.execution.interruptible import InterruptibleTrainer
from brainage_ray.execution.train_jobs import run_training_work
from brainage_ray.execution.train_launch import TrainingWork

Trainers = Callable[..., InterruptibleTrainer]


@pytest.fixture
def trainers(monkeypatch: pytest.MonkeyPatch) -> Trainers:
    """Trainers whose Ray handles a SIGINT so, and whose training is this, once Ray listens."""

    def make(handle: Callable[[], object], train: Callable[[], object]) -> InterruptibleTrainer:
        def register(self: TorchTrainer, controller: object) -> None:
            signal.signal(signal.SIGINT, lambda number, frame: handle())

        def fit(self: TorchTrainer) -> object:
            self._register_sigint_handler(None)
            return train()

        monkeypatch.setattr(TorchTrainer, "_register_sigint_handler", register)
        monkeypatch.setattr(TorchTrainer, "fit", fit)
        return InterruptibleTrainer.__new__(InterruptibleTrainer)

    return make


@pytest.fixture(autouse=True)
def kept_handler() -> Iterator[None]:
    before = signal.getsignal(signal.SIGINT)
    yield
    assert signal.getsignal(signal.SIGINT) is before


def ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


def test_without_a_signal_nothing_changes(trainers: Trainers):
    assert trainers(pytest.fail, lambda: "the result").fit() == "the result"


def test_a_signal_that_ray_swallows_ends_all_the_same(trainers: Trainers):
    with pytest.raises(KeyboardInterrupt):
        trainers(lambda: None, ctrl_c).fit()


def test_a_signal_counts_more_than_the_failure_that_it_made(trainers: Trainers):
    def train() -> None:
        ctrl_c()
        raise RuntimeError("a worker was lost")

    with pytest.raises(KeyboardInterrupt):
        trainers(lambda: None, train).fit()


def test_rays_way_out_is_not_the_end_of_the_program(trainers: Trainers):
    def leave() -> None:
        raise SystemExit(0)

    with pytest.raises(KeyboardInterrupt):
        trainers(leave, ctrl_c).fit()


def test_a_second_signal_waits_for_nothing(trainers: Trainers):
    heard = []

    def handle() -> None:
        heard.append("abort")
        ctrl_c()  # while Ray waits for its controller
        heard.append("aborted")

    with pytest.raises(KeyboardInterrupt):
        trainers(handle, ctrl_c).fit()
    assert heard == ["abort"]


@pytest.mark.ray
@pytest.mark.slow
def test_a_signal_ends_a_training_of_ray_train(cluster: Cluster, tmp_path: Path):
    driver = os.getpid()

    def train(run: TrainingRun, record: Callable[..., Any]) -> FitResult:
        import os
        import signal
        import time

        os.kill(driver, signal.SIGINT)
        while True:
            time.sleep(1)

    heard = Heard()
    with pytest.raises(KeyboardInterrupt):
        run_training_work(
            cluster, TrainingWork(make_jobs(tmp_path, range(1)), 1, "share", ResourcesConfig(), train), heard
        )
    assert len(heard.runs) == 1
    assert heard.states == []
