"""What supervisord runs of ours: `python -m brainage_ray.services.programs mlflow|backups WORKSPACE`."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import NoReturn

from brainage_ray.services.backups import keep_backing_up
from brainage_ray.services.postgresql import answers
from brainage_ray.services.processes import end_left_behind
from brainage_ray.services.site import HOST, Settings, Site, mlflow_url
from brainage_ray.tracking.ui import SERVER_ENVIRONMENT

WORKERS = min(4, max(1, (os.cpu_count() or 1) // 2))
"""Each takes 250 MB, and seconds of a processor to start."""
HOSTS = "localhost,localhost:*,127.0.0.1,127.0.0.1:*"
"""Names that a browser may ask for: the end of a tunnel, on any port. Another may be a page that rebinds its own."""
_POSTGRES_SECONDS = 60.0


def main(name: str, workspace: str) -> None:
    """Run a service, once the database answers; if it does not, end, and be started again."""
    site = Site(Path(workspace))
    settings = site.settings()
    deadline = time.monotonic() + _POSTGRES_SECONDS
    while not answers(site, settings, "mlflow"):
        if time.monotonic() > deadline:
            sys.exit("PostgreSQL does not answer")
        time.sleep(0.2)
    end_left_behind(site, name)
    if name == "backups":
        keep_backing_up(site, settings)
    serve_mlflow(site, settings)


def mlflow_command(site: Site, settings: Settings) -> list[str]:
    """Return the command line of MLflow's server; the passwords come through files and the environment."""
    options = {
        "--app-name": "basic-auth",
        "--host": HOST,
        "--port": str(settings.port),
        "--workers": str(WORKERS),
        "--backend-store-uri": mlflow_url(settings, "mlflow"),
        "--artifacts-destination": site.artifacts(settings),
        "--allowed-hosts": HOSTS,
    }
    words = [word for option in options.items() for word in option]
    return [sys.executable, "-m", "mlflow", "server", "--serve-artifacts", *words]


def serve_mlflow(site: Site, settings: Settings) -> NoReturn:
    """Become MLflow's server."""
    passwords = site.passwords()
    environment = {
        **os.environ,
        **SERVER_ENVIRONMENT,
        "MLFLOW_AUTH_CONFIG_PATH": str(site.auth_settings),
        "MLFLOW_AUTH_ADMIN_PASSWORD": passwords["mlflow_admin"],
        "MLFLOW_FLASK_SERVER_SECRET_KEY": passwords["mlflow_cookies"],
    }
    command = mlflow_command(site, settings)
    os.execve(command[0], command, environment)


if __name__ == "__main__":
    main(*sys.argv[1:])
