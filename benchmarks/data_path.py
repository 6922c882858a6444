"""Slices a second: our resident batches against gzip HDF5 read per item through a DataLoader (the published way)."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader, Dataset

from benchmarks.measure import Row, seconds
from brainage_ray.data.store import StoredSplit
from brainage_ray.training.batches import MappedSlices, ResidentSlices, Slices

SCANS, SLICES, EDGE, BATCH = 50, 40, 96, 64


class GzipSlices(Dataset[Any]):
    """One HDF5 file a scan, one gzip chunk a slice, opened for each item."""

    def __init__(self, folder: Path) -> None:
        self.files = sorted(folder.glob("*.h5"))

    def __len__(self) -> int:
        return len(self.files) * SLICES

    def __getitem__(self, index: int) -> tuple[torch.Tensor, float]:
        with h5py.File(self.files[index // SLICES], "r") as file:
            image = file["slices"][index % SLICES]
            return torch.from_numpy(image[None].astype(np.float32)), float(file.attrs["age"])


def measure() -> list[Row]:
    """Read the same slices three ways, shuffled, as float32 batches of 64."""
    images = brains(SCANS * SLICES)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        loader = DataLoader(_write_gzip(folder, images), batch_size=BATCH, shuffle=True)
        peer = seconds(lambda: sum(len(batch) for batch, _ in loader), repeats=3)
        np.save(folder / "slices.npy", images)
        mapped = _read(MappedSlices(_split(np.load(folder / "slices.npy", mmap_mode="r")), torch.device("cpu")))
    resident = _read(ResidentSlices(_split(images), torch.device("cpu")))
    count = len(images)
    return [
        Row(
            f"data path, {name}",
            "slices/s",
            count / ours,
            count / peer,
            goal=">= 50 x",
            peer_name="HDF5 gzip per item + DataLoader",
        )
        for name, ours in (("resident", resident), ("memory-mapped", mapped))
    ]


def brains(count: int) -> np.ndarray:
    """Smooth noise in a disc on a background of zeros: about as compressible as brains are."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[-1 : 1 : EDGE * 1j, -1 : 1 : EDGE * 1j]
    mask = (rows**2 + columns**2) < 0.6
    return ((rng.standard_normal((count, EDGE, EDGE)) + rows) * mask).astype(np.float16)


def _write_gzip(folder: Path, images: np.ndarray) -> GzipSlices:
    for scan in range(SCANS):
        with h5py.File(folder / f"{scan:03d}.h5", "w") as file:
            part = images[scan * SLICES : (scan + 1) * SLICES].astype(np.float32)
            file.create_dataset("slices", data=part, chunks=(1, EDGE, EDGE), compression="gzip")
            file.attrs["age"] = 70.0
    return GzipSlices(folder)


def _split(images: np.ndarray) -> StoredSplit:
    return StoredSplit(
        scans=pd.DataFrame({"age_years": np.full(SCANS, 70.0)}),
        shards=(images,),
        label_shards=(),
        slice_scan=np.repeat(np.arange(SCANS), SLICES),
        slice_position=np.zeros(len(images), np.float32),
    )


def _read(slices: Slices) -> float:
    order = np.random.default_rng(0).permutation(len(slices))
    parts = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
    return seconds(lambda: sum(float(batch.images[0, 0, 0, 0]) for batch in slices.batches(parts)))
