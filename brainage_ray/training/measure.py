"""How long a training step takes on this machine, measured on random slices."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from time import perf_counter

import numpy as np
import pandas as pd
import torch

from brainage_ray.config import TrainingRun
from brainage_ray.data.store import StoredSplit
from brainage_ray.models import build_age_model
from brainage_ray.training.augment import Augmentation
from brainage_ray.training.batches import Batch, load_slices
from brainage_ray.training.device import resolve_device, runtime
from brainage_ray.training.optim import build_optimizer
from brainage_ray.training.tasks import Task, build_task

MODALITIES = 4


def measure_step(run: TrainingRun, slice_shape: tuple[int, int], repeats: int = 3) -> tuple[float, int]:
    """Time whole steps: batch, augmentation, forward, backward, optimizer.

    Args:
        run: names the task, the network, the settings, the threads and the device; its store is not read.
        slice_shape: rows and columns, pixels.
        repeats: steps whose median is taken, after one that warms up.

    Returns:
        Seconds of a step, divided by its slices, and the number of the network's weights.

    Raises:
        EngineError: there is no such device.
    """
    training, device = run.training, resolve_device(run.device)
    split = _random_split(run.task, training.batch_size, slice_shape)
    with runtime(device, run.threads):
        slices = load_slices(split, device)
        task = build_task(run, slices)
        model = task.build().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = build_optimizer(model.parameters(), training.optimizer)
        augment = Augmentation(training.augmentation, torch.Generator(device))

        def step() -> None:
            batch = next(iter(slices.batches([np.arange(training.batch_size)])))
            images, labels = augment(batch.images, batch.labels)
            _step(task, model, optimizer, Batch(images, batch.ages, batch.positions, labels))

        step()
        seconds = median(_timed(step, device) for _ in range(repeats))
    return seconds / training.batch_size, sum(weight.numel() for weight in model.parameters())


def count_weights(run: TrainingRun) -> tuple[int, int]:
    """Return how many numbers a network that learns age holds, and in how many tensors; builds it without memory."""
    with torch.device("meta"):
        state = build_age_model(run.backbone, run.training).state_dict()
    return sum(tensor.numel() for tensor in state.values()), len(state)


def _step(task: Task, model: torch.nn.Module, optimizer: torch.optim.Optimizer, batch: Batch) -> None:
    loss = task.loss(model, batch)
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    optimizer.step()


def _timed(step: Callable[[], None], device: torch.device) -> float:
    start = perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return perf_counter() - start


def _random_split(task: str, count: int, shape: tuple[int, int]) -> StoredSplit:
    rng = np.random.default_rng(0)
    channels = (MODALITIES,) if task == "segmentation" else ()
    labels = (rng.integers(0, MODALITIES, (count, *shape), dtype=np.uint8),) if channels else ()
    return StoredSplit(
        scans=pd.DataFrame({"age_years": np.linspace(20.0, 80.0, count)}),
        shards=(rng.standard_normal((count, *channels, *shape)).astype(np.float16),),
        label_shards=labels,
        slice_scan=np.arange(count),
        slice_position=np.zeros(count, np.float32),
    )
