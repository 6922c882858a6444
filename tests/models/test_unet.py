from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from brainage_ray.errors import ConfigError
from brainage_ray.models.unet import FEATURES, UNetEncoder


def parameters_by_hand(in_channels, features):
    """Two bias-free 3x3 convolutions a stage, each with a scale and a shift per channel."""
    inputs = (in_channels, *features[:-1])
    return sum(9 * a * b + 9 * b * b + 4 * b for a, b in zip(inputs, features, strict=True))


def multiply_adds_by_hand(in_channels, features, height, width):
    inputs = (in_channels, *features[:-1])
    return sum(
        (9 * a * b + 9 * b * b) * (height >> i) * (width >> i)
        for i, (a, b) in enumerate(zip(inputs, features, strict=True))
    )


def published_encoder(x, state):
    outputs = []
    for stage in range(len(FEATURES)):
        for i in (1, 2):
            name = f"stages.{stage}"
            stride = 2 if stage > 0 and i == 1 else 1
            x = F.conv2d(x, state[f"{name}.conv{i}.conv.weight"], stride=stride, padding=1)
            scale, shift = state[f"{name}.norm{i}.weight"], state[f"{name}.norm{i}.bias"]
            mean, var = x.mean((2, 3), keepdim=True), x.var((2, 3), unbiased=False, keepdim=True)
            x = (x - mean) / torch.sqrt(var + 1e-5) * scale[:, None, None] + shift[:, None, None]
            x = torch.where(x > 0, x, 0.01 * x)
        outputs.append(x)
    return outputs


def test_every_stage_equals_the_published_architecture():
    backbone = UNetEncoder(in_channels=1)
    state = backbone.state_dict()
    for key, value in state.items():
        if "norm" in key:
            value.copy_(0.5 + torch.rand_like(value) if key.endswith("weight") else 0.1 * torch.randn_like(value))
    x = torch.randn(2, 1, 96, 80)
    with torch.no_grad():
        for ours, theirs in zip(backbone(x), published_encoder(x, state), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5 * theirs.abs().max().item())


def test_a_published_slice_becomes_480_channels_of_3_by_3():
    with torch.device("meta"):
        backbone = UNetEncoder(in_channels=1)
        features = backbone(torch.empty(1, 1, 96, 96))
    assert features[-1].shape == (1, 480, 3, 3)
    assert [f.shape[1] for f in features] == [32, 64, 128, 256, 480, 480]


@pytest.mark.parametrize(("in_channels", "count"), [(1, 8_503_200), (4, 8_504_064)])
def test_number_of_parameters(in_channels, count):
    with torch.device("meta"):
        backbone = UNetEncoder(in_channels)
    assert sum(parameter.numel() for parameter in backbone.parameters()) == count
    assert parameters_by_hand(in_channels, FEATURES) == count


def test_number_of_multiply_adds():
    with torch.device("meta"):
        backbone = UNetEncoder(in_channels=1)
    with FlopCounterMode(display=False) as counter:
        backbone(torch.empty(1, 1, 96, 96, device="meta"))
    assert counter.get_total_flops() == 2 * multiply_adds_by_hand(1, FEATURES, 96, 96)


@pytest.mark.parametrize("width", [0.125, 0.5, 1.5])
@pytest.mark.parametrize("depth", [2, 4, 6])
def test_width_and_depth(width, depth):
    with torch.device("meta"):
        backbone = UNetEncoder(in_channels=1, width=width, depth=depth)
    assert backbone.channels == tuple(round(f * width) for f in FEATURES[:depth])
    assert backbone.strides == tuple(2**i for i in range(depth))
    assert sum(p.numel() for p in backbone.parameters()) == parameters_by_hand(1, backbone.channels)


def test_a_width_near_nothing_leaves_one_channel():
    assert UNetEncoder(in_channels=1, width=0.001, depth=2).channels == (1, 1)


@pytest.mark.parametrize(("height", "width"), [(96, 96), (96, 80), (91, 109), (33, 16)])
def test_feature_maps_have_the_channels_and_strides_they_declare(height, width):
    backbone = UNetEncoder(in_channels=1, width=0.125)
    features = backbone(torch.randn(2, 1, height, width))
    expected = [
        (2, c, -(-height // s), -(-width // s)) for c, s in zip(backbone.channels, backbone.strides, strict=True)
    ]
    assert [tuple(f.shape) for f in features] == expected


def test_slices_that_shrink_to_one_pixel_are_refused():
    with pytest.raises(ConfigError, match=r"32 x 16 pixels .* 6 stages.*slice_shape above 32 or lower backbone.depth"):
        UNetEncoder(in_channels=1, width=0.125)(torch.randn(2, 1, 32, 16))


def test_initialisation_is_nnunets():
    backbone = UNetEncoder(in_channels=1)
    weight = backbone.get_parameter("stages.4.conv1.conv.weight")
    assert weight.std().item() == pytest.approx((2 / (1 + 0.01**2) / (256 * 9)) ** 0.5, rel=0.01)
    assert backbone.get_parameter(backbone.stem_key).shape == (32, 1, 3, 3)


def test_training_and_evaluation_are_the_same_function():
    backbone = UNetEncoder(in_channels=1, width=0.125)
    x = torch.randn(2, 1, 64, 64)
    assert torch.equal(backbone.train()(x)[-1], backbone.eval()(x)[-1])


def test_a_seed_decides_the_weights():
    def drawn(seed):
        torch.manual_seed(seed)
        return UNetEncoder(in_channels=1, width=0.125, depth=2).state_dict()["stages.1.conv2.conv.weight"]

    assert torch.equal(drawn(3), drawn(3))
    assert not torch.equal(drawn(3), drawn(4))
