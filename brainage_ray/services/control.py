"""Start, stop, look at, back up and restore the services of a workspace."""

from __future__ import annotations

import errno
import importlib.util
import shutil
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from brainage_ray.errors import ConfigError, EngineError, NoSpaceError
from brainage_ray.services.backups import (
    Backup,
    all_backups,
    check_empty,
    dumps_of,
    last_error,
    make_backup,
    no_other_backup,
    read_in,
    take_over,
)
from brainage_ray.services.postgresql import answers, end_postmaster, make_cluster, program
from brainage_ray.services.processes import end_left_behind, who_listens
from brainage_ray.services.site import HOST, Settings, Site
from brainage_ray.services.supervision import (
    SERVICES,
    launch,
    shut_down,
    start_stopped,
    states,
    stop_service,
    write_configuration,
)

_START_SECONDS = 180
_FAILING = "failing"
_NEEDED_BYTES = 512 * 2**20
"""A new cluster takes 60 MB; its log of changes up to a GB under load, but then has time to say so."""


@dataclass(frozen=True)
class Service:
    """One line of the status."""

    name: str
    state: str
    """running, or why not."""
    address: str
    since: datetime | None


@dataclass(frozen=True)
class Started:
    """What a start did."""

    changed: bool
    """False: all ran already."""
    new: bool
    """The databases were made."""


def start(workspace: Path, **wishes: Any) -> Started:
    """Start the services, which are made at the first start; return when they answer.

    Args:
        workspace: their folder.
        wishes: fields of `Settings` that shall differ from those of the last start; None leaves one as it was.

    Raises:
        ConfigError: they run already, with other settings.
        EngineError: the machine lacks something, or they do not come up.
        NoSpaceError: the disk is full.
    """
    site = Site(workspace.resolve())
    _check_installed()
    site.make()
    with _alone(site):
        before = site.settings()
        settings = replace(before, **{name: value for name, value in wishes.items() if value is not None})
        running = bool(states(site))
        if running and settings != before:
            raise ConfigError("the services run already, with other settings", "brainage services stop comes first.")
        if running and _up(status(workspace)):
            return Started(changed=False, new=False)
        if running:
            start_stopped(site)
            _wait(site)
            return Started(changed=True, new=False)
        return Started(changed=True, new=_start_all(site, settings))


def stop(workspace: Path) -> bool:
    """Stop all services gently, and what a killed supervisord left behind; tells whether supervisord ran."""
    site = Site(workspace.resolve())
    if not site.folder.is_dir():
        return False
    with _alone(site):
        return _stop_all(site)


def status(workspace: Path) -> list[Service]:
    """Return what each service does. Each is asked, since a process that is there need not answer."""
    site = Site(workspace.resolve())
    settings = site.settings()
    addresses = {
        "postgresql": f"{HOST}:{settings.postgres_port}",
        "mlflow": f"http://{HOST}:{settings.port}",
        "backups": str(site.backups),
    }
    found = states(site)
    return [Service(name, _state(name, found, site, settings), addresses[name], _since(found.get(name)))
            for name in SERVICES]  # fmt: skip


def healthy(services: Sequence[Service]) -> bool:
    """Tell whether all services run."""
    return all(service.state == "running" for service in services)


def _up(services: Sequence[Service]) -> bool:
    """Tell whether a start has nothing more to wait for; of a disk that is too full for backups the status tells."""
    return all(service.state == "running" or service.state.startswith(_FAILING) for service in services)


def newest_backup(workspace: Path) -> Backup | None:
    """Return the newest backup; None where there is none."""
    return next(reversed(all_backups(Site(workspace.resolve()))), None)


def backup(workspace: Path) -> Backup | None:
    """Make a backup now; None where there is nothing to back up yet.

    Raises:
        EngineError: the services do not run, or it fails.
    """
    site = _running(workspace)
    return make_backup(site, site.settings())


