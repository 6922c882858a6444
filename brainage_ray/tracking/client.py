"""MLflow's client, opened without its noise, and what its errors mean."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from brainage_ray.errors import EngineError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

KEY_TAG = "brainage.key"
KIND_TAG = "brainage.kind"
PARENT_TAG = "mlflow.parentRunId"
_TEMPORARY = {"TEMPORARILY_UNAVAILABLE", "INTERNAL_ERROR", "REQUEST_LIMIT_EXCEEDED"}
_FINAL = (FileNotFoundError, NotADirectoryError, PermissionError)
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # writes wait in a queue of ours and are tried again from there
}


def database(workspace: Path) -> Path:
    """Return the path of a workspace's MLflow database."""
    return workspace.resolve() / "mlflow.db"


def store_uri(workspace: Path) -> str:
    """Return the URI of a workspace's MLflow database."""
    return f"sqlite:///{database(workspace)}"


def load_mlflow() -> None:
    """Import MLflow (seconds) without telemetry and without its log lines.

    Its errors reach us as exceptions and are reported from there; its own log repeats each as a stack trace.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import mlflow  # noqa: F401

    logging.getLogger("mlflow").setLevel(logging.CRITICAL)
    logging.getLogger("alembic").setLevel(logging.WARNING)


def open_client(uri: str) -> MlflowClient:
    """Open a tracking store; makes or migrates the database of a `sqlite:` URI, which takes seconds."""
    load_mlflow()
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def open_existing(workspace: Path) -> MlflowClient:
    """Open a workspace's store for reading.

    Raises:
        EngineError: nothing was tracked in this workspace yet.
    """
    require_database(workspace)
    return open_client(store_uri(workspace))


def require_database(workspace: Path) -> None:
    """Check that a workspace has an MLflow database.

    Raises:
        EngineError: it has none.
    """
    path = database(workspace)
    if not path.is_file():
        raise EngineError(f"There is no {path}", "Run an experiment in this workspace first, or give another one.")


def all_runs(client: MlflowClient, experiment_id: str) -> Iterator[Run]:
    """Yield every run of an MLflow experiment that nobody deleted, page by page."""
    page = client.search_runs([experiment_id], max_results=1000)
    yield from page
    while page.token:
        page = client.search_runs([experiment_id], max_results=1000, page_token=page.token)
        yield from page


def is_temporary(error: Exception) -> bool:
    """Tell whether a write may succeed later: the database is locked, the disk full or the server down."""
    if isinstance(error, OSError):
        return not isinstance(error, _FINAL)
    return getattr(error, "error_code", "") in _TEMPORARY


def first_line(error: Exception) -> str:
    """Return the first line of an error's text; the rest is SQL."""
    return str(error).strip().partition("\n")[0]
