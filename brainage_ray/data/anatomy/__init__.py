"""From whole heads to brains on a template's grid: bias correction, brain extraction, registration."""

from brainage_ray.data.anatomy.chain import Anatomy, anatomy_steps, apply_anatomy
from brainage_ray.data.anatomy.images import Image, dice

__all__ = ["Anatomy", "Image", "anatomy_steps", "apply_anatomy", "dice"]
