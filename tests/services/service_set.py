"""Services for tests: started by the command as a user types it, asked as their clients would."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import psycopg
from forked_commands import Commands

CLIENT = """
import mlflow, optuna, os, sys
optuna.logging.set_verbosity(optuna.logging.ERROR)
mlflow.set_experiment("kept")
with mlflow.start_run(run_name="first"):
    mlflow.log_metric("mae", 4.25)
    mlflow.log_text("weights", "model.txt")
url = os.environ["BRAINAGE_STORAGE"].replace("postgresql:", "postgresql+psycopg:")
study = optuna.create_study(storage=url, study_name="kept")
study.optimize(lambda trial: trial.suggest_float("lr", 0, 1), n_trials=3)
"""
"""A run with an artifact, and a study of three trials."""


class ServiceSet:
    """The services of one workspace on free ports."""

    def __init__(self, workspace: Path, commands: Commands) -> None:
        self.workspace, self.folder, self._commands = workspace, workspace / "services", commands
        self.port, self.postgres_port = free_port(), free_port()

    def call(self, verb: str, *options: object, **environment: str) -> subprocess.CompletedProcess[str]:
        where = ("--workspace", self.workspace)
        return self._commands.run("services", verb, *options, *where, **{"COLUMNS": "250", **environment})

    def start(self, *options: object) -> subprocess.CompletedProcess[str]:
        ports = ("--port", self.port, "--postgres-port", self.postgres_port)
        done = self.call("start", *ports, *options)
        assert done.returncode == 0, done.stderr
        return done

    def environment(self) -> dict[str, str]:
        """What a shell has after `. environment`, beyond what it had."""
        shown = subprocess.run(["sh", "-c", f". {shlex.quote(str(self.folder / 'environment'))}; env"], text=True,
                               env={}, capture_output=True, check=True)  # fmt: skip
        return dict(line.split("=", 1) for line in shown.stdout.splitlines() if line.split("=")[0] != "PWD")

    def use(self) -> None:
        """Let a client write, which knows of the services what the environment file says."""
        subprocess.run([sys.executable, "-c", CLIENT], check=True, timeout=120, capture_output=True,
                       env={**os.environ, **self.environment()})  # fmt: skip

    def mlflow(self, password: str | None = None, path: str = "experiments/search", **headers: str) -> tuple[int, Any]:
        """Ask MLflow as the admin; return the code and what it says."""
        secret = self.environment()["MLFLOW_TRACKING_PASSWORD"] if password is None else password
        login = {"Authorization": "Basic " + b64encode(f"admin:{secret}".encode()).decode()} if secret else {}
        url = f"http://127.0.0.1:{self.port}/api/2.0/mlflow/{path}"
        body = json.dumps({"experiment_ids": ["1"], "max_results": 9}).encode()
        request = urllib.request.Request(url, body, {"Content-Type": "application/json", **login, **headers})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, None

    def kept(self) -> tuple[list[str], list[float], int]:
        """What `use` wrote, as the servers give it back: names of runs, their MAE, number of trials."""
        code, found = self.mlflow(path="runs/search")
        assert code == 200
        runs = found.get("runs", [])
        maes = [metric["value"] for run in runs for metric in run["data"]["metrics"]]
        with self.database() as connection:
            trials = connection.execute("SELECT count(*) FROM trials WHERE state = 'COMPLETE'").fetchone()[0]
        return [run["info"]["run_name"] for run in runs], maes, trials

    def database(self, name: str = "optuna", **change: str) -> psycopg.Connection[Any]:
        where = {"user": "optuna", "password": self.environment()["PGPASSWORD"], **change}
        return psycopg.connect(host="127.0.0.1", port=self.postgres_port, dbname=name, **where)

    def processes(self) -> list[psutil.Process]:
        """supervisord and all below it."""
        supervisord = psutil.Process(int((self.folder / "supervisord.pid").read_text()))
        return [supervisord, *supervisord.children(recursive=True)]

    def pid(self, words: str) -> int:
        """The number of the child of supervisord whose command line has these words."""
        [pid] = [p.pid for p in self.processes()[0].children() if words in " ".join(p.cmdline())]
        return pid

    def listens_below_supervisord(self) -> bool:
        ours = {process.pid for process in self.processes()}
        listening = [c for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
        return {c.pid for c in listening if c.laddr.port in (self.port, self.postgres_port)} <= ours

    def healthy(self) -> bool:
        return self.call("status").returncode == 0

    def log(self, service: str) -> str:
        return (self.folder / "logs" / f"{service}.log").read_text()

    def secrets(self) -> list[str]:
        return list(json.loads((self.folder / "passwords.json").read_text()).values())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], bool], seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.2)


def command_lines() -> str:
    """Those of all processes of this machine."""
    lines = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(file.read_bytes().decode(errors="replace"))
        except OSError:  # it has ended
            continue
    return "\n".join(lines)
