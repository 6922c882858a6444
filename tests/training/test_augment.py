from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from brainage_ray.config import AugmentationConfig
from brainage_ray.training.augment import Augmentation

HEIGHT, WIDTH = 48, 32


def augmentation(seed: int = 0, **config: float) -> Augmentation:
    return Augmentation(AugmentationConfig(**config), torch.Generator().manual_seed(seed))


def brains(n: int = 8, channels: int = 2, radius: float = 10, offset: tuple[float, float] = (0, 0)) -> Tensor:
    """Noise in a disc on a background of 0."""
    noise = torch.randn(n, channels, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1))
    return noise * mask(radius, offset)


def mask(radius: float, offset: tuple[float, float] = (0, 0)) -> Tensor:
    y = torch.arange(HEIGHT)[:, None] - (HEIGHT - 1) / 2 - offset[0]
    x = torch.arange(WIDTH)[None] - (WIDTH - 1) / 2 - offset[1]
    return (x.hypot(y) < radius).float()


def test_no_setting_is_the_identity_and_draws_nothing():
    augment, images, labels = augmentation(), brains(), torch.ones(8, HEIGHT, WIDTH, dtype=torch.uint8)
    before = augment.generator.get_state()
    same, same_labels = augment(images, labels)
    assert same is images
    assert same_labels is labels
    assert torch.equal(before, augment.generator.get_state())


def test_a_certain_flip_mirrors_left_and_right_exactly():
    images = brains(offset=(0, 4))
    labels = (images[:, 0] != 0).to(torch.uint8)
    flipped, flipped_labels = augmentation(flip_probability=1.0)(images, labels)
    assert torch.equal(flipped, images.flip(-1))
    assert flipped_labels is not None
    assert torch.equal(flipped_labels, labels.flip(-1))


def test_half_of_the_slices_are_flipped():
    images = brains(n=400, channels=1, offset=(0, 4))
    flipped, _ = augmentation(flip_probability=0.5)(images)
    share = (flipped != images).flatten(1).any(dim=1).float().mean()
    assert 0.4 < share < 0.6


INTENSITY = st.fixed_dictionaries(
    {
        "intensity_scale": st.floats(0, 0.9),
        "intensity_shift": st.floats(0, 3),
        "gamma": st.floats(0, 0.9),
        "noise_sd": st.floats(0, 2),
    }
)


@given(INTENSITY, st.integers(0, 100))
@settings(max_examples=40, deadline=None)
def test_intensities_change_inside_the_brain_only(config, seed):
    images = brains(n=3)
    changed, _ = augmentation(seed, **config)(images)
    assert torch.isfinite(changed).all()
    assert (changed[images == 0] == 0).all()


@given(st.sampled_from(["flip_probability", "rotation_deg", "shear", "gamma", "noise_sd"]), st.integers(0, 50))
@settings(max_examples=20, deadline=None)
def test_the_same_generator_gives_the_same_slices(name, seed):
    images = brains(n=3)
    first, second = (augmentation(seed, **{name: 0.5})(images)[0] for _ in range(2))
    assert torch.equal(first, second)


def test_an_empty_slice_stays_empty():
    images = torch.zeros(2, 1, HEIGHT, WIDTH)
    changed, _ = augmentation(gamma=0.5, intensity_shift=1.0, noise_sd=1.0, rotation_deg=20.0)(images)
    assert (changed == 0).all()


def test_gamma_keeps_the_ends_of_the_range_and_the_order():
    images = brains(n=4)
    bent, _ = augmentation(gamma=0.9)(images)
    assert not torch.allclose(bent, images)
    for before, after in zip(images.flatten(0, 1), bent.flatten(0, 1), strict=True):
        inside = before != 0
        order = before[inside].argsort()
        assert (after[inside][order].diff() >= -1e-5).all()
        assert after[inside].min() == pytest.approx(float(before[inside].min()), abs=1e-5)
        assert after[inside].max() == pytest.approx(float(before[inside].max()), abs=1e-5)


