"""What a network learns: how a batch becomes a loss, and how a split is scored.

A task is one small object; the training loop knows nothing else about age or tumours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from brainage_ray.config.run import TrainingRun
from brainage_ray.data.store import StoredSplit
from brainage_ray.errors import DataError
from brainage_ray.evaluation.aggregate import aggregate_slices
from brainage_ray.evaluation.metrics import delta_auc, mean_absolute_error
from brainage_ray.evaluation.predictions import baseline_scans
from brainage_ray.models import build_age_model, build_segmentation_model
from brainage_ray.training.batches import Batch, Slices
from brainage_ray.training.distributed import rank_and_size, sum_over_workers
from brainage_ray.training.inference import SLICES_AT_A_TIME, predict_rows

TUMOUR_CLASSES = ("necrosis", "oedema", "enhancing")
"""Names of the classes 1, 2 and 3; 0 is everything else."""
NNUNET_CLIP_NORM = 12.0
"""Largest norm of the gradient in nnU-Net (Isensee et al. 2021, doi:10.1038/s41592-020-01008-z)."""
AGE_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": F.mse_loss,
    "l1": F.l1_loss,
    "huber": F.huber_loss,
}


@dataclass(frozen=True)
class Score:
    """What a network made of a split."""

    metrics: dict[str, float]
    """The same on all workers, each of which scores a share."""
    slice_years: NDArray[np.float32] | None = None
    """Age of each slice [n_slices], years; None where the task has none."""


class Task(Protocol):
    """What the training loop asks of a task."""

    @property
    def clip_norm(self) -> float | None:
        """Largest norm of the gradient; None: as it comes."""

    @property
    def target(self) -> tuple[float, float]:
        """Mean and sd, years, that the network's output is standardised with; (0, 1) where it is no age."""

    def build(self) -> nn.Module:
        """Return a new network with a `backbone`, drawn from torch's global generator."""

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the mean loss of a batch, a float32 scalar."""

    def score(self, model: nn.Module, slices: Slices, patients: Slices | None = None) -> Score:
        """Return what the network makes of a split; patients are scans of it that are scored besides."""


@dataclass(frozen=True)
class AgeTask:
    """Regression of the standardised chronological age of a slice's scan."""

    run: TrainingRun
    target: tuple[float, float]
    clip_norm: float | None = None

    def build(self) -> nn.Module:
        """Return a new age model."""
        return build_age_model(self.run.backbone, self.run.training)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the loss that the run names, on the standardised age, in float32."""
        with _autocast(self.run, batch.images):
            output = model(batch.images, batch.positions)
        mean, sd = self.target
        return AGE_LOSSES[self.run.training.loss](output.float(), (batch.ages - mean) / sd)

    def score(self, model: nn.Module, slices: Slices, patients: Slices | None = None) -> Score:
        """Return validation_mae, years, of the brain ages of the scans that count, as the test's is made.

        With patients also validation_delta_auc: how well the delta (brain age - age) tells them from the others.
        """
        years = self._slice_years(model, slices)
        theirs = self._slice_years(model, patients) if patients is not None else None
        if not all(np.isfinite(values).all() for values in (years, theirs) if values is not None):
            return Score({"validation_mae": float("nan")})
        brain_age, age = self._counted(years, slices)
        metrics = {"validation_mae": mean_absolute_error(brain_age, age)}
        if patients is not None and theirs is not None:
            patients_age, their_age = self._counted(theirs, patients)
            metrics["validation_delta_auc"] = delta_auc(patients_age - their_age, brain_age - age)
        return Score(metrics, years)

    def _slice_years(self, model: nn.Module, slices: Slices) -> NDArray[np.float32]:
        """Return the age of each slice [n_slices], years, on all workers, each of which reads a share."""
        values = torch.zeros(len(slices), device=slices.device)
        rows = _own_rows(slices)
        bf16 = self.run.training.precision == "bf16"
        values[torch.from_numpy(rows).to(slices.device)] = predict_rows(model, slices, rows, bf16)
        found = sum_over_workers(values).cpu().numpy()
        mean, sd = self.target
        return np.asarray(found * sd + mean, dtype=np.float32)

    def _counted(self, years: NDArray[np.float32], slices: Slices) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return brain age and age, years, of the scans that count."""
        scans = slices.split.scans.reset_index(drop=True)
        ages = aggregate_slices(years, slices.split.slice_scan, len(scans), self.run.aggregate)
        counts = (baseline_scans(scans) if self.run.one_scan_per_subject == "baseline" else scans).index.to_numpy()
        return ages[counts], scans["age_years"].to_numpy(dtype=np.float64)[counts]


