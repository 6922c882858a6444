from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from brainage_ray.config import ResNetConfig, TrainingConfig, UNetConfig
from brainage_ray.models import build_age_model, build_backbone, build_segmentation_model
from brainage_ray.models.resnet import ResNetEncoder
from brainage_ray.models.unet import UNetEncoder

UNET = UNetConfig(kind="unet", width=0.125, depth=3)
RESNET = ResNetConfig(kind="resnet50", width=0.125, depth=26)


def test_config_decides_the_backbone():
    unet, resnet = build_backbone(UNET, 4), build_backbone(RESNET, 2)
    assert isinstance(unet, UNetEncoder)
    assert (unet.in_channels, unet.channels, unet.strides) == (4, (4, 8, 16), (1, 2, 4))
    assert isinstance(resnet, ResNetEncoder)
    assert (resnet.in_channels, resnet.channels, len(resnet.layer3)) == (2, (8, 32, 64, 128, 256), 2)


@pytest.mark.parametrize("config", [UNET, RESNET], ids=["unet", "resnet"])
def test_the_stem_key_names_the_convolution_that_sees_the_input(config):
    backbone = build_backbone(config, 4)
    first = next(name for name, part in backbone.named_modules() if isinstance(part, torch.nn.Conv2d))
    assert backbone.stem_key == f"{first}.weight"
    assert backbone.state_dict()[backbone.stem_key].shape[1] == 4


def test_training_decides_the_head():
    model = build_age_model(UNET, TrainingConfig(dropout=0.25, slice_position=True))
    assert model.backbone.in_channels == 1
    assert model.head.dropout.p == 0.25
    assert model.head.linear.in_features == 16 + 1
    everything = build_age_model(UNET, TrainingConfig(pooling="all"))
    assert everything.head.linear.in_features == sum(everything.backbone.channels)


@pytest.mark.parametrize(
    ("config", "features"), [(UNetConfig(kind="unet"), 480), (ResNetConfig(kind="resnet50"), 2048)]
)
def test_published_features_before_the_head(config, features):
    with torch.device("meta"):
        assert build_age_model(config, TrainingConfig()).head.linear.in_features == features


def test_published_segmentation_sees_four_channels_and_classes():
    logits = build_segmentation_model(UNET)(torch.randn(1, 4, 32, 32))
    assert [tuple(level.shape) for level in logits] == [(1, 4, 32, 32)]


def test_importing_the_models_is_cheap_and_knows_no_engine():
    code = (
        "import sys, brainage_ray.models\n"
        "print(*sorted({'ray', 'mlflow', 'optuna', 'monai', 'pandas', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
