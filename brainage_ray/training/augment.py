"""Random changes of whole batches of slices, on the device that holds them.

Shapes: N slices, C channels, H x W pixels (anterior-posterior x left-right).
The background of a slice is exactly 0, the brain's mean is 0 with standard deviation 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from brainage_ray.config.model import AugmentationConfig

_SPATIAL = ("rotation_deg", "scale", "shear", "translate_px")
_INTENSITY = ("gamma", "intensity_scale", "intensity_shift", "noise_sd")


@dataclass(frozen=True)
class Augmentation:
    """Draws changes from its own generator and applies them.

    Nothing is drawn or computed for a change whose setting is 0.
    """

    config: AugmentationConfig
    """How far each change may go."""
    generator: torch.Generator
    """On the slices' device."""

    def __call__(self, images: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Return changed slices and, moved alike, their labels.

        Args:
            images: [N, C, H, W], float32.
            labels: [N, H, W] classes, or None.
        """
        if self.config.flip_probability:
            images, labels = self._flip(images, labels)
        if any(getattr(self.config, name) for name in _SPATIAL):
            images, labels = self._move(images, labels)
        if any(getattr(self.config, name) for name in _INTENSITY):
            images = self._recolour(images)
        return images, labels

    def _flip(self, images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor | None]:
        drawn = torch.rand(len(images), generator=self.generator, device=images.device)
        flip = (drawn < self.config.flip_probability)[:, None, None]
        images = torch.where(flip[:, None], images.flip(-1), images)
        return images, None if labels is None else torch.where(flip, labels.flip(-1), labels)

    def _move(self, images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor | None]:
        grid = F.affine_grid(self._draw_affine(images), [*images.shape], align_corners=False)
        images = F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        if labels is None:
            return images, None
        moved = F.grid_sample(labels[:, None].to(images.dtype), grid, mode="nearest", align_corners=False)
        return images, moved[:, 0].to(labels.dtype)

    def _draw_affine(self, images: Tensor) -> Tensor:
        """Return [N, 2, 3]: where each output pixel comes from, in torch's coordinates (x, y), both -1 to 1."""
        n, height, width = len(images), images.shape[2], images.shape[3]
        warp = torch.rand(n, generator=self.generator, device=images.device) < self.config.warp_probability
        angle = warp * self._uniform(n, torch.pi / 180 * self.config.rotation_deg, images)
        zoom = 1 / (1 + warp * self._uniform(n, self.config.scale, images))
        shear = warp * self._uniform(n, self.config.shear, images)
        # -1 to 1 spans an edge; a slice that is only shifted lands on its pixels again
        x, y = 2 * self._draw_shift(n, images) / images.new_tensor([[width], [height]])
        cos, sin = zoom * torch.cos(angle), zoom * torch.sin(angle)
        # rotation x shear, then from pixels to the normalised coordinates of a slice that need not be square
        rows = (
            torch.stack((cos, (shear * cos - sin) * (height / width), x), dim=1),
            torch.stack((sin * (width / height), shear * sin + cos, y), dim=1),
        )
        return torch.stack(rows, dim=1)

    def _draw_shift(self, n: int, images: Tensor) -> Tensor:
        """Return [2, N]: shifts along x and y, whole pixels."""
        limit = self.config.translate_px
        return torch.randint(-limit, limit + 1, (2, n), generator=self.generator, device=images.device)

    def _recolour(self, images: Tensor) -> Tensor:
        """Change the intensities inside the brain; each channel of each slice draws its own."""
        config, shape = self.config, (*images.shape[:2], 1, 1)
        brain = images != 0
        if config.gamma:
            images = self._bend(images, brain, shape)
        if config.intensity_scale:
            images = images * (1 + self._uniform(shape, config.intensity_scale, images))
        if config.intensity_shift:
            images = torch.where(brain, images + self._uniform(shape, config.intensity_shift, images), images)
        if config.noise_sd:
            noise = torch.randn(images.shape, generator=self.generator, device=images.device)
            images = torch.where(brain, images + config.noise_sd * noise, images)
        return images

    def _bend(self, images: Tensor, brain: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Put the brain's range of intensities through a gamma curve that keeps both its ends."""
        low = images.masked_fill(~brain, torch.inf).amin(dim=(2, 3), keepdim=True)
        high = images.masked_fill(~brain, -torch.inf).amax(dim=(2, 3), keepdim=True)
        span = (high - low).clamp(min=torch.finfo(images.dtype).tiny)
        power = torch.exp2(self._uniform(shape, self.config.gamma, images))
        bent = low + span * ((images - low) / span).clamp(0, 1) ** power
        return torch.where(brain, bent, images)

    def _uniform(self, shape: int | tuple[int, ...], limit: float, like: Tensor) -> Tensor:
        size = (shape,) if isinstance(shape, int) else shape
        return (2 * torch.rand(size, generator=self.generator, device=like.device) - 1) * limit
