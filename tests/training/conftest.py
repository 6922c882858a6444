from __future__ import annotations

import pytest
from training_stores import age_store, segmentation_store

from brainage_ray.data import SliceStore


@pytest.fixture(scope="session")
def ages(tmp_path_factory: pytest.TempPathFactory) -> SliceStore:
    """36 training and 8 validation scans of the ages 50 to 90."""
    folder = tmp_path_factory.mktemp("ages") / "store"
    train = [50 + 40 * i / 35 for i in range(36)]
    return age_store(folder, {"train": train, "validation": train[2::4][:8]})


@pytest.fixture(scope="session")
def tumours(tmp_path_factory: pytest.TempPathFactory) -> SliceStore:
    """8 training and 3 validation cases."""
    return segmentation_store(tmp_path_factory.mktemp("tumours") / "store", {"train": 8, "validation": 3})
