from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent / "training"))

from training_stores import age_store

from brainage_ray.data import SliceStore


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


class Machines:
    """A cluster of several raylets; a head without CPUs and one node of two at first."""

    def __init__(self, folder: Path) -> None:
        script = Path(__file__).parent / "survival_cluster.py"
        self._process = subprocess.Popen(
            [sys.executable, str(script), str(folder)], env={**os.environ, "RAY_TMPDIR": str(folder)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        self.address = self._process.stdout.readline().strip()

    def do(self, what: str) -> None:
        """Add a node, or remove the oldest."""
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "done\n"

    def close(self) -> None:
        """End the cluster."""
        self._process.communicate(timeout=60)


@pytest.fixture(scope="session")
def machines() -> Iterator[Machines]:
    """One cluster for all tests of a session that end drivers or nodes."""
    with tempfile.TemporaryDirectory(prefix="bk", dir="/tmp", ignore_cleanup_errors=True) as folder:
        machines = Machines(Path(folder))
        yield machines
        machines.close()
