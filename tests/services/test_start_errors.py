"""What keeps the services from starting is said with the fix, and nothing is left running."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest
from service_set import ServiceSet

from brainage_ray.errors import ConfigError, EngineError, NoSpaceError
from brainage_ray.services import postgresql, start, status, stop


def test_a_machine_without_postgresql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(postgresql, "_DEBIAN", tmp_path)
    with pytest.raises(EngineError, match="apt-get install -y postgresql"):
        start(tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("option", "name"), [("--port", "port"), ("--postgres-port", "postgres_port")])
def test_a_port_that_is_taken_names_by_whom(unused: ServiceSet, option: str, name: str):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        setattr(unused, name, taken.getsockname()[1])
        done = unused.call("start", "--port", unused.port, "--postgres-port", unused.postgres_port)
    assert done.returncode == 1
    assert f"port {getattr(unused, name)} is taken by" in done.stderr
    assert f"(process {os.getpid()})" in done.stderr
    assert f"another {option}." in done.stderr
    assert unused.call("status").returncode == 1


def test_a_workspace_that_cannot_be_written(unused: ServiceSet):
    (unused.workspace.parent / "file").write_text("")
    with pytest.raises(EngineError, match="file cannot be written"):
        start(unused.workspace.parent / "file")


def test_a_full_disk(unused: ServiceSet, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=3 * 2**20))
    with pytest.raises(NoSpaceError, match="3 MiB are free"):
        start(unused.workspace)


def test_a_path_that_no_socket_can_have(unused: ServiceSet):
    with pytest.raises(ConfigError, match="too long a path for a socket"):
        start(unused.workspace / ("long" * 25))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, where PostgreSQL runs as another user")
def test_a_folder_that_the_user_postgres_cannot_enter(unused: ServiceSet):
    unused.workspace.parent.chmod(0o700)
    with pytest.raises(EngineError, match=r"the user postgres, .* cannot enter"):
        start(unused.workspace)


def test_services_that_were_never_started(tmp_path: Path):
    assert {service.state for service in status(tmp_path)} == {"stopped"}
    assert not stop(tmp_path)
    assert list(tmp_path.iterdir()) == []