@dataclass(frozen=True)
class SegmentationTask:
    """Tumour segmentation: Dice + cross-entropy at every resolution of the decoder, as in nnU-Net.

    Dice sums over a worker's whole share of the batch and leaves the background out.
    """

    run: TrainingRun
    channels: int
    criterion: nn.Module
    clip_norm: float | None = NNUNET_CLIP_NORM
    target: tuple[float, float] = (0.0, 1.0)

    def build(self) -> nn.Module:
        """Return a new segmentation model."""
        return build_segmentation_model(self.run.backbone, self.channels, len(TUMOUR_CLASSES) + 1)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the weighted sum of the losses of all resolutions, weights 1, 1/2, 1/4 ... that sum to 1."""
        with _autocast(self.run, batch.images):
            outputs: Sequence[Tensor] = model(batch.images)
        labels = _labels_of(batch)[:, None]
        levels = range(len(outputs))
        # level i has every 2**i-th pixel of the slice
        losses = [self.criterion(outputs[i].float(), labels[..., :: 2**i, :: 2**i]) for i in levels]
        return torch.stack([loss * 2.0**-i for i, loss in enumerate(losses)]).sum() / sum(2.0**-i for i in levels)

    def score(self, model: nn.Module, slices: Slices, patients: Slices | None = None) -> Score:
        """Return validation_dice_<class>, each over all slices at once, and validation_dice_mean.

        A class that is neither there nor found has a Dice of 1.
        """
        counts = torch.zeros(2, len(TUMOUR_CLASSES), dtype=torch.int64, device=slices.device)
        rows = _own_rows(slices)
        parts = [rows[start : start + SLICES_AT_A_TIME] for start in range(0, len(rows), SLICES_AT_A_TIME)]
        model.eval()
        with torch.inference_mode():
            for batch in slices.batches(parts) if parts else ():
                with _autocast(self.run, batch.images):
                    found = model(batch.images)[0].argmax(dim=1)
                counts += _count_overlaps(found, _labels_of(batch))
        model.train()
        overlap, size = sum_over_workers(counts).cpu().numpy()
        dice = np.where(size > 0, 2 * overlap / np.maximum(size, 1), 1.0)
        scores = {f"validation_dice_{name}": float(d) for name, d in zip(TUMOUR_CLASSES, dice, strict=True)}
        return Score({**scores, "validation_dice_mean": float(dice.mean())})


def build_task(run: TrainingRun, train: Slices) -> Task:
    """Return the task of a run, fitted to what it trains on.

    Args:
        run: which task, and its settings.
        train: the training slices.

    Raises:
        DataError: all training scans have the same age.
    """
    if run.task == "age":
        return AgeTask(run, standardisation(run, train.split))
    from monai.losses import DiceCELoss  # imports every optional package that it finds, which takes seconds

    criterion = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, batch=True)
    return SegmentationTask(run, train.channels, criterion)


def standardisation(run: TrainingRun, split: StoredSplit) -> tuple[float, float]:
    """Return mean and sd, years, that standardise ages: the run's, or those of the training scans.

    Raises:
        DataError: all training scans have the same age.
    """
    given = run.training.target
    if given.mean_years is not None and given.sd_years is not None:
        return given.mean_years, given.sd_years
    ages = split.scans["age_years"].to_numpy(dtype=np.float64)
    mean, sd = float(ages.mean()), float(ages.std())
    if sd == 0:
        raise DataError(
            f"all {len(ages)} training scans in {run.store} are {mean:g} years old, so that there is nothing to learn",
            "Train on scans of more than one age, or set training.target.",
        )
    return mean, sd


def _autocast(run: TrainingRun, images: Tensor) -> torch.autocast:
    return torch.autocast(images.device.type, torch.bfloat16, enabled=run.training.precision == "bf16")


def _own_rows(slices: Slices) -> np.ndarray:
    rank, size = rank_and_size()
    return np.arange(rank, len(slices), size)


def _labels_of(batch: Batch) -> Tensor:
    if batch.labels is None:
        raise DataError("these slices have no labels", "Segmentation needs a store of segmentations.")
    return batch.labels


def _count_overlaps(found: Tensor, labels: Tensor) -> Tensor:
    """Return [2, classes]: pixels in both, and pixels in the one plus pixels in the other."""
    classes = range(1, len(TUMOUR_CLASSES) + 1)
    both = torch.stack([((found == c) & (labels == c)).sum() for c in classes])
    size = torch.stack([(found == c).sum() + (labels == c).sum() for c in classes])
    return torch.stack((both, size))
