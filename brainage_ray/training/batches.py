"""Slices by the batch, as fast as memory gives them.

Where a split fits into the memory of the device that trains, it lies there as float16 and a
batch is one index_select. Where it does not, batches are read from the memory map by a thread
that runs ahead, into pinned memory where a GPU takes them.

Shapes: N slices in all, n in a batch, C channels, H x W pixels.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brainage_ray.data.store import StoredSplit

GPU_SHARE = 0.5
"""Of a GPU's free memory that a split may take; the rest is the network's."""
HOST_SHARE = 0.125
"""Of a machine's memory that a split may take; other workers have their own."""
READ_AHEAD = 3
"""Batches that wait, read, for the device."""


@dataclass(frozen=True)
class Batch:
    """Slices on the device that computes.

    Attributes:
        images: [n, C, H, W], float32, channels last in memory.
        ages: [n], chronological age of each slice's scan, years; NaN where unknown.
        positions: [n], height of each slice, units of 100 mm.
        labels: [n, H, W], classes, uint8; None where the split has none.
    """

    images: Tensor
    ages: Tensor
    positions: Tensor
    labels: Tensor | None


class Slices(ABC):
    """A split whose slices can be taken in any order.

    Args:
        split: the slices, and the scans that they belong to.
        device: where the batches are wanted.
    """

    def __init__(self, split: StoredSplit, device: torch.device) -> None:
        self.split = split
        self.device = device
        ages = split.scans["age_years"].to_numpy(dtype=np.float32, na_value=np.nan)[split.slice_scan]
        self._ages = torch.from_numpy(ages).to(device)
        self._positions = torch.from_numpy(np.array(split.slice_position, dtype=np.float32)).to(device)

    def __len__(self) -> int:
        return len(self.split.slice_scan)

    @property
    def channels(self) -> int:
        """Channels of a slice: 1 for T1, 4 for tumours."""
        shape = self.split.shards[0].shape
        return 1 if len(shape) == 3 else int(shape[1])

    def batches(self, rows: Sequence[NDArray[np.int64]]) -> Iterator[Batch]:
        """Yield one batch for each array of slice numbers, in that order."""
        ends = np.cumsum([len(part) for part in rows]).tolist()
        everything = torch.from_numpy(np.concatenate([*rows])).to(self.device)
        for part, end, (images, labels) in zip(rows, ends, self._pixels(rows, everything), strict=True):
            index = everything[end - len(part) : end]
            images = images if images.ndim == 4 else images[:, None]
            images = images.to(torch.float32, memory_format=torch.channels_last)
            yield Batch(images, self._ages[index], self._positions[index], labels)

    @abstractmethod
    def _pixels(self, rows: Sequence[NDArray[np.int64]], everything: Tensor) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yield float16 images and labels of each part of rows; everything is their sum on the device."""


class ResidentSlices(Slices):
    """A split that lies on the device as a whole, see Slices."""

    def __init__(self, split: StoredSplit, device: torch.device) -> None:
        super().__init__(split, device)
        self._images = _upload(split.shards, device)
        self._labels = _upload(split.label_shards, device) if split.label_shards else None

    def _pixels(self, rows: Sequence[NDArray[np.int64]], everything: Tensor) -> Iterator[tuple[Tensor, Tensor | None]]:
        start = 0
        for part in rows:
            index = everything[start : start + len(part)]
            start += len(part)
            labels = None if self._labels is None else self._labels.index_select(0, index)
            yield self._images.index_select(0, index), labels


class MappedSlices(Slices):
    """A split that stays on the disk, read ahead of the device by a thread, see Slices."""

    def _pixels(self, rows: Sequence[NDArray[np.int64]], everything: Tensor) -> Iterator[tuple[Tensor, Tensor | None]]:
        todo = iter(rows)
        with ThreadPoolExecutor(1, "read-ahead") as pool:
            ahead: deque[Future[tuple[Tensor, Tensor | None]]] = deque()
            ahead.extend(pool.submit(self._read, part) for part in islice(todo, READ_AHEAD))
            while ahead:
                images, labels = ahead.popleft().result()
                ahead.extend(pool.submit(self._read, part) for part in islice(todo, 1))
                on_device = None if labels is None else labels.to(self.device, non_blocking=True)
                yield images.to(self.device, non_blocking=True), on_device

    def _read(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor | None]:
        if self.device.type == "cuda":  # this thread's GPU is the first one, and pinning would open that too
            torch.cuda.set_device(self.device)
        images = self._pin(_gather(self.split.shards, rows))
        labels = self._pin(_gather(self.split.label_shards, rows)) if self.split.label_shards else None
        return images, labels

    def _pin(self, array: NDArray[np.generic]) -> Tensor:
        tensor = torch.from_numpy(array)
        return tensor.pin_memory() if self.device.type == "cuda" else tensor


def load_slices(split: StoredSplit, device: torch.device) -> Slices:
    """Return a split for a device: on it where it fits, else read ahead from the disk."""
    size = sum(shard.nbytes for shard in (*split.shards, *split.label_shards))
    return ResidentSlices(split, device) if size <= room(device) else MappedSlices(split, device)


def room(device: torch.device) -> int:
    """Return how much of a device's memory one split may take, bytes."""
    if device.type == "cuda":
        return int(GPU_SHARE * torch.cuda.mem_get_info(device)[0])
    return int(HOST_SHARE * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def _upload(shards: Sequence[NDArray[np.generic]], device: torch.device) -> Tensor:
    """Copy shards onto a device one by one: never more than one of them is in the host's memory."""
    kind = torch.from_numpy(np.empty(0, shards[0].dtype)).dtype
    total = sum(len(shard) for shard in shards)
    whole = torch.empty((total, *shards[0].shape[1:]), dtype=kind, device=device)
    start = 0
    for shard in shards:
        whole[start : start + len(shard)] = torch.from_numpy(np.array(shard))
        start += len(shard)
    return whole


def _gather(shards: Sequence[NDArray[np.generic]], rows: NDArray[np.int64]) -> NDArray[np.generic]:
    ends = np.cumsum([len(shard) for shard in shards])
    owner = np.searchsorted(ends, rows, side="right")
    found = np.empty((len(rows), *shards[0].shape[1:]), shards[0].dtype)
    for i in np.unique(owner):
        mine = owner == i
        found[mine] = shards[i][rows[mine] - (ends[i] - len(shards[i]))]
    return found
