"""From feature maps to tumour classes, for pre-training."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from brainage_ray.models.backbone import Backbone
from brainage_ray.models.blocks import UpBlock, initialise_he


class Decoder(nn.Module):
    """The decoder of nnU-Net, for any backbone; it reads feature maps and owns no encoder.

    Level i has stride 2**i. From the deepest feature map up, each level doubles height and
    width and merges the backbone's feature map of its stride, where there is one. Logits are
    made at each level but the deepest, whose loss nnU-Net weighs with 0.

    Args:
        channels: of the backbone's feature maps.
        strides: of the backbone's feature maps.
        widths: channels of each level, level 0 first; as many as levels below the deepest stride.
        classes: of the logits.
    """

    def __init__(self, channels: Sequence[int], strides: Sequence[int], widths: Sequence[int], classes: int) -> None:
        super().__init__()
        skips = dict(zip(strides, channels, strict=True))
        self.strides = tuple(strides)
        inputs = (*widths[1:], channels[-1])
        self.levels = nn.ModuleList(
            UpBlock(below, skips.get(2**i, 0), width)
            for i, (below, width) in enumerate(zip(inputs, widths, strict=True))
        )
        self.outputs = nn.ModuleList(nn.Conv2d(width, classes, 1) for width in widths[: max(1, len(widths) - 1)])
        initialise_he(self)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Return logits [N, classes, H / 2**i, W / 2**i], float32, full resolution first.

        Args:
            features: the backbone's feature maps; H and W are multiples of its deepest stride.
        """
        skips = dict(zip(self.strides, features, strict=True))
        x = features[-1]
        maps: list[Tensor] = []
        for i in reversed(range(len(self.levels))):
            x = self.levels[i](x, skips.get(2**i))
            maps.insert(0, x)
        with torch.autocast(x.device.type, enabled=False):
            return [output(level.float()) for output, level in zip(self.outputs, maps, strict=False)]


class SegmentationModel(nn.Module):
    """A backbone and a decoder, side by side: the backbone goes on alone.

    Args:
        backbone: the encoder.
        decoder: made for that backbone's channels and strides.
    """

    def __init__(self, backbone: Backbone, decoder: Decoder) -> None:
        super().__init__()
        self.backbone = backbone
        self.decoder = decoder

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return logits [N, classes, ceil(H / 2**i), ceil(W / 2**i)], float32, full resolution first.

        Slices are padded with background (0) below and on the right to a multiple of the
        deepest stride, and the logits are cut back.

        Args:
            x: slices [N, in_channels, H, W].
        """
        height, width = x.shape[2:]
        stride = self.backbone.strides[-1]
        if height % stride or width % stride:
            x = F.pad(x, (0, -width % stride, 0, -height % stride))
        logits: list[Tensor] = self.decoder(self.backbone(x))
        return [level[:, :, : -(-height // 2**i), : -(-width // 2**i)] for i, level in enumerate(logits)]
