"""supervisord: what it runs, and how to ask it."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from http.client import HTTPException
from typing import Any
from xmlrpc.client import Fault, ServerProxy

import psutil

from brainage_ray.errors import EngineError
from brainage_ray.services.postgresql import owner, server_command
from brainage_ray.services.processes import MARK, ends_within
from brainage_ray.services.site import Settings, Site, clean_environment, write_private

SERVICES = ("postgresql", "mlflow", "backups")
_HEAD = """\
[unix_http_server]
file={folder}/sock
chmod=0700

[supervisord]
directory={folder}
pidfile={folder}/supervisord.pid
logfile={folder}/logs/supervisord.log
logfile_maxbytes=10MB
logfile_backups=5
umask=077
{user}

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
"""
_PROGRAM = """
[program:{name}]
command={command}
directory={directory}
priority={priority}
autorestart=true
startretries=100
stopwaitsecs=60
redirect_stderr=true
stdout_logfile={logs}/{name}.log
stdout_logfile_maxbytes=10MB
stdout_logfile_backups=5
{more}
"""
_GROUP = "startsecs=2\nstopasgroup=true\nkillasgroup=true"
_SLOW_GROUP = _GROUP.replace("2", "10")
"""Of what imports for seconds before it may fail: then it is tried again ever more slowly, not for ever at once."""
_STOP_SECONDS = 150


def write_configuration(site: Site, settings: Settings) -> None:
    """Write supervisord's file; no password is in it. Services stop in the reverse of the order in which they start."""
    user = owner()
    fast = "startsecs=2\nstopsignal=INT" + (f"\nuser={user}" if user else "")
    ours = [sys.executable, "-m", "brainage_ray.services.programs"]
    head = _HEAD.format(folder=_escaped(str(site.folder)), user="user=root" if user else "")
    programs = [
        _program(site, "postgresql", server_command(site, settings), fast),
        _program(site, "mlflow", [*ours, "mlflow", str(site.workspace)], _SLOW_GROUP),
        _program(site, "backups", [*ours, "backups", str(site.workspace)], _GROUP),
    ]
    write_private(site.folder / "supervisord.conf", "".join([head, *programs]))


def _program(site: Site, name: str, command: list[str], more: str) -> str:
    directory = site.database if name == "postgresql" else site.folder
    return _PROGRAM.format(
        name=name, command=_escaped(shlex.join(command)), directory=_escaped(str(directory)), more=more,
        logs=_escaped(str(site.logs)), priority=100 * (SERVICES.index(name) + 1),
    )  # fmt: skip


def _escaped(text: str) -> str:
    return text.replace("%", "%%")


def launch(site: Site) -> None:
    """Start supervisord, which goes on without us.

    Raises:
        EngineError: it does not start.
    """
    command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(site.folder / "supervisord.conf")]
    python = os.pathsep.join(filter(None, sys.path))  # what we import, the services shall find too
    environment = {**clean_environment(site), "PYTHONPATH": python, MARK: str(site.folder)}
    said = subprocess.run(command, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL,
                          umask=0o077, check=False)  # fmt: skip
    if said.returncode:
        reason = (said.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise EngineError(f"supervisord does not start: {reason}", f"See {site.logs}/supervisord.log.")


def ask(site: Site, method: str, *arguments: Any) -> Any:
    """Call a method of supervisord's RPC interface; None where no supervisord runs."""
    from supervisor.xmlrpc import SupervisorTransport

    transport = SupervisorTransport(None, None, f"unix://{site.socket}")
    try:
        with ServerProxy("http://127.0.0.1", transport) as server:
            return getattr(server.supervisor, method)(*arguments)
    except (OSError, HTTPException):
        return None


def states(site: Site) -> dict[str, dict[str, Any]]:
    """Return what supervisord knows of each service, by name; nothing where it does not run."""
    return {info["name"]: info for info in ask(site, "getAllProcessInfo") or []}


def start_stopped(site: Site) -> None:
    """Start those services that supervisord has given up or was told to stop."""
    for name, info in states(site).items():
        if info["statename"] in ("FATAL", "EXITED", "STOPPED"):
            ask(site, "startProcess", name, False)


def stop_service(site: Site, name: str) -> None:
    """Stop one service, and wait until it has ended."""
    try:
        ask(site, "stopProcess", name)
    except Fault:  # it does not run
        return


def shut_down(site: Site) -> bool:
    """Stop all services gently, then supervisord; tells whether it ran.

    Raises:
        EngineError: they do not stop.
    """
    pid = ask(site, "getPID")
    if pid is None:
        return False
    process = psutil.Process(pid)
    ask(site, "shutdown")
    if not ends_within(process, _STOP_SECONDS):
        raise EngineError(f"the services do not stop within {_STOP_SECONDS} s", f"See {site.logs}.")
    return True
