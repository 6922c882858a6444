"""What Captum says about networks of which we know what they look at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from training_stores import TINY_UNET, make_run

from brainage_ray.config import TrainingConfig
from brainage_ray.data import SliceStore, StoredSplit
from brainage_ray.models import build_age_model
from brainage_ray.training import predict_slice_years, slice_attributions, train
from brainage_ray.training.attribution import Attribution, attribute, blurred

CPU = torch.device("cpu")
WINDOW = (slice(8, 14), slice(12, 20))
"""What the network that is planted looks at."""


class Window(nn.Module):
    """The mean brightness of a window, and the position."""

    def forward(self, images: Tensor, positions: Tensor) -> Tensor:
        return images[:, 0, *WINDOW].mean(dim=(1, 2)) + 10 * positions


@pytest.fixture(scope="module")
def split(ages: SliceStore) -> StoredSplit:
    return ages.split("validation").take(np.arange(8) < 2)


def test_integrated_gradients_of_a_linear_network_are_the_weights_times_the_difference(split: StoredSplit):
    found = attribute(Window(), split, CPU, Attribution(blur_pixels=3.0))
    images = torch.from_numpy(split.images().astype(np.float32))[:, None]
    expected = np.zeros_like(found)
    expected[:, *WINDOW] = (images - blurred(images, 3.0))[:, 0, *WINDOW].numpy() / 48
    assert found == pytest.approx(expected, abs=1e-6)
    assert np.abs(found).max() > 1e-3


def test_occlusion_finds_the_window_and_nothing_far_from_it(split: StoredSplit):
    found = attribute(Window(), split, CPU, Attribution("occlusion", patch_pixels=4))
    far = np.ones(found.shape[1:], dtype=bool)
    far[WINDOW[0].start - 4 : WINDOW[0].stop + 4, WINDOW[1].start - 4 : WINDOW[1].stop + 4] = False
    assert np.abs(found[:, far]).max() < 1e-5
    brightest = np.unravel_index(np.abs(found).mean(axis=0).argmax(), far.shape)
    assert all(edge.start <= at < edge.stop for edge, at in zip(WINDOW, brightest, strict=True))


def test_the_blur_stays_in_the_brain_and_keeps_a_flat_one():
    brain = torch.zeros(1, 1, 32, 32)
    brain[..., 6:20, 10:30] = 1.5
    assert torch.allclose(blurred(brain, 4.0), brain, atol=1e-5)


def test_the_attributions_of_a_network_with_instance_norm_add_up_to_years(ages: SliceStore, tmp_path: Path):
    """The baseline of zeros misses by as much as there is: see the module."""
    run = make_run(ages, tmp_path, {"slice_position": True})
    fit, seen = train(run), []
    scans = ages.split("validation").take(np.arange(8) == 3)
    years = slice_attributions(run, fit, scans, advance=seen.append)
    assert (years.dtype, years.shape, sum(seen)) == (np.float32, (4, 32, 32), 4)
    images = torch.from_numpy(scans.images().astype(np.float32))[:, None]
    soft = StoredSplit(
        scans.scans, (blurred(images, 6.0)[:, 0].numpy(),), (), scans.slice_scan, scans.slice_position
    )  # fmt: skip
    difference = predict_slice_years(run, fit, scans) - predict_slice_years(run, fit, soft)
    missed = np.abs(years.sum(axis=(1, 2)) - difference).max()
    assert missed < 0.1 * np.abs(difference).max()


def test_a_split_without_slices_has_no_attributions(split: StoredSplit):
    model = build_age_model(TINY_UNET, TrainingConfig()).eval()
    nothing = split.take(np.zeros(2, dtype=bool))
    assert attribute(model, nothing, CPU).shape == (0, 32, 32)
