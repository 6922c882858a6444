"""What Captum says about networks of which we know what they look at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients
from scipy.stats import spearmanr
from torch import Tensor, nn
from training_stores import TINY_UNET, make_run, preprocessing, write_prepared

from brainage_ray.config import TrainingConfig
from brainage_ray.data import Scan, SliceStore, StoredSplit, StoreRow, write_store
from brainage_ray.models import build_age_model
from brainage_ray.training import (
    load_fitted,
    predict_slice_years,
    predict_slices,
    randomised_attributions,
    slice_attributions,
    train,
)
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

    positions = torch.from_numpy(np.array(scans.slice_position))
    _, zero = IntegratedGradients(load_fitted(run, fit)).attribute(
        images, 0, additional_forward_args=positions, n_steps=32, return_convergence_delta=True
    )
    black = predict_slices(load_fitted(run, fit), black_of(scans), CPU)
    whole = np.abs(predict_slices(load_fitted(run, fit), scans, CPU) - black).mean()
    assert zero.abs().mean().item() > 0.5 * whole


def test_a_split_without_slices_has_no_attributions(split: StoredSplit):
    model = build_age_model(TINY_UNET, TrainingConfig()).eval()
    nothing = split.take(np.zeros(2, dtype=bool))
    assert attribute(model, nothing, CPU).shape == (0, 32, 32)


def black_of(split: StoredSplit) -> StoredSplit:
    shards = tuple(np.zeros_like(shard) for shard in split.shards)
    return StoredSplit(split.scans, shards, (), split.slice_scan, split.slice_position)


@pytest.fixture(scope="module")
def holes(tmp_path_factory: pytest.TempPathFactory) -> SliceStore:
    """Brains without a feature but a dark hole, off the centre, that grows by a pixel in 8 years."""
    folder = tmp_path_factory.mktemp("holes")
    rng, y, x = np.random.default_rng(3), *np.mgrid[:32, :32]
    rows = []
    for i, age in enumerate(np.linspace(50, 90, 40)):
        images = 0.3 * rng.standard_normal((4, 32, 32))
        images[:, np.hypot(y - HOLE[0], x - HOLE[1]) < 1.5 + (age - 50) / 8] -= 2
        images[:, np.hypot(y - 15.5, x - 15.5) > 15] = 0
        scan = Scan("Holes", f"{i}", "bl", f"{i}", {}, age_years=float(age))
        prepared = write_prepared(folder / "cache", scan, images.astype(np.float16), None)
        rows.append(StoreRow(scan, prepared, "validation" if i % 5 == 2 else "train", "CN"))
    return write_store(folder / "store", rows, "age", preprocessing())


HOLE = (10, 19)


@pytest.mark.slow
def test_the_region_that_ages_is_found_and_random_weights_lose_it(holes: SliceStore, tmp_path: Path):
    run = make_run(holes, tmp_path, {"max_epochs": 24})
    fit, split = train(run), holes.split("validation")
    assert fit.curve[-1]["validation_mae"] < 5
    y, x = np.mgrid[:32, :32]
    near = np.hypot(y - HOLE[0], x - HOLE[1]) < 8
    inside = np.hypot(y - 15.5, x - 15.5) < 14
    methods = ("integrated_gradients", "occlusion")
    maps = {method: slice_attributions(run, fit, split, method).mean(axis=0) for method in methods}
    for found in map(np.abs, maps.values()):
        assert found[near & inside].mean() > 2 * found[~near & inside].mean()
    random = randomised_attributions(run, fit, split).mean(axis=0)
    assert abs(spearmanr(maps["integrated_gradients"][inside], random[inside]).statistic) < 0.5
