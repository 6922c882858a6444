"""Processes of the services, found again after their supervisor is gone."""

from __future__ import annotations

import os
import time
from contextlib import suppress

import psutil

from brainage_ray.services.site import Site

MARK = "BRAINAGE_SERVICES"
"""In the environment of supervisord and all below it: the folder that they serve."""
NAME = "SUPERVISOR_PROCESS_NAME"
"""Which of the services it is; supervisord sets it."""


def ended(process: psutil.Process) -> bool:
    """Tell whether a process has ended, also where nobody has taken note of its end."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def ends_within(process: psutil.Process, seconds: float) -> bool:
    """Wait for a process to end; tell whether it did in time."""
    deadline = time.monotonic() + seconds
    while not ended(process):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def end_left_behind(site: Site, name: str | None = None, seconds: float = 30.0) -> None:
    """End at once what is left of a service, such as MLflow's workers after their parent was killed.

    They hold the port, so that the next server could not start. PostgreSQL is left alone: it is stopped gently.

    Args:
        site: whose services.
        name: the service; None: all, and supervisord.
        seconds: after which those that do not end are left.
    """
    deadline = time.monotonic() + seconds
    while (left := [p for p in psutil.process_iter() if _is_of(p, site, name)]) and time.monotonic() < deadline:
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        # One that is ending has no environment any more, but its ports still.
        while not all(map(ended, left)) and time.monotonic() < deadline:
            time.sleep(0.05)


def _is_of(process: psutil.Process, site: Site, name: str | None) -> bool:
    try:
        environment = process.environ()
        if environment.get(MARK) != str(site.folder) or process.pid == os.getpid() or ended(process):
            return False
    except (psutil.Error, OSError):
        return False
    service = environment.get(NAME)
    return service != "postgresql" and (name is None or service == name)


def who_listens(port: int) -> str:
    """Return the name and number of the process that listens on a port, as far as we may know."""
    with suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN and tuple(connection.laddr)[1:] == (port,)
            if listens and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    return "another process"
