"""What all backbones have in common.

Shapes: N slices, C channels, H x W pixels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn


class Backbone(nn.Module, ABC):
    """An encoder: a batch of slices becomes feature maps, shallow to deep.

    Attributes:
        in_channels: channels of the input.
        channels: channels of each feature map.
        strides: input pixels per pixel of each feature map; powers of two, rising.
        stem_key: name of the first convolution's weight in the state, the one that sees the input's channels.
    """

    in_channels: int
    channels: tuple[int, ...]
    strides: tuple[int, ...]
    stem_key: str

    @abstractmethod
    def forward(self, x: Tensor) -> list[Tensor]:
        """Return one feature map [N, channels[i], ceil(H / strides[i]), ceil(W / strides[i])] a stride.

        Args:
            x: slices [N, in_channels, H, W]; any H and W.
        """


def scaled(features: Sequence[int], width: float) -> tuple[int, ...]:
    """Return channel counts times a width factor, rounded, 1 at least."""
    return tuple(max(1, round(count * width)) for count in features)
