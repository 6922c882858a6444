"""The encoder of the 2D nnU-Net v1 (Isensee et al. 2021, doi:10.1038/s41592-020-01008-z)."""

from __future__ import annotations

from torch import Tensor, nn

from brainage_ray.errors import ConfigError
from brainage_ray.models.backbone import Backbone, scaled
from brainage_ray.models.blocks import conv_block, initialise_he

FEATURES = (32, 64, 128, 256, 480, 480)
"""Channels of each stage as published; stage i has stride 2**i."""


class UNetEncoder(Backbone):
    """Stages of two 3x3 convolutions; each but the first halves the height and the width.

    Args:
        in_channels: channels of the input.
        width: factor on the published features.
        depth: stages, counted from the input; 6 as published.
    """

    stem_key = "stages.0.conv1.conv.weight"

    def __init__(self, in_channels: int, width: float = 1.0, depth: int = len(FEATURES)) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.channels = scaled(FEATURES[:depth], width)
        self.strides = tuple(2**i for i in range(depth))
        inputs = (in_channels, *self.channels[:-1])
        self.stages = nn.ModuleList(
            conv_block(before, after, stride=1 if i == 0 else 2)
            for i, (before, after) in enumerate(zip(inputs, self.channels, strict=True))
        )
        initialise_he(self)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return each stage's output, see Backbone.

        Raises:
            ConfigError: the slices are so small that one pixel is left, which instance norm would set to 0.
        """
        self._check_size(x)
        features: list[Tensor] = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features

    def _check_size(self, x: Tensor) -> None:
        height, width = x.shape[2:]
        if max(height, width) <= self.strides[-1]:
            raise ConfigError(
                f"slices of {height} x {width} pixels shrink to one pixel in a U-Net of {len(self.strides)} stages",
                f"Set data.preprocessing.slice_shape above {self.strides[-1]} or lower backbone.depth.",
            )
