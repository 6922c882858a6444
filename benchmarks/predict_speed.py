"""Scans a second, from file to table and in the networks alone, against a loop that takes one slice after the other.

The networks are drawn at random: their speed does not depend on what they have learned.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from benchmarks.measure import Row, seconds
from brainage_ray.config import FitResult, PreprocessingConfig, TrainingConfig, TrainingRun, UNetConfig
from brainage_ray.data.prepare_given import prepare_given
from brainage_ray.models import build_age_model, save_state
from brainage_ray.pipeline.ensemble import Ensemble, split_of
from brainage_ray.pipeline.fitted import FittedModel
from brainage_ray.pipeline.model_folder import read_model_folder, write_model_folder
from brainage_ray.pipeline.predict import PredictOptions, predict

SETTINGS = PreprocessingConfig(slice_origin="brain_top", slice_range_mm=(30.0, 110.0))
SEEDS, SCANS, MANY = 2, 16, 1000


def measure() -> list[Row]:
    """Measure on the CPU and, where there is one, on the GPU."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_model(folder / "model")
        scans = write_scans(folder / "scans", SCANS)
        devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
        rows = [row for device in devices for row in _on(device, folder, scans)]
        return [*rows, *_memory(folder)]


def write_model(folder: Path) -> None:
    """Write the folder of a U-Net of a quarter of the published width, as experiments/ixi.yaml has it."""
    folder.mkdir()
    backbone, training = UNetConfig(kind="unet", width=0.25, depth=5), TrainingConfig()
    models = []
    for seed in range(SEEDS):
        torch.manual_seed(seed)
        weights = folder.parent / f"weights-{seed}.safetensors"
        sha256 = save_state(build_age_model(backbone, training), weights)
        run = TrainingRun(
            task="age", backbone=backbone, training=training, seed=seed, store=folder, store_hash="0", folder=folder
        )
        fit = FitResult(
            key=run.key, curve=(), target_mean_years=60, target_sd_years=10, weights=weights, weights_sha256=sha256
        )
        models.append(FittedModel("unet", seed, run, fit))
    write_model_folder(folder, "speed", SETTINGS, models)


def write_scans(folder: Path, count: int) -> list[Path]:
    """Write ellipsoids of noise on the grid of a brain at 2 mm: as much to read and to resample as a scan of IXI."""
    folder.mkdir()
    grid = np.indices((80, 96, 80)) - np.array([40, 48, 40])[:, None, None, None]
    inside = (grid[0] / 34) ** 2 + (grid[1] / 42) ** 2 + (grid[2] / 32) ** 2 < 1
    paths = []
    for i in range(count):
        volume = np.where(inside, 100 + 10 * np.random.default_rng(i).standard_normal(inside.shape), 0)
        paths.append(folder / f"{i:04d}.nii.gz")
        nib.Nifti1Image(volume.astype(np.float32), np.diag([2.0, 2.0, 2.0, 1.0])).to_filename(paths[-1])
    return paths


def _on(device: str, folder: Path, scans: list[Path]) -> list[Row]:
    model = folder / "model"
    loop = len(scans) / seconds(lambda: one_by_one(model, scans, device), 1)
    rows = []
    for workers in (1, 2):
        options = PredictOptions(device=device, workers=workers)
        rate = len(scans) / seconds(lambda options=options: predict(model, scans, options), 1)
        name = f"predict, {device}, {len(scans)} scans of 40 slices, {SEEDS} seeds, {workers} workers"
        rows.append(Row(name, "scans/s", rate, loop, peer_name="a loop over scans, seeds and slices"))
    networks = Ensemble(model, read_model_folder(model), device)
    prepared = [prepare_given(path, SETTINGS, folder / "cache").prepared for path in scans]
    alone = len(scans) / seconds(lambda: _slices_alone(networks, prepared[:2]), 1) * 2 / len(scans)
    for size in (1, len(scans)):
        splits = [split_of(prepared[start : start + size]) for start in range(0, len(scans), size)]
        rate = len(scans) / seconds(lambda splits=splits: [networks.slice_years(split) for split in splits], 2)
        rows.append(
            Row(f"networks alone, {device}, {size} scans a batch", "scans/s", rate, alone, peer_name="slice by slice")
        )
    return rows


def one_by_one(model: Path, scans: list[Path], device: str) -> list[float]:
    """Predict as the first script does: prepare a scan, then a seed, then a slice at a time."""
    networks = Ensemble(model, read_model_folder(model), device)
    ages = []
    for path in scans:
        with tempfile.TemporaryDirectory() as cache:
            years = _slices_alone(networks, [prepare_given(path, SETTINGS, Path(cache)).prepared])
        ages.append(float(np.median(years)))
    return ages


def _slices_alone(networks: Ensemble, prepared: list) -> np.ndarray:
    whole = split_of(prepared)
    parts = []
    for i in range(len(whole.slice_scan)):
        image = torch.from_numpy(whole.images()[i : i + 1, None].astype(np.float32)).to(networks.device)
        with torch.inference_mode():
            parts.append([float(network(image, None)) for network in networks._networks])
    return np.array(parts)


def _memory(folder: Path) -> list[Row]:
    """Compare the largest process of a few scans with that of MANY: the same files under other names."""
    few, many = (_peak(folder, count) for count in (SCANS, MANY))
    what = f"predict, peak memory over {MANY:,} scans, against {SCANS}"
    return [Row(what, "MB", many, few, more_is_better=False, goal="<= 1.05 x", peer_name=f"{SCANS} scans")]


def _peak(folder: Path, count: int) -> float:
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.predict_speed", str(folder), str(count)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return float(run.stdout)


def main() -> None:
    """Predict some scans of a folder, in turn, and print the peak memory of this process, MB."""
    folder, count = Path(sys.argv[1]), int(sys.argv[2])
    scans = sorted((folder / "scans").iterdir())
    predict(folder / "model", [scans[i % len(scans)] for i in range(count)], PredictOptions(device="cpu"))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


if __name__ == "__main__":
    main()
