"""One Ray Train job: its start, the events of its workers, its end."""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from brainage_ray.config.experiment import ResourcesConfig
from brainage_ray.data.files import SCRATCH
from brainage_ray.execution.results import Job, equip

if TYPE_CHECKING:
    from brainage_ray.execution.train_worker import Event, Trainer

_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class TrainingWork:
    """Runs, and the workers that train them."""

    jobs: Sequence[Job]
    workers: int
    parallel: Literal["share", "ddp"]
    resources: ResourcesConfig
    train: Trainer | None = None
    """In place of brainage_ray.training.loop.train; is pickled."""


def launch(work: TrainingWork, indices: Sequence[int], workers: int, hear: Callable[[Event], None]) -> str | None:
    """Run one Ray Train job.

    Args:
        work: jobs and how they are trained.
        indices: of the jobs to train.
        workers: how many.
        hear: told of the workers' events, in a thread.

    Returns:
        What ended the job early; None where nothing did.
    """
    import ray

    mailbox = _start_mailbox()
    scratch = work.jobs[0].run.folder.absolute().parent / SCRATCH
    orders = {
        "runs": [(index, _run_json(work, index)) for index in indices],
        "parallel": work.parallel,
        "mailbox": mailbox,
        "train": work.train,
    }
    try:
        with _listening(mailbox, hear):
            return _fit(orders, workers, work.resources, str(scratch))
    finally:
        ray.kill(mailbox)
        shutil.rmtree(scratch, ignore_errors=True)


def _start_mailbox() -> Any:
    """Start the mailbox on this node: another one may be taken away, and the workers' events with it."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from brainage_ray.execution.train_worker import Mailbox

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(num_cpus=0, scheduling_strategy=here)(Mailbox).remote()


def _run_json(work: TrainingWork, index: int) -> str:
    run, resources = work.jobs[index].run, work.resources
    return equip(run, resources.cpus_per_worker, resources.gpus_per_worker).model_dump_json()


def _fit(orders: dict[str, Any], workers: int, resources: ResourcesConfig, scratch: str) -> str | None:
    from ray.train import RunConfig, ScalingConfig, TrainingFailedError

    from brainage_ray.execution.interruptible import InterruptibleTrainer
    from brainage_ray.execution.train_worker import work

    held = {"CPU": resources.cpus_per_worker, "GPU": resources.gpus_per_worker}
    trainer = InterruptibleTrainer(
        work,
        train_loop_config=orders,
        scaling_config=ScalingConfig(
            num_workers=workers, use_gpu=resources.gpus_per_worker > 0, resources_per_worker=held
        ),
        run_config=RunConfig(name="train", storage_path=scratch),
    )
    try:
        trainer.fit()
    except TrainingFailedError as error:
        return str(error).strip().splitlines()[0]
    return None


@contextlib.contextmanager
def _listening(mailbox: Any, hear: Callable[[Event], None]) -> Iterator[None]:
    """Pass on the workers' events from a thread, and those that are left at the end; raise what that raised."""
    import ray

    done = threading.Event()
    problems: list[Exception] = []

    def listen() -> None:
        try:
            while True:
                last = done.wait(_POLL_SECONDS)
                for event in ray.get(mailbox.take.remote()):
                    hear(event)
                if last:
                    return
        except Exception as error:
            problems.append(error)

    thread = threading.Thread(target=listen, name="brainage-events", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    if problems:
        raise problems[0]
