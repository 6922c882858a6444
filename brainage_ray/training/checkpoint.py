"""What a run leaves in its folder: checkpoint.pt while it trains, result.json and weights when it is done.

Where a user finds weights: a final model's are `refit/<arm>/seed-<seed>-<key>/model.safetensors`, and a search trial's
`search/<arm>-<key>/trials/<number>/seed-<repeat>/best.safetensors`, those after the trial's best epoch (`best_epoch`
in the study). The latter stay as long as `search.checkpoint_gib` has room for them, the best trial's always. Both have
the names of `models.build_age_model`, into which `models.load_state` reads them.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from brainage_ray.config.run import BEST, CHECKPOINT, FitResult, TrainingRun
from brainage_ray.data.files import atomic_write
from brainage_ray.data.safety import map_array
from brainage_ray.errors import UnsafeFileError, WeightsError
from brainage_ray.models import save_state, save_tensors
from brainage_ray.models.torch_file import UNREADABLE, load_torch

RESULT = "result.json"
WEIGHTS = "model.safetensors"
ENCODER = "encoder.safetensors"
SLICE_YEARS = "validation_slices.npy"


def write_checkpoint(run: TrainingRun, state: dict[str, Any]) -> None:
    """Write a run's state after an epoch: whole or not at all.

    Args:
        run: whose folder and key.
        state: plain values and tensors.

    Raises:
        NoSpaceError: the disk is full.
    """
    buffer = io.BytesIO()  # torch ends the process where a disk fills up under its own writer
    torch.save({"key": run.key, **state}, buffer)
    with atomic_write(run.folder / CHECKPOINT) as file:
        file.write(buffer.getbuffer())


def keep_best(run: TrainingRun, epoch: int) -> None:
    """Write the weights of a run's last checkpoint to best.safetensors, where it is of this epoch (1-based).

    Where the checkpoint is of a later one, this was done before an interruption.

    Raises:
        NoSpaceError: the disk is full.
    """
    state = load_torch(run.folder / CHECKPOINT, mmap=True)
    if state["key"] == run.key and len(state["curve"]) == epoch:
        save_tensors(state["model"], run.folder / BEST)


def read_checkpoint(run: TrainingRun) -> dict[str, Any] | None:
    """Return a run's state after its last finished epoch, on the CPU; None where neither it nor its parent left one.

    Raises:
        WeightsError: the file is damaged.
        UnsafeFileError: it holds code, or unpacks to more than it is.
    """
    state = _read_state(run.folder / CHECKPOINT)
    if state is not None and state.get("key") == run.key:
        return state
    return _read_state(run.parent) if run.parent else None


def trained_epochs(run: TrainingRun) -> int:
    """Return how many epochs of a run are done: those that it will tell of at once when it goes on."""
    fit = read_result(run)
    if fit is not None:
        return len(fit.curve)
    try:
        state = load_torch(run.folder / CHECKPOINT, mmap=True)
        return len(state["curve"]) if state["key"] == run.key else 0
    except (OSError, UnsafeFileError, *UNREADABLE):  # there is none; or who goes on with it will say what is wrong
        return 0


def _read_state(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        state: dict[str, Any] = load_torch(path)
    except UNREADABLE as error:
        raise WeightsError(f"{path} is damaged: {error}", "Delete it to train from the start.") from error
    return state


def write_result(
    run: TrainingRun, fit: FitResult, model: nn.Module, slice_years: NDArray[np.float32] | None = None
) -> FitResult:
    """Write weights and what the validation slices were read as, then result.json, and drop the checkpoint.

    A run that keeps its best weights keeps its checkpoint too: whoever compares epochs may want the last one's.

    Args:
        run: that has ended.
        fit: what came of it.
        model: with a `backbone`; its weights are kept where the run says so.
        slice_years: [n_epochs, n_slices], age of each validation slice after each epoch, years; None: there are none.

    Returns:
        The result with the files of weights.

    Raises:
        NoSpaceError: the disk is full.
    """
    if run.keep_weights:
        path = run.folder / WEIGHTS
        fit = fit.model_copy(update={"weights": path, "weights_sha256": save_state(model, path)})
    if run.keep_weights and run.task == "segmentation":
        path = run.folder / ENCODER
        backbone = model.get_submodule("backbone")
        fit = fit.model_copy(update={"encoder": path, "encoder_sha256": save_state(backbone, path)})
    if slice_years is not None:
        with atomic_write(run.folder / SLICE_YEARS) as file:
            np.save(file, slice_years)
    with atomic_write(run.folder / RESULT) as file:
        file.write(fit.model_dump_json(indent=1).encode())
    if not run.keep_best:
        (run.folder / CHECKPOINT).unlink(missing_ok=True)
    return fit


def read_slice_years(run: TrainingRun, epoch: int) -> NDArray[np.float32] | None:
    """Return the age of each validation slice after an epoch (1-based) of a run that has ended [n_slices], years.

    The slices are those of `selection.select_scans(run, [run.validation_split])`. None where the run left none.
    """
    path = run.folder / SLICE_YEARS
    return map_array(path)[epoch - 1].copy() if path.is_file() else None


def read_result(run: TrainingRun) -> FitResult | None:
    """Return what came of a run that has ended; None where it has not, or where its weights are gone.

    The folder may have moved since: the files of weights are those in the run's folder.
    """
    path = run.folder / RESULT
    try:
        fit = FitResult.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:  # of another version: trained again
        return None
    weights = run.folder / WEIGHTS if fit.weights else None
    encoder = run.folder / ENCODER if fit.encoder else None
    if fit.key != run.key or not all(file.is_file() for file in (weights, encoder) if file):
        return None
    return fit.model_copy(update={"weights": weights, "encoder": encoder})
