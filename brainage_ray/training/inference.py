"""From slices to brain ages."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from brainage_ray.config.run import FitResult, TrainingRun
from brainage_ray.data.store import StoredSplit
from brainage_ray.errors import WeightsError
from brainage_ray.models import AgeModel, build_age_model, load_state
from brainage_ray.training.batches import Slices, load_slices
from brainage_ray.training.device import resolve_device, runtime
from brainage_ray.training.seeds import seeded

SLICES_AT_A_TIME = 512
"""In a batch without gradients."""


def predict_rows(
    model: nn.Module, slices: Slices, rows: NDArray[np.int64], bf16: bool = False, batch_size: int = SLICES_AT_A_TIME
) -> Tensor:
    """Return a network's standardised ages of some slices [n], float32, on the slices' device.

    Args:
        model: from (slices, positions) to ages; set back to the mode it was in.
        slices: the split.
        rows: [n], numbers of the slices.
        bf16: whether to run the network in autocast.
        batch_size: slices at a time.
    """
    parts = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
    training = model.training
    model.eval()
    try:
        with torch.inference_mode(), torch.autocast(slices.device.type, torch.bfloat16, enabled=bf16):
            ages = [model(batch.images, batch.positions) for batch in slices.batches(parts)] if parts else []
    finally:
        model.train(training)
    return torch.cat(ages) if ages else torch.empty(0, device=slices.device)


def predict_slices(
    model: nn.Module, split: StoredSplit, device: torch.device, batch_size: int = SLICES_AT_A_TIME
) -> NDArray[np.float32]:
    """Return the standardised age of each slice of a split [n_slices], computed in float32.

    Args:
        model: an age model, on the device.
        split: the slices.
        device: that computes.
        batch_size: slices at a time.
    """
    rows = np.arange(len(split.slice_scan))
    ages = predict_rows(model, load_slices(split, device), rows, batch_size=batch_size)
    return np.asarray(ages.float().cpu().numpy(), dtype=np.float32)


def load_fitted(run: TrainingRun, fit: FitResult) -> AgeModel:
    """Return the age model that a run fitted, on the CPU, ready to predict.

    Args:
        run: that was trained.
        fit: what came of it.

    Raises:
        WeightsError: the run kept no weights, or their file is missing or not the one that was written.
    """
    if fit.weights is None:
        raise WeightsError(f"the run {fit.key} in {run.folder} kept no weights", "Train it with keep_weights: true.")
    with seeded(run.seed, "init"):
        model = build_age_model(run.backbone, run.training)
    load_state(model, fit.weights, fit.weights_sha256)
    return model.eval()


def predict_slice_years(run: TrainingRun, fit: FitResult, split: StoredSplit) -> NDArray[np.float64]:
    """Return the age of each slice of a split [n_slices], years.

    The network runs in float32, whatever it was trained in, on the device that the run names.

    Args:
        run: that was trained.
        fit: what came of it.
        split: any, also the test split; all of its scans, whatever their diagnosis.

    Raises:
        WeightsError: see load_fitted.
    """
    device = resolve_device(run.device)
    with runtime(device, run.threads):
        model = load_fitted(run, fit).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        values = predict_slices(model, split, device)
    return values.astype(np.float64) * fit.target_sd_years + fit.target_mean_years
