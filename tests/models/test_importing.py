"""Weights from elsewhere: nnU-Net's checkpoints and torchvision's networks, as their programs write them."""

from __future__ import annotations

import importlib
import os
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from brainage_ray.config import ResNetConfig, UNetConfig
from brainage_ray.errors import UnsafeFileError, WeightsError
from brainage_ray.models import import_encoder
from brainage_ray.models.blocks import LEAKY_SLOPE

FEATURES = (4, 8, 16, 32)
FIRST = "encoder.stages.0.0.convs.0.conv"
UNET = UNetConfig(kind="unet", width=0.125, depth=3)


class ConvNormReLU(nn.Module):
    """With the names, the biases and the second names of nnU-Net v2's own."""

    def __init__(self, before, after, stride):
        super().__init__()
        self.conv = nn.Conv2d(before, after, 3, stride, padding=1)
        self.norm = nn.InstanceNorm2d(after, eps=1e-5, affine=True)
        nn.init.normal_(self.norm.weight, 1.0, 0.2)
        nn.init.normal_(self.norm.bias, 0.0, 0.2)
        self.all_modules = nn.Sequential(self.conv, self.norm, nn.LeakyReLU(LEAKY_SLOPE))

    def forward(self, x):
        return self.all_modules(x)


class Stage(nn.Module):
    def __init__(self, before, after, stride):
        super().__init__()
        self.convs = nn.Sequential(ConvNormReLU(before, after, stride), ConvNormReLU(after, after, 1))

    def forward(self, x):
        return self.convs(x)


class PlainConvUNet(nn.Module):
    def __init__(self, channels=4, features=FEATURES):
        super().__init__()
        self.encoder = nn.Module()
        stages = [Stage(a, b, 1 + (i > 0)) for i, (a, b) in enumerate(pairwise((channels, *features)))]
        self.encoder.stages = nn.Sequential(*(nn.Sequential(stage) for stage in stages))
        self.decoder = nn.Module()
        self.decoder.encoder = self.encoder
        self.decoder.seg_layers = nn.ModuleList([nn.Conv2d(features[0], 4, 1)])

    def features(self, x):
        found = []
        for stage in self.encoder.stages:
            x = stage(x)
            found.append(x)
        return found


def checkpoint(path, network, strides=None, **more):
    """What nnUNetTrainer.save_checkpoint writes."""
    strides = strides or [[1, 1]] + [[2, 2]] * (len(FEATURES) - 1)
    architecture = {"network_class_name": "PlainConvUNet", "arch_kwargs": {"strides": strides}}
    plans = {"configurations": {"2d": {"architecture": architecture}}}
    torch.save(
        {
            "network_weights": network.state_dict(),
            "grad_scaler_state": None,
            "logging": {"mean_fg_dice": [np.float64(0.5), np.float32(0.25)], "epoch_start_timestamps": [1.0]},
            "_best_ema": np.float64(0.7),
            "current_epoch": 3,
            "init_args": {"plans": plans, "configuration": "2d", "fold": 0},
            "trainer_name": "nnUNetTrainer",
            "inference_allowed_mirroring_axes": (0, 1),
        }
        | more,
        path,
    )
    return path


def test_an_nnunet_encoder_is_the_same_function_in_our_names(tmp_path):
    network = PlainConvUNet().eval()
    backbone, report = import_encoder(UNET, checkpoint(tmp_path / "checkpoint_final.pth", network))
    assert backbone.in_channels == 4
    x = torch.randn(2, 4, 32, 40)
    with torch.no_grad():
        pairs = list(zip(backbone.eval()(x), network.features(x), strict=False))
    assert len(pairs) == 3
    for ours, theirs in pairs:
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    outcomes = {row.theirs or row.ours: row for row in report.rows}
    first = outcomes["encoder.stages.0.0.convs.0.conv.weight"]
    assert (first.outcome, first.ours, first.shape) == ("renamed", "stages.0.conv1.conv.weight", "4 x 4 x 3 x 3")
    assert "takes it out again" in outcomes["encoder.stages.0.0.convs.0.conv.bias"].why
    assert "deeper" in outcomes["encoder.stages.3.0.convs.0.conv.weight"].why
    assert "second name" in outcomes["decoder.encoder.stages.0.0.convs.0.conv.weight"].why
    assert "not of the encoder" in outcomes["decoder.seg_layers.0.weight"].why
    theirs = set(network.state_dict())
    assert {row.theirs for row in report.rows} == theirs, "every name of the file is accounted for"
    assert str(report).startswith("18 loaded (18 renamed), 0 missing, ")


