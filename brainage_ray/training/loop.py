"""The one training loop, for search trials, refits and pre-training.

Every run can be stopped after any epoch and taken up again, and runs can take turns epoch by
epoch in one process: the weights come out the same, to the bit on the CPU.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from itertools import count
from time import perf_counter
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from brainage_ray.config.model import AugmentationConfig
from brainage_ray.config.run import FitResult, InitialWeights, TrainingRun, TransferCounts
from brainage_ray.data.ledger import code_version
from brainage_ray.errors import TrialFailed
from brainage_ray.models import load_encoder, read_weights
from brainage_ray.models.backbone import Backbone
from brainage_ray.training.augment import Augmentation
from brainage_ray.training.batches import Batch, Slices
from brainage_ray.training.checkpoint import read_checkpoint, read_result, write_checkpoint, write_result
from brainage_ray.training.device import device_name, resolve_device, runtime
from brainage_ray.training.distributed import (
    align_buffers,
    from_first,
    in_parallel,
    rank_and_size,
    share,
    sum_over_workers,
)
from brainage_ray.training.optim import build_optimizer, schedule_factor, set_learning_rate, set_options
from brainage_ray.training.recorder import EpochRecorder, ignore
from brainage_ray.training.seeds import numpy_generator, seeded, torch_generator
from brainage_ray.training.selection import open_slices
from brainage_ray.training.tasks import Score, build_task


def train(run: TrainingRun, record: EpochRecorder = ignore) -> FitResult:
    """Train a network.

    A run whose folder holds its result is not trained again. An interrupted run goes on after its
    last finished epoch, and records the epochs before it once more, at once: a listener that was
    interrupted with it misses none.

    In a torch.distributed process group the workers train one network together; each calls this
    function with the same run and a recorder, and each gets the same result.

    Args:
        run: what to train; its files go into run.folder.
        record: told of each epoch; what it raises ends the run, which can be taken up again.

    Raises:
        TrialFailed: the loss or a metric is not finite, or the memory of the GPU is too small.
        DataError: there is nothing to train or validate on.
        LeakageError: the run asks for the test split.
        StoreError: the store is not the one that the run was made for.
        WeightsError: the initial weights do not fit.
        NoSpaceError: the disk is full.
        EngineError: there is no such device.
    """
    done = from_first(lambda: read_result(run), resolve_device(run.device))
    if done is not None:
        return done
    progress = epochs(run)
    for epoch in count(1):
        try:
            metrics = next(progress)
        except StopIteration as end:
            fit: FitResult = end.value
            break
        record(epoch, metrics)
    return fit


def epochs(run: TrainingRun) -> Generator[dict[str, float], None, FitResult]:
    """Train a network epoch by epoch; several of these can take turns, and none changes another.

    Epochs that were finished before an interruption are yielded first, at once. When the last
    epoch is yielded, the run's files are all written; its result is the generator's return value.

    Args:
        run: what to train; its files go into run.folder.

    Yields:
        The metrics of each epoch, see FitResult.curve.

    Raises:
        BrainageError: see train.
    """
    device = resolve_device(run.device)
    fit = from_first(lambda: read_result(run), device)
    if fit is not None:
        yield from (dict(metrics) for metrics in fit.curve)
        return fit
    with runtime(device, run.threads):
        training = _Training(run, device)
    yield from (dict(metrics) for metrics in training.curve)
    while fit is None:
        with runtime(device, run.threads):
            metrics = training.run_epoch()
            last = len(training.curve) == run.epochs
            if run.keep_best or (run.keep_weights and not last):
                training.save()
            if last:
                fit = training.finish()
        yield dict(metrics)
    return fit


class _Training:
    """A run between two epochs.

    Args:
        run: what to train.
        device: that computes.
    """

    def __init__(self, run: TrainingRun, device: torch.device) -> None:
        start = perf_counter()
        self.run, self.device = run, device
        self.train_slices = open_slices(run, run.train_splits, device)
        self.validation_slices = open_slices(run, [run.validation_split], device) if run.validation_split else None
        self.patients = _patients(run, device)
        self.task = build_task(run, self.train_slices)
        with seeded(run.seed, "init"):
            self.model = self.task.build()
        self.transfer = _transfer(self.model, run.initial) if run.initial else None
        self.model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = build_optimizer(self.model.parameters(), run.training.optimizer)
        self.curve: list[dict[str, float]] = []
        self.slice_years: list[Tensor] = []
        self.seconds = 0.0
        self._take_up()
        self.parallel_model = in_parallel(self.model, device)
        self.seconds += perf_counter() - start

    def _take_up(self) -> None:
        state = from_first(lambda: read_checkpoint(self.run), self.device)
        if state is not None:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.curve, self.seconds = state["curve"], state["seconds"]
            self.slice_years = state["slice_years"]

    def run_epoch(self) -> dict[str, float]:
        """Train and score one epoch, and return its metrics."""
        start = perf_counter()
        epoch = len(self.curve) + 1
        try:
            rate, losses = self._train_epoch(epoch)
            align_buffers(self.model)
            score = self._score()
        except torch.OutOfMemoryError as error:
            raise TrialFailed(
                f"the memory of {device_name(self.device)} is too small for training.batch_size "
                f"{self.run.training.batch_size} (epoch {epoch})",
                "Lower training.batch_size, or give each trial more of the GPU.",
            ) from error
        loss = float(sum_over_workers(losses).item()) / len(self.train_slices)
        metrics = {"train_loss": loss, "learning_rate": rate, **score.metrics}
        self._check_finite(epoch, metrics)
        metrics["seconds"] = perf_counter() - start
        self.seconds += metrics["seconds"]
        self.curve.append(metrics)
        if score.slice_years is not None:
            self.slice_years.append(torch.from_numpy(score.slice_years))
        return metrics

    def _score(self) -> Score:
        if self.validation_slices is None:
            return Score({})
        return self.task.score(self.model, self.validation_slices, self.patients)

    def _train_epoch(self, epoch: int) -> tuple[float, Tensor]:
        """Return the last step's learning rate, and the sum of the losses of this worker's slices."""
        config, (rank, _) = self.run.training_at(epoch), rank_and_size()
        set_options(self.optimizer, config.optimizer)
        order = numpy_generator(self.run.seed, "shuffle", epoch).permutation(len(self.train_slices))
        shares = [share(order[start : start + config.batch_size]) for start in range(0, len(order), config.batch_size)]
        augment = self._augmentation(config.augmentation, epoch, rank)
        losses = torch.zeros((), dtype=torch.float64, device=self.device)
        first, steps = (epoch - 1) * len(shares), config.max_epochs * len(shares)
        rate = config.optimizer.lr
        self.parallel_model.train()
        with seeded(self.run.seed, "dropout", epoch, rank, device=self.device):
            for i, batch in enumerate(self.train_slices.batches([rows for rows, _ in shares])):
                rate = config.optimizer.lr * schedule_factor(first + i, steps, config.schedule)
                set_learning_rate(self.optimizer, rate)
                rows, weight = shares[i]
                loss = self._step(_augmented(batch, augment), weight)
                losses += loss * (len(rows) if weight else 0)
        return rate, losses

    def _step(self, batch: Batch, weight: float) -> Tensor:
        loss = self.task.loss(self.parallel_model, batch)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss * weight)
        if self.task.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.task.clip_norm)
        self.optimizer.step()
        return loss.detach()

    def _augmentation(self, config: AugmentationConfig, epoch: int, rank: int) -> Augmentation | None:
        if config == AugmentationConfig():
            return None
        return Augmentation(config, torch_generator(self.run.seed, "augmentation", epoch, rank, device=self.device))

    def _check_finite(self, epoch: int, metrics: dict[str, float]) -> None:
        bad = [f"{name} is {value}" for name, value in metrics.items() if not math.isfinite(value)]
        if bad:
            raise TrialFailed(
                f"{bad[0]} in epoch {epoch} with the learning rate {metrics['learning_rate']:g}",
                "Lower training.optimizer.lr, or give the schedule a warm-up.",
            )

    def save(self) -> None:
        """Write the checkpoint, on the first worker."""
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "curve": self.curve,
            "seconds": self.seconds,
            "slice_years": self.slice_years,
        }
        from_first(lambda: write_checkpoint(self.run, state), self.device)

    def finish(self) -> FitResult:
        """Write weights and result, on the first worker, and return the result on all."""
        mean, sd = self.task.target
        fit = FitResult(
            key=self.run.key,
            curve=tuple(self.curve),
            target_mean_years=mean,
            target_sd_years=sd,
            n_train_scans=len(np.unique(self.train_slices.split.slice_scan)),
            n_train_slices=len(self.train_slices),
            seconds=self.seconds,
            device=device_name(self.device),
            transfer=self.transfer,
            commit=self.run.commit or code_version(),
        )
        years = torch.stack(self.slice_years).numpy() if self.slice_years else None
        return from_first(lambda: write_result(self.run, fit, self.model, years), self.device)


def _patients(run: TrainingRun, device: torch.device) -> Slices | None:
    """Return the validation scans that the delta is to tell from healthy ones; None where it is not measured."""
    if run.delta_diagnosis is None or run.validation_split is None:
        return None
    training = run.training.model_copy(update={"diagnoses": (run.delta_diagnosis,)})
    return open_slices(run.model_copy(update={"training": training}), [run.validation_split], device)


def _transfer(model: nn.Module, initial: InitialWeights) -> TransferCounts:
    backbone = cast(Backbone, model.get_submodule("backbone"))
    report = load_encoder(backbone, read_weights(initial.path, initial.sha256))
    return TransferCounts(loaded=len(report.loaded), missing=len(report.missing), left_out=len(report.unexpected))


def _augmented(batch: Batch, augment: Augmentation | None) -> Batch:
    if augment is None:
        return batch
    images, labels = augment(batch.images, batch.labels)
    return Batch(images, batch.ages, batch.positions, labels)
