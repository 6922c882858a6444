"""How much memory a trial's process takes, measured on whole steps with the data that it would train on."""

from __future__ import annotations

import resource
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from brainage_ray.config.run import TrainingRun
from brainage_ray.training.augment import Augmentation
from brainage_ray.training.batches import Batch
from brainage_ray.training.device import resolve_device, runtime
from brainage_ray.training.inference import SLICES_AT_A_TIME, predict_rows
from brainage_ray.training.optim import build_optimizer
from brainage_ray.training.selection import open_slices
from brainage_ray.training.tasks import build_task

_STATUS = Path("/proc/self/status")


def measure_memory(trials: Sequence[Sequence[TrainingRun]]) -> tuple[int, int, int]:
    """Train a step of every run of some trials, one trial after the other, in this process; it should be a new one.

    A step is a batch, augmentation, forward, backward and optimizer; a round of validation follows. The runs of a trial
    are held side by side, as they are while it trains.

    Args:
        trials: the runs of each; all on the same device.

    Returns:
        Bytes: the most that this process has held of the host's memory, libraries included; the most that the device
        held while it worked, its own context and other users included; and the whole memory of the device. The last
        two are 0 on a CPU.

    Raises:
        DataError: there is nothing to train or validate on.
        torch.OutOfMemoryError: a trial does not fit on the device.
    """
    gpu = total = 0
    for runs in trials:
        held = [_Measured(run) for run in runs]
        for one in held:
            one.work()
        if held[0].device.type == "cuda":
            torch.cuda.synchronize(held[0].device)
            free, total = torch.cuda.mem_get_info(held[0].device)  # what torch has reserved it keeps
            gpu = max(gpu, total - free)
        del held
        if gpu:
            torch.cuda.empty_cache()
    return _peak_bytes(), gpu, total


class _Measured:
    """A run with all that it holds."""

    def __init__(self, run: TrainingRun) -> None:
        self.run, self.device = run, resolve_device(run.device)
        with runtime(self.device, run.threads):
            self.train = open_slices(run, run.train_splits, self.device)
            self.scored = open_slices(run, [run.validation_split], self.device) if run.validation_split else None
            self.task = build_task(run, self.train)
            self.model = self.task.build()
            self.model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            self.optimizer = build_optimizer(self.model.parameters(), run.training.optimizer)
        self.copies: list[torch.Tensor] = []

    def work(self) -> None:
        """Train a step, and score some slices."""
        training = self.run.training
        if self.run.team > 1:  # DDP keeps the gradients a second time, in buckets
            self.copies = [torch.zeros_like(weight) for weight in self.model.parameters()]
        with runtime(self.device, self.run.threads):
            rows = np.resize(np.arange(len(self.train)), training.batch_size)
            batch = next(iter(self.train.batches([rows])))
            augment = Augmentation(training.augmentation, torch.Generator(self.device))
            images, labels = augment(batch.images, batch.labels)
            loss = self.task.loss(self.model, Batch(images, batch.ages, batch.positions, labels))
            torch.autograd.backward(loss)
            self.optimizer.step()
            if self.scored is not None:
                few = np.arange(min(len(self.scored), SLICES_AT_A_TIME))
                predict_rows(self.model, self.scored, few, training.precision == "bf16")


def _peak_bytes() -> int:
    """Return the most memory that this process has held, bytes."""
    if _STATUS.is_file():  # ru_maxrss would be the parent's where that was larger
        return next(int(line.split()[1]) * 1024 for line in _STATUS.read_text().splitlines() if "VmHWM" in line)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
