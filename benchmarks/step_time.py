"""Milliseconds of a whole training step: batch, augmentation, forward, backward, optimizer."""

from __future__ import annotations

import torch

from benchmarks.measure import Row
from brainage_ray.config import BackboneConfig, ResNetConfig, TrainingConfig, UNetConfig
from brainage_ray.pipeline.plan import template_run
from brainage_ray.training.measure import measure_step

SHAPE = (96, 96)
CPU_BATCH, GPU_BATCH = 8, 64


def measure() -> list[Row]:
    """Measure both published backbones, on the GPU where there is one, else on the CPU."""
    gpu = torch.cuda.is_available()
    batch = GPU_BATCH if gpu else CPU_BATCH
    backbones: dict[str, BackboneConfig] = {
        "U-Net": UNetConfig(kind="unet"),
        "ResNet-50": ResNetConfig(kind="resnet50"),
    }
    rows = []
    for name, backbone in backbones.items():
        for task in ("age", "segmentation"):
            training = TrainingConfig(batch_size=batch, precision="bf16" if gpu else "float32")
            run = template_run(task, backbone, training)  # type: ignore[arg-type]
            placed = run.model_copy(update={"threads": torch.get_num_threads()})
            per_slice, _ = measure_step(placed, SHAPE, repeats=5)
            where = torch.cuda.get_device_name() if gpu else f"CPU, {torch.get_num_threads()} threads"
            what = f"step, {name} {task}, batch {batch}, {training.precision}, {where}"
            rows.append(Row(what, "ms", 1000 * per_slice * batch, more_is_better=False))
    return rows
