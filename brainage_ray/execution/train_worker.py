"""What runs inside a Ray Train worker, and the mailbox through which it speaks to the driver."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypedDict

from brainage_ray.config.run import FitResult, TrainingRun
from brainage_ray.data.node_files import bring_run, send_run
from brainage_ray.training.recorder import EpochRecorder

Trainer = Callable[[TrainingRun, EpochRecorder], FitResult]
"""As brainage_ray.training.loop.train."""

Event = tuple[int, Literal["started", "epoch", "finished", "failed"], Any]
"""Index of the job, what happened, and: None, (epoch, metrics), the result as JSON, the reason."""


class Orders(TypedDict):
    """What the driver sends to every worker."""

    runs: Sequence[tuple[int, str]]
    parallel: Literal["share", "ddp"]
    mailbox: Any
    train: Trainer | None


class Mailbox:
    """A Ray actor that keeps the workers' events until the driver takes them."""

    def __init__(self) -> None:
        self._events: list[Event] = []

    def put(self, event: Event) -> None:
        """Keep an event."""
        self._events.append(event)

    def take(self) -> list[Event]:
        """Return the events that came since the last call, in order."""
        events, self._events = self._events, []
        return events


def work(orders: Orders) -> None:
    """Train this worker's share of the runs, or its part of each.

    Args:
        orders: from the driver; runs are pairs of an index and a training run as JSON.
    """
    import torch.distributed
    from ray import train as ray_train

    context = ray_train.get_context()
    rank, size = context.get_world_rank(), context.get_world_size()
    mine = orders["runs"]
    if orders["parallel"] == "share":
        if torch.distributed.is_initialized():  # otherwise train() would take the workers for one team
            torch.distributed.destroy_process_group()
        mine = mine[rank::size]
    for index, text in mine:
        run = TrainingRun.model_validate_json(text)
        _fit(index, _on_own_gpu(run), orders, speaks=orders["parallel"] == "share" or rank == 0)


def _on_own_gpu(run: TrainingRun) -> TrainingRun:
    """Name the GPU that is this worker's: all workers of a node see all of its GPUs."""
    import torch
    from ray.train.torch import get_device

    if run.device == "cuda" and torch.cuda.is_available():  # where there is none the training says so
        return run.model_copy(update={"device": str(get_device())})
    return run


def _fit(index: int, run: TrainingRun, orders: Orders, speaks: bool) -> None:
    import ray

    def post(kind: str, value: Any = None) -> None:
        ray.get(orders["mailbox"].put.remote((index, kind, value)))

    def record(epoch: int, metrics: Mapping[str, float]) -> None:
        if speaks:
            send_run(run)
            post("epoch", (epoch, dict(metrics)))

    train = orders["train"] or _default_trainer()
    if speaks:
        post("started")
    try:
        fit = train(bring_run(run), record)
        if speaks:
            send_run(run, done=True)
    except Exception as error:
        post("failed", str(error) or type(error).__name__)
        if orders["parallel"] == "ddp":  # the others may wait for this worker for ever: end them all
            raise
    else:
        if speaks:
            post("finished", fit.model_dump_json())


def _default_trainer() -> Trainer:
    from brainage_ray.training.loop import train  # here: the driver need not load torch and MONAI

    return train
