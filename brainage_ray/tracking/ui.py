"""MLflow's own pages on a workspace."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from brainage_ray.errors import EngineError
from brainage_ray.tracking.client import ENVIRONMENT, require_database, store_uri

SERVER_ENVIRONMENT = {**ENVIRONMENT, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
"""Without the runner for jobs that we have none of, the server starts and ends in half the time."""


def ui_command(workspace: Path, host: str = "127.0.0.1", port: int = 5000) -> list[str]:
    """Return the command line of MLflow's server on a workspace.

    Args:
        workspace: folder with `mlflow.db`.
        host: address to listen on; the pages ask for no password, so the loopback is the default.
        port: to listen on.

    Raises:
        EngineError: nothing was tracked in this workspace yet.
    """
    require_database(workspace)
    options = {
        "--backend-store-uri": store_uri(workspace),
        "--default-artifact-root": (workspace.resolve() / "artifacts").as_uri(),
        "--host": host,
        "--port": str(port),
        "--workers": "1",
        "--uvicorn-opts": "--log-level warning",
    }
    return [sys.executable, "-m", "mlflow", "server", *(word for option in options.items() for word in option)]


def serve_ui(workspace: Path, host: str, port: int, say: Callable[[str], object]) -> int:
    """Serve MLflow's pages until Ctrl-C.

    Args:
        workspace: folder with `mlflow.db`.
        host: address to listen on.
        port: to listen on.
        say: told where the pages are, once nothing is in their way.

    Returns:
        Exit status of the server.

    Raises:
        EngineError: nothing was tracked in this workspace yet, or the port is taken.
    """
    command = ui_command(workspace, host, port)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise EngineError(f"Cannot listen on {host}:{port}: {error.strerror}", "Give another --port.") from None
    say(f"MLflow on http://{host}:{port} (Ctrl-C ends it)")
    with subprocess.Popen(command, env={**os.environ, **SERVER_ENVIRONMENT}) as server:
        try:
            return server.wait()
        except KeyboardInterrupt:
            server.terminate()
            return 0
