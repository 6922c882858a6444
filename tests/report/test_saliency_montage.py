"""Colours over slices: where, which, and how strong."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from brainage_ray.report.qc_montage import COLUMNS, montage
from brainage_ray.report.saliency_montage import saliency_montage


def pixels(picture):
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(int)


def test_older_is_red_and_younger_is_blue_in_the_slice_where_it_is():
    slices = np.random.default_rng(0).normal(2, 0.1, (8, 40, 40))
    attributions = np.zeros((8, 40, 40))
    attributions[1, 10:20, 10:20], attributions[5, 20:30, 20:30] = 0.5, -0.5
    picture, limit = saliency_montage(slices, attributions)
    found, plain = pixels(picture), pixels(montage(slices))
    assert 0 < limit <= 0.5
    tile = found.shape[1] // COLUMNS
    scale = tile // 40
    red, blue = found[15 * scale, tile + 15 * scale], found[tile + 25 * scale, tile + 25 * scale]
    assert red[0] > red[2] + 80
    assert blue[2] > blue[0] + 80
    assert np.abs(found[:tile, :tile] - plain[:tile, :tile]).max() < 40  # WebP loses a little


def test_nothing_to_show_leaves_the_slices_as_they_are():
    slices = np.random.default_rng(0).normal(2, 0.1, (3, 40, 40))
    picture, limit = saliency_montage(slices, np.zeros((3, 40, 40)))
    assert limit == 0
    assert picture == montage(slices)
    with pytest.raises(ValueError, match="do not fit"):
        saliency_montage(slices, np.zeros((2, 40, 40)))
