"""Rows for small slice stores, for the tests of this folder."""

from __future__ import annotations

import numpy as np

from brainage_ray.config import PreprocessingConfig
from brainage_ray.data.prepare import PreparedScan
from brainage_ray.data.scan import Scan
from brainage_ray.data.store_write import StoreRow

CONFIG = PreprocessingConfig(slice_shape=(16, 16))
COUNTS = {"train": [3, 1, 5, 2, 4], "validation": [2, 3], "test": [4, 1]}


def prepared(folder, key, n, channels=(), labels=False):
    """Slices as preparation leaves them; each holds its own number."""
    rng = np.random.default_rng(int(key, 16))
    folder.mkdir(exist_ok=True)
    images = folder / f"{key}.images.npy"
    np.save(images, rng.normal(size=(n, *channels, 16, 16)).astype(np.float16))
    path = folder / f"{key}.labels.npy"
    if labels:
        np.save(path, rng.integers(0, 4, (n, 16, 16)).astype(np.uint8))
    positions = tuple(36.0 + 2 * i for i in range(n))
    return PreparedScan(key, images, path if labels else None, positions, n, key * 4, 1400.0)


def age_rows(folder, counts=COUNTS):
    rows = []
    for split, sizes in counts.items():
        for n in sizes:
            i = len(rows)
            scan = Scan("C", f"S{i:02d}", "1", f"I{i}", {}, age_years=50.0 + i, sex="F", site="x", phase="ADNI-1")
            rows.append(StoreRow(scan, prepared(folder, f"{i:016x}", n), split, "CN"))
    return rows


def open_rows(rows):
    return [row for row in rows if row.split != "test"]


def tested_rows(rows):
    return [row for row in rows if row.split == "test"]


def case_rows(folder):
    splits = ["train", "train", "validation"]
    return [
        StoreRow(Scan("B", f"T{i}", "", f"T{i}", {}), prepared(folder, f"{i:016x}", 3, (4,), labels=True), split)
        for i, split in enumerate(splits)
    ]
