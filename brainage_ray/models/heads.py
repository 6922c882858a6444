"""From feature maps to an age."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from brainage_ray.models.backbone import Backbone


class AgeHead(nn.Module):
    """Global average pool, dropout, linear to 1; in float32 whatever autocast says.

    In half precision the ages would lie on a grid of 1/16 year.

    Args:
        channels: of all feature maps that are pooled.
        dropout: probability for a pooled feature, while training.
        slice_position: whether the slice's height is one more input of the linear layer.
    """

    def __init__(self, channels: int, dropout: float = 0.0, slice_position: bool = False) -> None:
        super().__init__()
        self.slice_position = slice_position
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(channels + slice_position, 1)

    def forward(self, features: Sequence[Tensor], position: Tensor | None = None) -> Tensor:
        """Return standardised ages [N], float32.

        Args:
            features: feature maps [N, C, h, w], of any size each.
            position: height of each slice [N], units of 100 mm; unused without slice_position.

        Raises:
            ValueError: slice_position is set and there is no position.
        """
        with torch.autocast(features[0].device.type, enabled=False):
            inputs = self.dropout(torch.cat([maps.float().mean(dim=(2, 3)) for maps in features], dim=1))
            if self.slice_position:
                if position is None:
                    raise ValueError("training.slice_position is true, so each slice needs its position; pass it")
                inputs = torch.cat((inputs, position.float().unsqueeze(1)), dim=1)
            ages: Tensor = self.linear(inputs).squeeze(1)
        return ages


class AgeModel(nn.Module):
    """A backbone with an age head on its deepest feature map, or on all of them.

    Args:
        backbone: the encoder.
        dropout: probability for a pooled feature, while training.
        slice_position: whether the slice's height is a second input of the regression.
        pool_all: whether the head sees every stage's feature map rather than the deepest alone.
    """

    def __init__(
        self, backbone: Backbone, dropout: float = 0.0, slice_position: bool = False, pool_all: bool = False
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.pooled = slice(None) if pool_all else slice(-1, None)
        self.head = AgeHead(sum(backbone.channels[self.pooled]), dropout, slice_position)

    def forward(self, x: Tensor, position: Tensor | None = None) -> Tensor:
        """Return the standardised brain age of each slice [N], float32.

        Args:
            x: slices [N, in_channels, H, W].
            position: height of each slice [N], units of 100 mm; unused without slice_position.

        Raises:
            ValueError: slice_position is set and there is no position.
        """
        ages: Tensor = self.head(self.backbone(x)[self.pooled], position)
        return ages
