"""brainage with --tracking, as a user types it, against MLflow's own server that asks for a password."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import yaml
from forked_commands import Commands
from small_experiment import EXPERIMENT

Brainage = Callable[..., subprocess.CompletedProcess[str]]

PASSWORD = "an-admin-s3cret"


@dataclass(frozen=True)
class Server:
    url: str

    def login(self, password: str = PASSWORD) -> dict[str, str]:
        return {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": password}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = folder / "basic_auth.ini"
    settings.write_text(
        f"[mlflow]\ndefault_permission = NO_PERMISSIONS\ndatabase_uri = sqlite:///{folder}/users.db\n"
        "admin_username = admin\nauthorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    command = [
        sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth", "--host", "127.0.0.1",
        "--port", str(port), "--workers", "1", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination", str(folder / "artifacts"),
    ]  # fmt: skip
    secrets = {"MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD, "MLFLOW_FLASK_SERVER_SECRET_KEY": "of cookies"}
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    environment = {**os.environ, **quiet, **secrets, "MLFLOW_AUTH_CONFIG_PATH": str(settings)}
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(command, env=environment, stdout=log, stderr=log) as process,
    ):
        try:
            _wait_for(f"http://127.0.0.1:{port}/health", process, folder / "log")
            yield Server(f"http://127.0.0.1:{port}")
        finally:
            process.terminate()


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(1200):
        assert process.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    raise TimeoutError(log.read_text())


@pytest.fixture
def brainage(commands: Commands) -> Brainage:
    return partial(commands.run, COLUMNS="250")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(EXPERIMENT))
    return path


@pytest.mark.ray
@pytest.mark.slow
def test_a_server_is_told_all_and_hands_out_the_models(brainage: Brainage, file: Path, server: Server):
    from mlflow import MlflowClient

    runs, to = file.parent / "runs", file.parent / "checkpoints"
    where = (file, "--workspace", runs)
    before = brainage("search", *where)  # into the workspace's own MLflow
    assert before.returncode == 0, before.stderr
    wrong = brainage("run", *where, "--tracking", server.url, **server.login("wr0ng-one"))
    assert wrong.returncode == 1
    assert f"MLflow at {server.url} does not let us in. Set MLFLOW_TRACKING_USERNAME and" in wrong.stderr
    done = brainage("run", *where, "--tracking", server.url, **server.login())
    assert done.returncode == 0, done.stderr
    again = brainage("run", *where, **server.login(), MLFLOW_TRACKING_URI=server.url)
    assert again.returncode == 0, again.stderr

    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.login().items():
            patch.setenv(name, value)
        client = MlflowClient(server.url)
        experiment = client.get_experiment_by_name("small")
        kinds = [run.data.tags["brainage.kind"] for run in client.search_runs([experiment.experiment_id])]
    assert kinds.count("trial") == 3, "the trials of before were told again, once"
    assert kinds.count("refit") == 1

    pulled = brainage("pull", "small/unet", "--to", to, "--workspace", file.parent / "elsewhere",
                      "--tracking", server.url, **server.login())  # fmt: skip
    assert pulled.returncode == 0, pulled.stderr
    listed = brainage("models", "small", "--json", "--tracking", server.url, **server.login())
    (row,) = json.loads(listed.stdout)
    assert (row["arm"], row["champion"], row["aliases"]) == ("unet", True, ["champion", "unet"])
    assert (to / "card.md").is_file()
    again = brainage("pull", "small@champion", "--to", to, "--workspace", file.parent / "elsewhere",
                     "--tracking", server.url, **server.login())  # fmt: skip
    assert again.returncode == 0, again.stderr
    theirs = next(runs.glob("small/models/unet/*.safetensors"))
    assert (to / theirs.name).read_bytes() == theirs.read_bytes()

    outputs = "".join(run.stdout + run.stderr for run in (before, wrong, done, again, pulled))
    assert PASSWORD not in outputs
    files = [path for path in runs.rglob("*") if path.is_file()]
    assert [path for path in files if PASSWORD.encode() in path.read_bytes()] == []


@pytest.mark.parametrize(
    ("url", "code", "words"),
    [
        ("http://127.0.0.1:9", 1, "does not answer at http://127.0.0.1:9: Connection refused. Start it"),
        ("mlflow.db", 2, "--tracking names no MLflow server"),
        ("http://me:hidden@host:5000", 2, "a name or password before host"),
    ],
)
def test_a_server_that_cannot_be_used_ends_the_run_before_anything_is_made(
    brainage: Brainage, file: Path, url: str, code: int, words: str
):
    done = brainage("run", file, "--workspace", file.parent / "runs", "--tracking", url)
    assert done.returncode == code
    assert words in done.stderr
    assert "hidden" not in done.stderr
    assert "Traceback" not in done.stderr
    assert not (file.parent / "runs" / "cache").exists()
