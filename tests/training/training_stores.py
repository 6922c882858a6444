"""Tiny stores that can be learnt in seconds, and runs on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from brainage_ray.config import PreprocessingConfig, TrainingConfig, TrainingRun, UNetConfig
from brainage_ray.config.read import validate
from brainage_ray.data import PreparedScan, Scan, SealedTest, SliceStore, StoreRow, write_store, write_test

SHAPE = (32, 32)
SLICES = 4
TINY_UNET = UNetConfig(kind="unet", width=0.125, depth=3)


def age_store(folder: Path, ages: dict[str, list[float]], diagnoses: tuple[str, ...] = ("CN",)) -> SliceStore:
    """A store of discs whose radius is the age; the scans of a split take the diagnoses in turn."""
    return write_store(folder, age_rows(folder, ages, diagnoses), "age", preprocessing())


def sealed_store(folder: Path, ages: list[float]) -> SealedTest:
    """A test split of such discs."""
    return write_test(folder, age_rows(folder, {"test": ages}, ("CN",)), preprocessing())


def age_rows(folder: Path, ages: dict[str, list[float]], diagnoses: tuple[str, ...]) -> list[StoreRow]:
    rng = np.random.default_rng(0)
    rows = []
    for split, split_ages in ages.items():
        for i, age in enumerate(split_ages):
            scan = Scan("Toy", f"{split}{i}", "bl", f"{split}{i}", {}, age_years=age)
            images = np.stack([disc(4 + (age - 50) / 5, rng)[0] for _ in range(SLICES)])
            prepared = write_prepared(folder.with_name(f"{folder.name}-cache"), scan, images, None)
            rows.append(StoreRow(scan, prepared, split, diagnoses[i % len(diagnoses)]))
    return rows


def segmentation_store(folder: Path, cases: dict[str, int]) -> SliceStore:
    """A store of three rings; each class has an intensity of its own in each of the four channels."""
    rng = np.random.default_rng(1)
    rows = []
    for split, count in cases.items():
        for i in range(count):
            scan = Scan("Rings", f"{split}{i}", "bl", f"{split}{i}", {}, segmentation=Path("seg.nii"))
            drawn = [rings(rng) for _ in range(SLICES)]
            images, labels = (np.stack(part) for part in zip(*drawn, strict=True))
            prepared = write_prepared(folder.with_name(f"{folder.name}-cache"), scan, images, labels)
            rows.append(StoreRow(scan, prepared, split))
    return write_store(folder, rows, "segmentation", preprocessing())


def disc(radius: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]] - (15.5 + rng.uniform(-1, 1, size=(2, 1, 1)))
    distance = np.hypot(x, y)
    image = np.where(distance < radius, 1 + 0.1 * rng.standard_normal(SHAPE), 0)
    return image.astype(np.float16), distance


def rings(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    _, distance = disc(10, rng)
    labels = np.select([distance < 4, distance < 8, distance < 11], [1, 3, 2], 0).astype(np.uint8)
    levels = np.array([[0, 1, -1, 2], [0, 2, 1, -1], [0, -1, 2, 1], [0, 1, 2, -1]])
    noise = 0.1 * rng.standard_normal((4, *SHAPE)) * (labels > 0)
    return (levels[:, labels] + noise).astype(np.float16), labels


def write_prepared(cache: Path, scan: Scan, images: np.ndarray, labels: np.ndarray | None) -> PreparedScan:
    cache.mkdir(parents=True, exist_ok=True)
    paths = {"images": cache / f"{scan.image}.npy", "labels": cache / f"{scan.image}-labels.npy"}
    np.save(paths["images"], images)
    if labels is not None:
        np.save(paths["labels"], labels)
    positions = tuple(40.0 + 10 * i for i in range(len(images)))
    return PreparedScan(
        scan.image, paths["images"], paths["labels"] if labels is not None else None, positions, len(images), "0", 1.0
    )


def preprocessing() -> PreprocessingConfig:
    return PreprocessingConfig(slice_shape=SHAPE)


def make_run(store: SliceStore, folder: Path, training: dict[str, Any] | None = None, **fields: Any) -> TrainingRun:
    """A run of the tiny U-Net on the CPU, with settings that learn in a few epochs."""
    settings = {"batch_size": 16, "max_epochs": 3, "optimizer": {"lr": 3.0e-3}, **(training or {})}
    return TrainingRun(
        **{
            "task": store.kind,
            "backbone": TINY_UNET,
            "training": validate(TrainingConfig, settings, "the test"),
            "seed": 0,
            "store": store.folder,
            "store_hash": store.content_hash,
            "folder": folder,
            "device": "cpu",
            **fields,
        }
    )


def losses(curve: Any) -> list[dict[str, float]]:
    """A curve without the times, which are never the same twice."""
    return [{name: value for name, value in metrics.items() if name != "seconds"} for metrics in curve]