def test_names_of_nnunet_v1_are_taken(tmp_path):
    network = PlainConvUNet(features=FEATURES[:3])
    state = {}
    for name, value in network.encoder.state_dict().items():
        if "all_modules" in name:
            continue
        _, stage, _, _, conv, part, kind = name.split(".")
        last = f"{conv}.blocks.0" if stage == "2" else f"blocks.{conv}"
        state[f"conv_blocks_context.{stage}.{last}.{part.replace('norm', 'instnorm')}.{kind}"] = value
    path = tmp_path / "model_final_checkpoint.pth"
    torch.save({"epoch": 3, "state_dict": state, "optimizer_state_dict": None}, path)
    backbone, _ = import_encoder(UNET, path)
    ours = backbone.state_dict()["stages.2.conv2.conv.weight"]
    assert torch.equal(ours, network.encoder.stages[2][0].convs[1].conv.weight)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"network_weights": {f"{FIRST}.weight": torch.zeros(32, 4, 3, 3, 3)}}, "is 3D: 1 of its 1"),
        ({"network_weights": {"encoder.stem.convs.0.conv.weight": torch.zeros(4, 4, 3, 3)}}, "residual blocks"),
        ({"network_weights": {"decoder.seg_layers.0.weight": torch.zeros(4, 4, 1, 1)}}, "18 missing"),
        ({"network_weights": [1]}, "no weights by name"),
    ],
)  # fmt: skip
def test_what_is_no_encoder_of_ours_is_refused_in_words(tmp_path, change, words):
    path = checkpoint(tmp_path / "c.pth", PlainConvUNet(), **change)
    with pytest.raises(WeightsError, match=words) as caught:
        import_encoder(UNET, path)
    assert str(path) in caught.value.problem


def test_other_strides_and_other_widths_are_refused(tmp_path):
    path = checkpoint(tmp_path / "c.pth", PlainConvUNet(), strides=[[1, 1], [2, 1], [2, 2], [2, 2]])
    with pytest.raises(WeightsError, match=r"has the strides \[\[1, 1\], \[2, 1\]"):
        import_encoder(UNET, path)
    with pytest.raises(WeightsError, match=r"is \[4, 4, 3, 3\], not \[8, 4, 3, 3\]"):
        import_encoder(UNetConfig(kind="unet", width=0.25, depth=3), checkpoint(path, PlainConvUNet()))


class MakesFolder:
    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return (os.mkdir, (str(self.folder),))


def test_a_checkpoint_with_code_beside_its_weights_is_refused_and_not_run(tmp_path):
    path = checkpoint(tmp_path / "c.pth", PlainConvUNet(), logging=MakesFolder(tmp_path / "ran"))
    with pytest.raises(UnsafeFileError, match=r"mkdir, which is not run"):
        import_encoder(UNET, path)
    assert not (tmp_path / "ran").exists()


@pytest.fixture(scope="module")
def network():
    """Torchvision's own ResNet-50 with random weights.

    A package that was made for another build of torch misses operators, which no ResNet calls.
    """
    try:
        models = pytest.importorskip("torchvision.models")
    except RuntimeError:
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", "(Tensor a, Tensor b, float c) -> Tensor")
        models = importlib.import_module("torchvision.models")
    return models.resnet50(weights=None).eval()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_torchvisions_resnet50_is_the_same_function(tmp_path, suffix, network):
    path = tmp_path / f"resnet50{suffix}"
    if suffix == ".pth":
        torch.save(network.state_dict(), path)
    else:
        from safetensors.torch import save_file

        save_file(network.state_dict(), path)
    backbone, report = import_encoder(ResNetConfig(kind="resnet50"), path)
    assert str(report).startswith("318 loaded, 0 missing, 2 left out: fc.")
    x = torch.randn(1, 3, 64, 48)
    with torch.no_grad():
        theirs = network.maxpool(network.relu(network.bn1(network.conv1(x))))
        for layer in (network.layer1, network.layer2, network.layer3, network.layer4):
            theirs = layer(theirs)
        torch.testing.assert_close(backbone.eval()(x)[-1], theirs, atol=1e-4, rtol=1e-4)


def test_the_stem_keeps_the_channels_of_the_file(tmp_path, torchvision_state):
    path = tmp_path / "four.pth"
    torch.save(torchvision_state(width=0.125, blocks=(1, 1, 1, 1), channels=4), path)
    backbone, report = import_encoder(ResNetConfig(kind="resnet50", width=0.125, depth=14), path)
    assert backbone.in_channels == 4
    assert {row.outcome for row in report.rows} == {"taken", "left"}
