"""MLflow's client, opened without its noise, and what its errors mean."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from brainage_ray.errors import ConfigError, EngineError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

KEY_TAG = "brainage.key"
KIND_TAG = "brainage.kind"
PARENT_TAG = "mlflow.parentRunId"
_TEMPORARY = {"TEMPORARILY_UNAVAILABLE", "INTERNAL_ERROR", "REQUEST_LIMIT_EXCEEDED"}
_REFUSED = (401, 403)
_LOGIN = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
_LONGEST = 200
"""Characters of what a server says that a message shows."""
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


def open_existing(workspace: Path, uri: str | None = None) -> MlflowClient:
    """Open a workspace's store for reading, or a server's.

    Raises:
        EngineError: nothing was tracked in this workspace yet.
    """
    if uri is None:
        require_database(workspace)
    return open_client(uri or store_uri(workspace))


def check_server(uri: str) -> None:
    """See that an MLflow server takes runs from us.

    Raises:
        ConfigError: this is no URL of a server, or has a password in it, which every run's page would show.
        EngineError: no MLflow answers there, or it wants another name and password.
    """
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError("--tracking names no MLflow server", "Write http://HOST:PORT; for files, leave it out.")
    if parts.username or parts.password:
        raise ConfigError(f"--tracking has a name or password before {parts.hostname}", f"Put them into {_LOGIN}.")
    load_mlflow()
    from mlflow import MlflowException

    try:
        open_client(uri).search_experiments(max_results=1)
    except MlflowException as error:
        if error.get_http_status_code() in _REFUSED or any(f"error code {code}" in str(error) for code in _REFUSED):
            raise EngineError(f"MLflow at {uri} does not let us in", f"Set {_LOGIN}.") from None
        problem = f"MLflow does not answer at {uri}: {_why(error)}"
        raise EngineError(problem, "Start it, open the tunnel to it, or leave out --tracking.") from None


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


def _why(error: Exception) -> str:
    """Say why a server was not reached: what the system says, without the calls on the way there."""
    text = first_line(error)
    said = re.search(r"\[Errno -?\d+\] ([^'\")]+)", text)
    if said:
        return said[1].strip()
    if "timed out" in text:
        return "no answer in time"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def first_line(error: Exception) -> str:
    """Return the first line of an error's text; the rest is SQL."""
    return str(error).strip().partition("\n")[0]
