"""MONAI's building blocks, with nnU-Net's settings.

MONAI is imported inside the functions: ``import monai`` loads every optional package that it
finds, MLflow among them, whichever of its submodules is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

LEAKY_SLOPE = 0.01
_NORM = ("instance", {"affine": True})
_ACTIVATION = ("leakyrelu", {"inplace": True, "negative_slope": LEAKY_SLOPE})


def conv_block(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """Return two 3x3 convolutions, the first with the stride, each with instance norm and leaky ReLU.

    They have no bias, unlike nnU-Net v1's: the instance norm behind them would take it out again.
    """
    from monai.networks.blocks.dynunet_block import UnetBasicBlock

    block: nn.Module = UnetBasicBlock(
        2, in_channels, out_channels, kernel_size=3, stride=stride, norm_name=_NORM, act_name=_ACTIVATION
    )
    return block


class UpBlock(nn.Module):
    """MONAI's UnetUpBlock for a skip of any width, or none: same parts, names and order.

    Args:
        in_channels: of the deeper feature map.
        skip_channels: of the skip; 0 where there is none.
        out_channels: of the result.
    """

    def __init__(self, in_channels: int, skip_channels: int, out_channels: int) -> None:
        from monai.networks.blocks.dynunet_block import get_conv_layer

        super().__init__()
        self.transp_conv: nn.Module = get_conv_layer(
            2, in_channels, out_channels, kernel_size=2, stride=2, act=None, norm=None,
            conv_only=False, is_transposed=True,
        )  # fmt: skip
        self.conv_block = conv_block(out_channels + skip_channels, out_channels, stride=1)

    def forward(self, x: Tensor, skip: Tensor | None) -> Tensor:
        """Return [N, out_channels, 2H, 2W] from x [N, in_channels, H, W] and skip [N, skip_channels, 2H, 2W]."""
        x = self.transp_conv(x)
        if skip is not None:
            x = torch.cat((x, skip), dim=1)
        merged: Tensor = self.conv_block(x)
        return merged


def resnet_layers(planes: Sequence[int], blocks: Sequence[int], in_channels: int) -> nn.Module:
    """Return MONAI's 2D ResNet with the published stem and shortcuts, without pooling and classifier.

    MONAI's defaults are a stride-1 stem and shortcuts with a bias: another function than the
    ResNet of He et al. 2015, at four times the arithmetic. The initialisation is torchvision's
    (He normal over the fan-out).

    Args:
        planes: inner channels of the four stages; their outputs have four times as many.
        blocks: bottlenecks in each of the four stages.
        in_channels: channels of the input.
    """
    from monai.networks.nets.resnet import ResNet

    network: nn.Module = ResNet(
        "bottleneck", list(blocks), list(planes), spatial_dims=2, n_input_channels=in_channels,
        conv1_t_size=7, conv1_t_stride=2, feed_forward=False, bias_downsample=False,
    )  # fmt: skip
    return network


def initialise_he(module: nn.Module) -> None:
    """Draw all convolutions as nnU-Net does: He normal over the fan-in for leaky ReLU, biases 0."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(part.weight, a=LEAKY_SLOPE)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