def restore(workspace: Path, files: Sequence[Path]) -> list[str]:
    """Put a backup into services that run and hold nothing yet; MLflow is away for a moment.

    Args:
        workspace: of the services.
        files: the folder of a backup, or its files; empty: the newest of this workspace.

    Returns:
        Names of the databases that were put back.

    Raises:
        ConfigError: it is no backup.
        EngineError: the services do not run, hold something already, or the backup is damaged.
    """
    site = _running(workspace)
    if not files:
        files = [newest.folder for newest in all_backups(site)[-1:]]
    settings, dumps = site.settings(), dumps_of(files)
    with _alone(site), no_other_backup(site):
        check_empty(site, settings, dumps)
        read_in(site, settings, dumps)
        stop_service(site, "mlflow")
        try:
            take_over(site, settings, dumps)
        finally:
            start_stopped(site)
        _wait(site)
    return list(dumps)


def _start_all(site: Site, settings: Settings) -> bool:
    _stop_all(site)
    if (free := shutil.disk_usage(site.workspace).free) < _NEEDED_BYTES:
        problem = f"the disk that holds {site.workspace} is full: {free / 2**20:.0f} MiB are free"
        raise NoSpaceError(problem, f"Free some; the services need {_NEEDED_BYTES / 2**20:.0f} MiB to start.")
    _check_port(settings.port, "--port")
    _check_port(settings.postgres_port, "--postgres-port")
    new = make_cluster(site)
    site.save(settings)
    write_configuration(site, settings)
    (site.folder / "last_backup.json").unlink(missing_ok=True)
    launch(site)
    try:
        _wait(site)
    except BaseException:
        _stop_all(site)  # nothing is left half started
        raise
    return new


def _stop_all(site: Site) -> bool:
    ran = shut_down(site)
    end_left_behind(site)
    end_postmaster(site)
    return ran


def _check_installed() -> None:
    program("initdb")
    modules = {"supervisor": "supervisor", "psycopg": "psycopg", "flask_wtf": "mlflow[auth]"}
    if missing := [package for module, package in modules.items() if importlib.util.find_spec(module) is None]:
        problem = f"not installed, and needed for the services: {', '.join(missing)}"
        raise EngineError(problem, "Install it: pip install 'brainage-ray[cluster]'.")


def _check_port(port: int, option: str) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            who = (
                f"taken by {who_listens(port)}"
                if error.errno == errno.EADDRINUSE
                else f"not to be had: {error.strerror}"
            )
            raise EngineError(f"port {port} is {who}", f"End that, or give another {option}.") from None


def _wait(site: Site) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not _up(services := status(site.workspace)):
        given_up = any(info["statename"] == "FATAL" for info in states(site).values())
        if time.monotonic() > deadline or given_up or not states(site):
            bad = next(service for service in services if service.state != "running")
            problem = f"{bad.name} does not come up: {_last_line(site.logs / f'{bad.name}.log')}"
            raise EngineError(problem, f"Mend it, then start again; its log: {site.logs}/{bad.name}.log.")
        time.sleep(0.5)


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines() if log.is_file() else []
    return lines[-1][:300] if lines else "it said nothing"


def _state(name: str, found: dict[str, dict[str, Any]], site: Site, settings: Settings) -> str:
    state = str(found[name]["statename"]).lower() if name in found else "stopped"
    if state != "running":
        return state
    if name == "backups":
        error = last_error(site)
        return f"{_FAILING}: {error}" if error else state
    alive = answers(site, settings) if name == "postgresql" else _mlflow_answers(settings)
    return state if alive else "does not answer"


def _mlflow_answers(settings: Settings) -> bool:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{settings.port}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _since(info: dict[str, Any] | None) -> datetime | None:
    return datetime.fromtimestamp(info["start"], UTC) if info and info["statename"] == "RUNNING" else None


def _running(workspace: Path) -> Site:
    site = Site(workspace.resolve())
    if not states(site):
        problem = f"no services run in {site.workspace}"
        raise EngineError(problem, f"Start them: brainage services start --workspace {workspace}.")
    return site


@contextmanager
def _alone(site: Site) -> Iterator[None]:
    """One command at a time starts, stops or restores."""
    with FileLock(site.folder / ".lock", mode=0o600):
        yield
