"""Which pixels of a slice move its age, by Captum.

Images have mean 0 and sd 1 in the brain of the whole scan and are 0 outside. What an attribution means depends on what
it is compared with, its baseline:

- Integrated gradients go from the slice blurred inside its own brain to the slice. A slice of zeros, the usual
  baseline, is no use for networks with instance norm: between it and the slice lie the same slice at other contrasts,
  which the norm makes all alike, so that the whole way is travelled in an immeasurably short first step and the sum of
  the attributions misses the difference of the ages. A blurred brain keeps outline and brightness, and loses what
  ageing changes: ventricles, sulci, the edge of grey and white matter (Sturmfels et al. 2020,
  doi:10.23915/distill.00022).
- Occlusion makes a patch as bright as the mean of the brain, which is 0 (Zeiler and Fergus 2014,
  doi:10.1007/978-3-319-10590-1_53).

Captum is imported inside: importing this package stays light.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from brainage_ray.config.run import FitResult, TrainingRun
from brainage_ray.data.store import StoredSplit
from brainage_ray.errors import EngineError
from brainage_ray.training.batches import Batch, load_slices
from brainage_ray.training.device import resolve_device, runtime
from brainage_ray.training.inference import load_fitted

Method = Literal["integrated_gradients", "occlusion"]
IMAGES_AT_A_TIME = 512
"""That go through the network at once: slices times steps or patches."""


@dataclass(frozen=True)
class Attribution:
    """How slices are attributed."""

    method: Method = "integrated_gradients"
    steps: int = 32
    """Points on the way of integrated gradients (Gauss-Legendre)."""
    blur_pixels: float = 6.0
    """Standard deviation of the Gaussian that makes the baseline of integrated gradients."""
    patch_pixels: int = 12
    """Edge of the square that occlusion hides; it moves by half of it."""


def slice_attributions(
    run: TrainingRun,
    fit: FitResult,
    split: StoredSplit,
    method: Method = "integrated_gradients",
    advance: Callable[[int], object] = lambda slices: None,
) -> NDArray[np.float32]:
    """Return what each pixel adds to the age of its slice [n_slices, rows, columns], years.

    Integrated gradients: years of a pixel; their sum over a slice is its age minus that of its baseline. Occlusion:
    age of the slice minus its age without the patch, the mean over the patches that cover the pixel.
    The position of the slice, where the network reads it, stays as it is.

    Args:
        run: that was trained.
        fit: what came of it.
        split: any slices, also of new scans.
        method: how.
        advance: told after each batch how many slices it had.

    Raises:
        WeightsError: see load_fitted.
        EngineError: Captum is not installed.
    """
    device = resolve_device(run.device)
    with runtime(device, run.threads):
        model = load_fitted(run, fit).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return attribute(model, split, device, Attribution(method), advance) * np.float32(fit.target_sd_years)


def attribute(
    model: nn.Module,
    split: StoredSplit,
    device: torch.device,
    how: Attribution = Attribution(),
    advance: Callable[[int], object] = lambda slices: None,
) -> NDArray[np.float32]:
    """Return what each pixel adds to the standardised age of its slice [n_slices, rows, columns].

    Args:
        model: from (slices, positions) to ages, on the device and in evaluation mode.
        split: the slices.
        device: that computes.
        how: method and its settings.
        advance: told after each batch how many slices it had.

    Raises:
        EngineError: Captum is not installed.
    """
    explain = _integrated_gradients if how.method == "integrated_gradients" else _occlusion
    found = np.zeros((len(split.slice_scan), *split.shards[0].shape[-2:]), np.float32)
    done = 0
    for batch in _batches(split, device, max(1, IMAGES_AT_A_TIME // how.steps)):
        part = explain(model, batch, how).sum(dim=1)  # over the one channel
        found[done : done + len(part)] = part.detach().float().cpu().numpy()
        done += len(part)
        advance(len(part))
    return found


def blurred(images: Tensor, sd_pixels: float) -> Tensor:
    """Blur slices inside their brains: what lies outside, and is 0, does not bleed in and stays 0.

    Args:
        images: [n, C, H, W].
        sd_pixels: of the Gaussian.
    """
    from monai.networks.layers import GaussianFilter

    inside = (images != 0).to(images.dtype)
    smooth = GaussianFilter(2, sd_pixels).to(images.device)
    return torch.where(inside > 0, smooth(images) / smooth(inside).clamp_min(1e-3), 0)


def _batches(split: StoredSplit, device: torch.device, size: int) -> Iterator[Batch]:
    rows = np.arange(len(split.slice_scan))
    parts = [rows[start : start + size] for start in range(0, len(rows), size)]
    return load_slices(split, device).batches(parts) if parts else iter(())


def _integrated_gradients(model: nn.Module, batch: Batch, how: Attribution) -> Tensor:
    try:
        from captum.attr import IntegratedGradients
    except ImportError as error:
        raise _no_captum() from error
    found: Tensor = IntegratedGradients(model, multiply_by_inputs=True).attribute(
        batch.images,
        baselines=blurred(batch.images, how.blur_pixels),
        additional_forward_args=batch.positions,
        n_steps=how.steps,
    )
    return found


def _occlusion(model: nn.Module, batch: Batch, how: Attribution) -> Tensor:
    try:
        from captum.attr import Occlusion
    except ImportError as error:
        raise _no_captum() from error
    patch, step = how.patch_pixels, max(1, how.patch_pixels // 2)
    with torch.no_grad():
        found: Tensor = Occlusion(model).attribute(
            batch.images,
            sliding_window_shapes=(1, patch, patch),
            strides=(1, step, step),
            baselines=0,
            additional_forward_args=batch.positions,
            perturbations_per_eval=how.steps,
        )
    return found


def _no_captum() -> EngineError:
    return EngineError("Captum is not installed, and it explains the ages", "pip install 'brainage_ray[explain]'")
