"""Our ResNet-50 against the published architecture, written out as functions."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from brainage_ray.models.resnet import BLOCKS, ResNetEncoder
from brainage_ray.models.transfer import load_encoder

FC_WEIGHTS, FC_BIASES = 2048 * 1000, 1000


def normalise(x, state, name, training):
    mean, var = state[f"{name}.running_mean"].clone(), state[f"{name}.running_var"].clone()
    return F.batch_norm(x, mean, var, state[f"{name}.weight"], state[f"{name}.bias"], training=training)


def published_bottleneck(x, state, name, stride, training):
    out = F.conv2d(x, state[f"{name}.conv1.weight"])
    out = F.relu(normalise(out, state, f"{name}.bn1", training))
    out = F.conv2d(out, state[f"{name}.conv2.weight"], stride=stride, padding=1)
    out = F.relu(normalise(out, state, f"{name}.bn2", training))
    out = F.conv2d(out, state[f"{name}.conv3.weight"])
    out = normalise(out, state, f"{name}.bn3", training)
    if f"{name}.downsample.0.weight" in state:
        x = F.conv2d(x, state[f"{name}.downsample.0.weight"], stride=stride)
        x = normalise(x, state, f"{name}.downsample.1", training)
    return F.relu(out + x)


def published_resnet(x, state, blocks, training=False):
    """He et al. 2015, table 1, with the stride on the 3x3 convolution: the stem's and each stage's output."""
    x = F.relu(normalise(F.conv2d(x, state["conv1.weight"], stride=2, padding=3), state, "bn1", training))
    outputs = [x]
    x = F.max_pool2d(x, kernel_size=3, stride=2, padding=1)
    for stage, count in enumerate(blocks, start=1):
        for block in range(count):
            stride = 2 if stage > 1 and block == 0 else 1
            x = published_bottleneck(x, state, f"layer{stage}.{block}", stride, training)
        outputs.append(x)
    return outputs


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_every_stage_equals_the_published_architecture(torchvision_state, training):
    state = torchvision_state()
    backbone = ResNetEncoder(in_channels=3).train(training)
    load_encoder(backbone, state)
    x = torch.randn(2, 3, 96, 80)
    with torch.no_grad():
        expected = published_resnet(x, state, BLOCKS[50], training)
        for ours, theirs in zip(backbone(x), expected, strict=True):
            scale = theirs.abs().max()
            torch.testing.assert_close(ours / scale, theirs / scale, rtol=0, atol=1e-5)


def test_stride_on_the_first_convolution_would_be_seen(torchvision_state):
    state = torchvision_state()
    backbone = ResNetEncoder(in_channels=3).eval()
    load_encoder(backbone, state)
    block = backbone.layer2[0]
    block.conv1.stride, block.conv2.stride = (2, 2), (1, 1)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        ours, theirs = backbone(x), published_resnet(x, state, BLOCKS[50])
    torch.testing.assert_close(ours[1], theirs[1])
    assert ours[2].shape == theirs[2].shape
    assert not torch.allclose(ours[2], theirs[2], rtol=1e-2)


def test_the_published_number_of_parameters():
    with torch.device("meta"):
        backbone = ResNetEncoder(in_channels=3)
    count = sum(parameter.numel() for parameter in backbone.parameters())
    assert count == 23_508_032
    assert count + FC_WEIGHTS + FC_BIASES == 25_557_032


def multiply_adds(backbone, *shape):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        backbone(torch.empty(*shape, device="meta"))
    return counter.get_total_flops() / 2


def test_the_published_number_of_multiply_adds():
    with torch.device("meta"):
        backbone = ResNetEncoder(in_channels=3)
    assert (multiply_adds(backbone, 1, 3, 224, 224) + FC_WEIGHTS) / 1e9 == pytest.approx(4.09, abs=0.005)


def test_a_slice_costs_what_a_stride_2_stem_costs():
    with torch.device("meta"):
        backbone = ResNetEncoder(in_channels=3)
    # 1.2 GFLOP; with MONAI's default stem of stride 1 it is 4.9.
    assert 2 * multiply_adds(backbone, 1, 3, 96, 80) / 1e9 == pytest.approx(1.25, abs=0.05)


@pytest.mark.parametrize("depth", BLOCKS)
def test_depth_counts_the_layers(depth):
    backbone = ResNetEncoder(in_channels=1, width=0.125, depth=depth)
    convolutions = [n for n, m in backbone.named_modules() if isinstance(m, torch.nn.Conv2d) and "downsample" not in n]
    assert len(convolutions) + 1 == depth


@pytest.mark.parametrize(("height", "width"), [(96, 96), (96, 80), (91, 109), (32, 32), (16, 16)])
def test_feature_maps_have_the_channels_and_strides_they_declare(height, width):
    backbone = ResNetEncoder(in_channels=1, width=0.125, depth=14).eval()
    features = backbone(torch.randn(2, 1, height, width))
    expected = [
        (2, c, -(-height // s), -(-width // s)) for c, s in zip(backbone.channels, backbone.strides, strict=True)
    ]
    assert [tuple(f.shape) for f in features] == expected


def test_published_channels():
    with torch.device("meta"):
        assert ResNetEncoder(in_channels=1).channels == (64, 256, 512, 1024, 2048)


def test_initialisation_is_torchvisions():
    backbone = ResNetEncoder(in_channels=3, depth=14)
    weight = backbone.layer3[0].conv2.weight
    assert weight.std().item() == pytest.approx((2 / (256 * 9)) ** 0.5, rel=0.01)
    assert torch.equal(backbone.bn1.weight, torch.ones(64))
    assert torch.equal(backbone.bn1.bias, torch.zeros(64))


def test_names_are_torchvisions(torchvision_state):
    with torch.device("meta"):
        backbone = ResNetEncoder(in_channels=3)
    shapes = {key: tuple(value.shape) for key, value in torchvision_state().items() if not key.startswith("fc.")}
    assert {key: tuple(value.shape) for key, value in backbone.state_dict().items()} == shapes


def test_feature_maps_are_not_overwritten_by_deeper_stages():
    backbone = ResNetEncoder(in_channels=1, width=0.125, depth=14).eval()
    x = torch.randn(1, 1, 64, 64)
    stem = backbone.act(backbone.bn1(backbone.conv1(x)))
    features = backbone(x)
    assert torch.equal(features[0], stem)
    assert torch.equal(features[1], backbone.layer1(backbone.maxpool(stem)))
