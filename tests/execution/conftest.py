from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent / "training"))

from training_stores import age_store

from brainage_ray.data import SliceStore
from brainage_ray.execution import Cluster


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose path is short enough for Ray's sockets."""
    with tempfile.TemporaryDirectory(prefix="bk", dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def ages(tmp_path_factory: pytest.TempPathFactory) -> SliceStore:
    """16 training and 4 validation scans, for trainings of milliseconds."""
    train = [50 + 40 * i / 15 for i in range(16)]
    return age_store(tmp_path_factory.mktemp("ages") / "store", {"train": train, "validation": train[1::4]})


@pytest.fixture
def drivers() -> Iterator[None]:
    """Ends the drivers that a test leaves behind when it fails, so that they hold none of the tests' cluster."""
    yield
    import survival_plans

    survival_plans.kill_drivers()


@pytest.fixture
def address(cluster: Cluster, drivers: None) -> str:
    """Where the tests' cluster listens, for drivers of their own."""
    import ray

    return str(ray.get_runtime_context().gcs_address)
