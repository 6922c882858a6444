"""Tumours in phantoms: grown in white matter, with a core, an enhancing rim and oedema around both."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainage_ray.data.phantoms.anatomy import VOXEL_MM, Tissues
from brainage_ray.data.phantoms.fields import smooth_field

Array = NDArray[np.float32]

CORE, OEDEMA, ENHANCING = 1, 2, 4
"""The labels of BraTS: necrotic and non-enhancing core, peritumoural oedema, enhancing tumour."""
BRIGHTNESS = {
    "flair": (0.12, 0.62, 0.50, 0.42, 0.98, 0.80),
    "t1": (0.30, 0.65, 0.86, 0.38, 0.58, 0.55),
    "t1ce": (0.30, 0.65, 0.86, 0.36, 0.58, 1.25),
    "t2": (1.05, 0.62, 0.45, 0.90, 0.82, 0.66),
}
"""Of CSF, grey matter, white matter, core, oedema and enhancing rim in each modality."""
_RADIUS_MM = (19.0, 32.0)


def grow_tumour(tissues: Tissues, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Grow a tumour around a point of deep white matter.

    The distance from the point, over the radius, plus smooth noise is the level: the core lies below
    0.35, the enhancing rim below 0.55, and the oedema below 1 where there is white matter to swell.

    Args:
        tissues: of the person.
        rng: draws place, size (radius 19 to 32 mm) and shape.

    Returns:
        BraTS labels, X Y Z.
    """
    depth = ndimage.distance_transform_edt(tissues.brain) * VOXEL_MM
    height = np.arange(tissues.brain.shape[2]) * VOXEL_MM
    seeds = np.argwhere((tissues.wm > 0.7) & (depth > 14) & (height > 60))
    centre = seeds[rng.integers(len(seeds))]
    radius = rng.uniform(*_RADIUS_MM) / VOXEL_MM
    axes = (np.arange(n, dtype=np.float32) - c for n, c in zip(tissues.brain.shape, centre, strict=True))
    x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
    level = np.sqrt(x * x + y * y + z * z) / radius
    noise = smooth_field(tissues.brain.shape, rng, modes=9)
    level += 0.15 * (noise - noise[tuple(centre)])
    solid = tissues.brain & (tissues.csf < 0.5)
    labels = np.zeros(tissues.brain.shape, np.uint8)
    labels[(level < 1) & solid & (tissues.wm > 0.35)] = OEDEMA
    labels[(level < 0.55) & solid] = ENHANCING
    labels[(level < 0.35) & solid] = CORE
    return labels


def brightness(tissues: Tissues, labels: NDArray[np.uint8], modality: str) -> Array:
    """Return how bright each voxel is in a modality of BRIGHTNESS, X Y Z; borders are soft by half a voxel."""
    csf, gm, wm, *tumour = BRIGHTNESS[modality]
    healthy = csf * tissues.csf + gm * tissues.gm + wm * tissues.wm
    if modality.startswith("t1"):
        healthy += tissues.residual
    soft = [ndimage.gaussian_filter((labels == k).astype(np.float32), 0.5) for k in (CORE, OEDEMA, ENHANCING)]
    ill = np.tensordot(np.array(tumour, np.float32), np.stack(soft), 1)
    mixed: Array = healthy * (1 - sum(soft)) + ill
    return mixed
