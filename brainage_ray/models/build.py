"""From config to network."""

from __future__ import annotations

import torch

from brainage_ray.config import BackboneConfig, TrainingConfig, UNetConfig
from brainage_ray.models import resnet, unet
from brainage_ray.models.backbone import Backbone, scaled
from brainage_ray.models.heads import AgeModel
from brainage_ray.models.segmentation import Decoder, SegmentationModel


def build_backbone(config: BackboneConfig, in_channels: int) -> Backbone:
    """Return a freshly initialised encoder, drawn from torch's global generator."""
    if isinstance(config, UNetConfig):
        return unet.UNetEncoder(in_channels, config.width, config.depth)
    return resnet.ResNetEncoder(in_channels, config.width, config.depth)


def build_age_model(config: BackboneConfig, training: TrainingConfig) -> AgeModel:
    """Return a network from T1 slices [N, 1, H, W] to standardised ages [N].

    One input channel: for a stem whose weights are summed over the channels it is the same
    function as the published repeating of the T1 slice, at a fraction of the arithmetic.
    """
    backbone = build_backbone(config, in_channels=1)
    return AgeModel(backbone, training.dropout, training.slice_position, pool_all=training.pooling == "all")


def count_weights(config: BackboneConfig, training: TrainingConfig) -> int:
    """Return how many weights an age model has; none is drawn."""
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        model = build_age_model(config, training)
    return sum(weight.numel() for weight in model.parameters())


def build_segmentation_model(config: BackboneConfig, in_channels: int = 4, classes: int = 4) -> SegmentationModel:
    """Return a network from slices [N, in_channels, H, W] to logits [N, classes, H, W] and coarser ones.

    Both backbones get decoder levels of the same widths, those of the published U-Net.
    """
    backbone = build_backbone(config, in_channels)
    levels = backbone.strides[-1].bit_length() - 1
    widths = scaled(unet.FEATURES[:levels], config.width)
    return SegmentationModel(backbone, Decoder(backbone.channels, backbone.strides, widths, classes))
