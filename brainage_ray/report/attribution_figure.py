"""What moves the age, on the brain: a strip of slices for each method."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from numpy.typing import NDArray

from brainage_ray.report.figure import _STYLE, MUTED

SLICES = 6
_WINDOW = (1, 99)
"""Percentiles of the brain that become black and white."""
_STRONGEST = 99.0
"""Percentile of the absolute map where the colours end."""


def draw_attribution(
    maps: Mapping[str, NDArray[np.float32]], brain: NDArray[np.float32], title: str, path: Path
) -> None:
    """Draw axial slices of each map over the brain: red makes older, blue younger.

    Args:
        maps: years a voxel [X, Y, Z] by method, RAS.
        brain: of the same shape, 0 outside.
        title: above all.
        path: of the PNG.
    """
    filled = np.flatnonzero((brain != 0).any(axis=(0, 1)))
    levels = filled[np.linspace(0, len(filled) - 1, min(SLICES, len(filled))).round().astype(int)]
    low, high = np.percentile(brain[brain != 0], _WINDOW)
    with rc_context(_STYLE):
        figure = Figure(figsize=(1.5 * len(levels) + 0.8, 1.9 * len(maps) + 0.4), layout="constrained")
        axes = figure.subplots(len(maps), len(levels), squeeze=False)
        for row, (name, values) in zip(axes, maps.items(), strict=True):
            limit = float(np.percentile(np.abs(values[brain != 0]), _STRONGEST)) or 1.0
            for cell, level in zip(row, levels, strict=True):
                cell.imshow(brain[:, ::-1, level].T, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
                strong = np.where(np.abs(values) < limit / 10, np.nan, values)  # NaN is drawn as nothing
                shown = strong[:, ::-1, level].T
                drawn = cell.imshow(shown, cmap="RdBu_r", vmin=-limit, vmax=limit, alpha=0.75, interpolation="nearest")
                cell.set_axis_off()
            row[0].set_title(name.replace("_", " "))
            figure.colorbar(drawn, ax=list(row), shrink=0.8, label="years a voxel")
        figure.suptitle(title, fontsize=8, color=MUTED, x=0.01, ha="left")
        figure.savefig(path, dpi=110, facecolor="white", metadata={"Software": None})
