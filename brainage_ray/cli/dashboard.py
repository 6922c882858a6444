"""`brainage ui --optuna`."""

from __future__ import annotations

from pathlib import Path

import typer

from brainage_ray.execution import serve_dashboard


def show_dashboard(workspace: Path, storage: str | None, host: str, port: int) -> None:
    """Serve Optuna's dashboard until Ctrl-C."""
    serve_dashboard(workspace, storage or None, (host, port), typer.echo)