def test_contrast_scales_each_channel_within_its_limit():
    images = brains(n=50)
    scaled, _ = augmentation(intensity_scale=0.2)(images)
    ratio = (scaled / images)[images != 0]
    assert 0.8 <= ratio.min() < 0.85
    assert 1.15 < ratio.max() <= 1.2


@pytest.mark.parametrize("config", [{"rotation_deg": 180.0}, {"scale": 0.001}, {"shear": 0.001}])
def test_a_disc_in_the_middle_stays_a_disc_though_the_slice_is_not_square(config):
    disc = mask(10).expand(20, 1, HEIGHT, WIDTH)
    moved, _ = augmentation(**config)(disc)
    assert (moved - disc).abs().mean() < 0.02


def test_a_rotation_keeps_the_distance_from_the_middle():
    dot = mask(3, offset=(0, 9)).expand(200, 1, HEIGHT, WIDTH)
    moved, _ = augmentation(rotation_deg=180.0)(dot)
    y, x = centre(moved)
    assert torch.allclose(y.hypot(x), torch.tensor(9.0), atol=0.1)
    assert y.max() > 8
    assert y.min() < -8


def test_a_shift_goes_by_whole_pixels_and_blurs_nothing():
    images = torch.where(mask(9) != 0, torch.randn(1, 1, HEIGHT, WIDTH), 0.0).expand(300, 1, HEIGHT, WIDTH)
    moved, _ = augmentation(translate_px=3)(images)
    y, x = centre((moved != 0).float())
    start_y, start_x = centre((images != 0).float())
    assert set((y - start_y).round().int().tolist()) == set(range(-3, 4))
    assert set((x - start_x).round().int().tolist()) == set(range(-3, 4))
    torch.testing.assert_close(moved.flatten(1).sort().values, images.flatten(1).sort().values, atol=1e-4, rtol=0)


def test_only_the_named_share_of_the_slices_is_warped():
    disc = mask(8).expand(1000, 1, HEIGHT, WIDTH)
    moved, _ = augmentation(rotation_deg=20.0, scale=0.2, warp_probability=0.25)(disc)
    changed = ((moved - disc).abs().amax(dim=(1, 2, 3)) > 1e-3).float().mean()
    assert 0.2 < changed < 0.3


def test_a_scale_changes_the_area_by_its_square():
    disc = mask(8).expand(300, 1, HEIGHT, WIDTH)
    areas = augmentation(scale=0.2)(disc)[0].sum(dim=(1, 2, 3)) / disc[0].sum()
    assert 0.62 < areas.min() < 0.70
    assert 1.38 < areas.max() < 1.46


def test_labels_move_with_their_slices_and_stay_classes():
    labels = (mask(8, (5, 3)) + mask(4, (5, 3))).to(torch.uint8).expand(10, HEIGHT, WIDTH).contiguous()
    images = labels[:, None].float()
    moved, moved_labels = augmentation(rotation_deg=30.0, scale=0.1, shear=0.1, translate_px=4, flip_probability=0.5)(
        images, labels
    )
    assert moved_labels is not None
    assert moved_labels.dtype == torch.uint8
    assert set(moved_labels.unique().tolist()) == {0, 1, 2}
    assert (moved[:, 0] - moved_labels).abs().mean() < 0.05
    assert (moved_labels != labels).any()


def centre(images: Tensor) -> tuple[Tensor, Tensor]:
    """Centre of mass from the middle of the slice, rows and columns."""
    mass = images[:, 0] / images[:, 0].sum(dim=(1, 2), keepdim=True)
    y = (mass.sum(dim=2) * (torch.arange(HEIGHT) - (HEIGHT - 1) / 2)).sum(dim=1)
    x = (mass.sum(dim=1) * (torch.arange(WIDTH) - (WIDTH - 1) / 2)).sum(dim=1)
    return y, x
