"""The numbers that tell a T1 brain from what is none."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from brainage_ray.data.appearance import APPEARANCE, appearance


def slices(core=1.0, rim=-1.0, noise=0.05):
    """A sphere with a bright inside in ten slices, standardised."""
    y, x = np.mgrid[:48, :40]
    pages = []
    for radius in np.linspace(18, 12, 10):
        depth = radius - np.hypot(y - 23.5, x - 19.5)
        smooth = ndimage.gaussian_filter(np.where(depth > 4, core, rim), 1)
        pages.append(np.where(depth > 0, smooth + noise * np.random.default_rng(0).normal(size=y.shape), 0))
    return np.stack(pages)


def described(images):
    return dict(zip(APPEARANCE, appearance(images), strict=True))


def test_contrast_turns_the_signs():
    t1, t2 = described(slices()), described(-slices())
    assert t1["rim"] == pytest.approx(-t2["rim"])
    assert t1["rim"] < -0.5
    assert t1["inwards"] == pytest.approx(-t2["inwards"])
    assert t1["inwards"] > 0.3
    assert t1["brightness_98"] == pytest.approx(-t2["brightness_2"], abs=1e-6)


def test_noise_is_neither_smooth_nor_symmetric():
    noise = np.where(slices() != 0, np.random.default_rng(1).normal(size=(10, 48, 40)), 0)
    assert described(noise)["smooth"] < 0.1 < 0.8 < described(slices())["smooth"]
    assert described(noise)["mirrored"] < 0.1 < 0.8 < described(slices())["mirrored"]


def test_shape_is_told_in_shares():
    found = described(slices())
    assert found["filled"] == pytest.approx(np.pi / 4, abs=0.03)
    assert found["aspect"] == pytest.approx(1, abs=0.05)
    assert found["pieces"] == 1
    assert found["taper"] < -0.3
    assert described(slices()[::-1])["taper"] > 0.3


@pytest.mark.parametrize("images", [np.zeros((3, 8, 8)), np.eye(8)[None], np.ones((1, 8, 8))])
def test_every_number_is_finite_whatever_comes(images):
    assert np.isfinite(appearance(images)).all()
