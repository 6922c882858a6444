"""Several workers fit one run together, where torch.distributed has a process group.

Without a group, or in a group of one, all of this does nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn

T = TypeVar("T")


def rank_and_size() -> tuple[int, int]:
    """Return this worker's number, from 0, and how many there are."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def share(rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], float]:
    """Return this worker's part of a batch, and the weight that its mean loss gets.

    Data parallelism averages the workers' gradients as if all parts were of one size; the
    weights make it the gradient of the whole batch's mean. A worker whose part is empty gets one
    row with weight 0, because all have to take part in the step.

    Args:
        rows: [n] of the whole batch.
    """
    rank, size = rank_and_size()
    part = rows[rank::size]
    if len(part) == 0:
        return rows[:1], 0.0
    return part, len(part) * size / len(rows)


def sum_over_workers(values: Tensor) -> Tensor:
    """Return the sum of a tensor over all workers, in place."""
    if rank_and_size()[1] > 1:
        dist.all_reduce(values)
    return values


def in_parallel(model: nn.Module, device: torch.device) -> nn.Module:
    """Return the model, wrapped so that the workers' gradients are averaged."""
    if rank_and_size()[1] == 1:
        return model
    return nn.parallel.DistributedDataParallel(model, device_ids=[device.index] if device.type == "cuda" else None)


def align_buffers(model: nn.Module) -> None:
    """Give all workers the first one's running statistics, which each had updated on its own slices."""
    if rank_and_size()[1] > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)


def from_first(make: Callable[[], T], device: torch.device) -> T:
    """Let the first worker do something, and return what it made, or raise what it raised, on all of them.

    Args:
        make: called on the first worker only; its value has to pickle.
        device: that the process group communicates from.
    """
    rank, size = rank_and_size()
    if size == 1:
        return make()
    answer: list[tuple[T | None, Exception | None]] = [(None, None)]
    if rank == 0:
        try:
            answer = [(make(), None)]
        except Exception as error:  # the other workers wait for an answer, whatever happened
            answer = [(None, error)]
    dist.broadcast_object_list(answer, src=0, device=device)
    value, failure = answer[0]
    if failure is not None:
        raise failure
    return value  # type: ignore[return-value]
