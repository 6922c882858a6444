from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from brainage_ray.errors import EngineError
from brainage_ray.tracking import MlflowTracker, serve_ui, ui, ui_command
from brainage_ray.tracking.ui import SERVER_ENVIRONMENT


@pytest.fixture
def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_the_command_opens_the_workspaces_database_on_the_loopback(workspace):
    command = ui_command(workspace)
    assert command[:4] == [sys.executable, "-m", "mlflow", "server"]
    options = dict(zip(command[4::2], command[5::2], strict=True))
    assert options["--backend-store-uri"] == f"sqlite:///{workspace}/mlflow.db"
    assert (options["--host"], options["--port"]) == ("127.0.0.1", "5000")


def test_a_workspace_without_a_database_is_refused(tmp_path):
    with pytest.raises(EngineError, match="Run an experiment in this workspace first"):
        ui_command(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_port_that_is_taken_is_refused_at_once(workspace):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(EngineError, match=rf"Cannot listen on 127\.0\.0\.1:{port}.*Give another --port"):
            serve_ui(workspace, "127.0.0.1", port, pytest.fail)


def test_the_servers_exit_status_comes_back(workspace, port, monkeypatch):
    monkeypatch.setattr(ui, "ui_command", lambda *_: [sys.executable, "-c", "raise SystemExit(3)"])
    said: list[str] = []
    assert serve_ui(workspace, "127.0.0.1", port, said.append) == 3
    assert said == [f"MLflow on http://127.0.0.1:{port} (Ctrl-C ends it)"]


@pytest.mark.slow
def test_the_server_shows_what_was_tracked_and_takes_more(workspace, port, trial, runs_of):
    with MlflowTracker(workspace, "exp") as tracker:
        tracker.started(trial(1))
    command = ui_command(workspace, port=port)
    with subprocess.Popen(command, env={**os.environ, **SERVER_ENVIRONMENT}, stderr=subprocess.DEVNULL) as server:
        try:
            _wait_for(f"http://127.0.0.1:{port}/health")
            with MlflowTracker(workspace, "served", uri=f"http://127.0.0.1:{port}") as tracker:
                tracker.started(trial(2))
                tracker.epoch("key2", 1, {"validation_mae": 5.0})
        finally:
            server.send_signal(signal.SIGINT)
    assert runs_of("served")["key2"].data.metrics == {"validation_mae": 5.0}
    assert "key1" in runs_of("exp")


def _wait_for(address):
    for _ in range(3000):
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                assert answer.status == 200
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    raise TimeoutError(address)
