"""All seeds of an arm as one network, from slices to years: what leaves the package."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from brainage_ray.models.heads import AgeModel


class AgeEnsemble(nn.Module):
    """Networks that read the same slices.

    Args:
        members: one a seed, in evaluation mode.
        mean_years: of each; years = output x sd_years + mean_years.
        sd_years: of each.
    """

    mean_years: Tensor
    sd_years: Tensor

    def __init__(self, members: Sequence[AgeModel], mean_years: Sequence[float], sd_years: Sequence[float]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.register_buffer("mean_years", torch.tensor(mean_years, dtype=torch.float32))
        self.register_buffer("sd_years", torch.tensor(sd_years, dtype=torch.float32))

    def forward(self, images: Tensor, positions: Tensor) -> Tensor:
        """Return the age of each slice by each member [N, members], years, float32.

        Args:
            images: [N, 1, H, W], mean 0 and sd 1 in the brain of the whole scan, 0 outside.
            positions: [N], height of each slice, units of 100 mm; members that do not read it ignore it.
        """
        values = torch.stack([member(images, positions) for member in self.members], dim=1)
        return values * self.sd_years + self.mean_years
