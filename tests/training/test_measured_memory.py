from __future__ import annotations

from pathlib import Path

import pytest
import torch
from training_stores import make_run

from brainage_ray.data import SliceStore
from brainage_ray.training.memory import measure_memory


@pytest.mark.gpu
def test_a_gpu_is_measured_with_all_seeds(ages: SliceStore, gpu: torch.device, tmp_path: Path):
    run = make_run(ages, tmp_path, {"batch_size": 512}, device=gpu.type)
    _, one, total = measure_memory([[run]])
    _, two, _ = measure_memory([[run, run.model_copy(update={"seed": 1})]])
    assert 0 < one < two < total
