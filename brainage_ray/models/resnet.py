"""ResNet-50 (He et al. 2015, arXiv:1512.03385) as torchvision has it, and two smaller siblings.

Torchvision's version ("v1.5") has the stride on each stage's first 3x3 convolution. The names
of the weights are torchvision's, so that its files load as they are.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from brainage_ray.models.backbone import Backbone, scaled
from brainage_ray.models.blocks import resnet_layers

PLANES = (64, 128, 256, 512)
"""Inner channels of the bottlenecks of each stage as published."""
EXPANSION = 4
"""A bottleneck's output channels over its inner channels."""
BLOCKS = {14: (1, 1, 1, 1), 26: (2, 2, 2, 2), 50: (3, 4, 6, 3)}
"""Bottlenecks in each stage by the number of layers."""


class ResNetEncoder(Backbone):
    """A 7x7 stem of stride 2, a 3x3 max pool of stride 2, and four stages of bottlenecks.

    Args:
        in_channels: channels of the input.
        width: factor on the published features.
        depth: layers: 14, 26 or 50.
    """

    stem_key = "conv1.weight"
    strides = (2, 4, 8, 16, 32)

    def __init__(self, in_channels: int, width: float = 1.0, depth: int = 50) -> None:
        super().__init__()
        planes = scaled(PLANES, width)
        self.in_channels = in_channels
        self.channels = (planes[0], *(EXPANSION * count for count in planes))
        network: Any = resnet_layers(planes, BLOCKS[depth], in_channels)
        self.conv1, self.bn1, self.act, self.maxpool = network.conv1, network.bn1, network.act, network.maxpool
        self.layer1, self.layer2 = network.layer1, network.layer2
        self.layer3, self.layer4 = network.layer3, network.layer4

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the stem's output and each stage's, see Backbone."""
        stem: Tensor = self.act(self.bn1(self.conv1(x)))
        features = [stem]
        x = self.maxpool(stem)
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
            features.append(x)
        return features
