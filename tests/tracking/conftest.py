"""A workspace whose MLflow database exists already: to make one takes seconds."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from brainage_ray.tracking.client import all_runs, open_existing
from brainage_ray.training.recorder import RunInfo

FIRST_USE = """
import sys
from pathlib import Path
from brainage_ray.tracking import MlflowTracker
with MlflowTracker(Path(sys.argv[1]), "first") as tracker:
    assert tracker.flush(120)
"""


MLFLOW_WITH_SQLALCHEMY_2_1 = "ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings(MLFLOW_WITH_SQLALCHEMY_2_1))


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Undo what opening MLflow sets."""
    before = dict(os.environ)
    yield
    for name in set(os.environ) - set(before):
        if name.startswith("MLFLOW"):
            del os.environ[name]


@pytest.fixture(scope="session")
def first_use(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A workspace after its first use, and what that printed."""
    workspace = tmp_path_factory.mktemp("first")
    command = [sys.executable, "-c", FIRST_USE, str(workspace)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    return workspace, done.stdout + done.stderr


@pytest.fixture
def workspace(first_use: tuple[Path, str], tmp_path: Path) -> Path:
    folder = tmp_path / "my runs"
    folder.mkdir()
    shutil.copy(first_use[0] / "mlflow.db", folder / "mlflow.db")
    return folder


@pytest.fixture
def runs_of(workspace: Path) -> Callable[[str], dict[str, Any]]:
    """Read back the runs of an experiment by their keys; fails where two runs have one key."""

    def read(experiment: str) -> dict[str, Any]:
        client = open_existing(workspace)
        rows = list(all_runs(client, client.get_experiment_by_name(experiment).experiment_id))
        by_key = {row.data.tags["brainage.key"]: row for row in rows}
        assert len(by_key) == len(rows)
        return by_key

    return read


@pytest.fixture
def steps_of(workspace: Path) -> Callable[[str, str], list[int]]:
    """Read back the epochs of a run's metric, in the order in which they were written."""
    return lambda run_id, metric: [row.step for row in open_existing(workspace).get_metric_history(run_id, metric)]


@pytest.fixture
def trial() -> Callable[..., RunInfo]:
    """Make a trial's description: number, group, params."""

    def describe(number: int, parent: str = "unet+brats/study", **params: Any) -> RunInfo:
        return RunInfo(f"key{number}", f"trial {number}", "trial", parent, params or {"training.optimizer.lr": 1e-4})

    return describe
