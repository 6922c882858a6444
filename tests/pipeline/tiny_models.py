"""A folder of a model that nobody trained, and a brain for it."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import torch

from brainage_ray.config import FitResult, PreprocessingConfig, TrainingConfig, TrainingRun, UNetConfig
from brainage_ray.models import build_age_model, save_state
from brainage_ray.pipeline.export_pyfunc import template_upload
from brainage_ray.pipeline.fitted import FittedModel
from brainage_ray.pipeline.model_folder import write_model_folder

COARSE = PreprocessingConfig(voxel_mm=4.0, slice_step_mm=8.0, slice_shape=(64, 48))
BACKBONE = UNetConfig(kind="unet", width=0.125, depth=3)


def write_model(folder: Path, seeds: tuple[int, ...] = (0, 1), **training: Any) -> Path:
    """Networks with drawn weights that read the position of a slice as well."""
    settings = TrainingConfig(slice_position=True, **training)
    models = []
    for seed in seeds:
        torch.manual_seed(seed)
        weights = folder.with_name(f"{folder.name}-weights") / f"{seed}.safetensors"
        sha256 = save_state(build_age_model(BACKBONE, settings), weights)
        run = TrainingRun(
            task="age", backbone=BACKBONE, training=settings, seed=seed, store=Path(), store_hash="0" * 16,
            folder=folder, device="cpu",
        )  # fmt: skip
        fit = FitResult(
            key=run.key, curve=(), target_mean_years=60.0 + seed, target_sd_years=15.0, weights=weights,
            weights_sha256=sha256,
        )  # fmt: skip
        models.append(FittedModel("unet", seed, run, fit))
    folder.mkdir(parents=True, exist_ok=True)
    write_model_folder(folder, "tiny", COARSE, models)
    return folder


def write_brain(path: Path) -> Path:
    """The template's brain at 4 mm, .nii.gz."""
    path.write_bytes(base64.b64decode(template_upload()))
    return path
