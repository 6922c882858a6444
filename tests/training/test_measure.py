from __future__ import annotations

from pathlib import Path

import pytest

from brainage_ray.config import TrainingConfig, TrainingRun, UNetConfig
from brainage_ray.models import build_age_model
from brainage_ray.training.measure import measure_step

SMALL = UNetConfig(kind="unet", width=0.125, depth=3)
TRAINING = TrainingConfig(batch_size=2)


def run(task):
    return TrainingRun(
        task=task, backbone=SMALL, training=TRAINING, seed=0, store=Path(), store_hash="", folder=Path(), device="cpu"
    )


@pytest.mark.parametrize("task", ["age", "segmentation"])
def test_a_step_takes_time_and_the_network_has_weights(task):
    seconds, weights = measure_step(run(task), (32, 32), repeats=1)
    assert 0 < seconds < 60
    assert weights > 1000


def test_the_weights_counted_are_the_networks():
    _, weights = measure_step(run("age"), (32, 32), repeats=1)
    assert weights == sum(p.numel() for p in build_age_model(SMALL, TRAINING).parameters())
