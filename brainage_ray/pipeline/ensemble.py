"""The models of an arm, loaded once, that read slices together."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from brainage_ray.data import POSITION_UNIT_MM, PreparedScan, StoredSplit, map_array
from brainage_ray.pipeline.model_folder import ModelFolder, fitted_models
from brainage_ray.training import load_fitted, predict_slices
from brainage_ray.training.attribution import Attribution, attribute
from brainage_ray.training.device import resolve_device, runtime

STEPS, NETWORKS = 16, 2
"""Of the attributions that a page shows."""


class Ensemble:
    """One network a seed, on one device.

    Args:
        folder: of the model.
        described: what read_model_folder says of it.
        device: auto, cpu, cuda or cuda:N.
        batch_size: slices at a time.

    Raises:
        ConfigError, EngineError: there is no such device.
        WeightsError: a network's weights do not fit.
    """

    def __init__(self, folder: Path, described: ModelFolder, device: str = "auto", batch_size: int = 512) -> None:
        self.device = resolve_device(device)
        self.members = fitted_models(folder, described)
        self._batch_size = batch_size
        self._networks = [load_fitted(member.run, member.fit) for member in self.members]
        for network in self._networks:
            network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def slice_years(self, split: StoredSplit) -> NDArray[np.float64]:
        """Return the age of each slice, [n_seeds, n_slices], years; computed in float32."""
        with runtime(self.device, os.cpu_count() or 1):
            values = [predict_slices(network, split, self.device, self._batch_size) for network in self._networks]
        years = zip(values, self.members, strict=True)
        return np.stack([v.astype(np.float64) * m.fit.target_sd_years + m.fit.target_mean_years for v, m in years])

    def attributions(self, split: StoredSplit) -> NDArray[np.float32]:
        """Return what each pixel adds to the age of its slice, [n_slices, rows, columns], years.

        Integrated gradients, the mean over the first networks: more of them cost more than they change a picture.

        Raises:
            EngineError: Captum is not installed.
        """
        how, few = Attribution(steps=STEPS), slice(NETWORKS)
        with runtime(self.device, os.cpu_count() or 1):
            parts = [
                attribute(network, split, self.device, how) * np.float32(member.fit.target_sd_years)
                for network, member in zip(self._networks[few], self.members[few], strict=True)
            ]
        return np.asarray(np.mean(parts, axis=0), dtype=np.float32)


def split_of(scans: Sequence[PreparedScan]) -> StoredSplit:
    """Give the slices of some scans the shape of a split; ages are unknown."""
    positions = [np.asarray(scan.positions_mm, np.float32) / POSITION_UNIT_MM for scan in scans]
    return StoredSplit(
        scans=pd.DataFrame({"age_years": np.full(len(scans), np.nan)}),
        shards=tuple(map_array(scan.images) for scan in scans),
        label_shards=(),
        slice_scan=np.repeat(np.arange(len(scans)), [scan.n_slices for scan in scans]),
        slice_position=np.concatenate(positions),
    )
