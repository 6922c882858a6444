"""The services run, keep strangers out and come back after a crash: with the real servers."""

from __future__ import annotations

import json
import os
import signal
import stat

import psycopg
import pytest
from service_set import ServiceSet, command_lines, free_port, wait_until

KEPT = (["first"], [4.25], 3)
pytestmark = pytest.mark.slow


def test_what_clients_write_by_the_environment_file_is_there(services: ServiceSet):
    assert services.kept() == KEPT
    assert services.environment().keys() == {"BRAINAGE_STORAGE", "PGPASSWORD", "MLFLOW_TRACKING_URI",
                                             "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"}  # fmt: skip
    artifacts = list((services.workspace / "artifacts").rglob("model.txt"))
    assert [file.read_text() for file in artifacts] == ["weights"], "through MLflow's server"


@pytest.mark.parametrize("password", ["", "wr0ng-one"])
def test_mlflow_refuses_strangers_and_notes_it(services: ServiceSet, password: str):
    before = services.log("mlflow").count("401 Unauthorized")
    assert services.mlflow(password) == (401, None)
    wait_until(lambda: services.log("mlflow").count("401 Unauthorized") > before, 5)


def test_mlflow_answers_through_a_tunnel_and_not_by_other_names(services: ServiceSet):
    assert services.mlflow(Host="localhost:15000")[0] == 200
    assert services.mlflow(Host="elsewhere.example")[0] == 403


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"password": "wr0ng-one"}, "password authentication failed"),
        ({"password": "wr0ng-one", "user": "postgres"}, "password authentication failed"),
        ({"name": "mlflow_auth"}, "permission denied for database"),
    ],
)
def test_postgresql_refuses_strangers_and_notes_it(services: ServiceSet, change: dict[str, str], words: str):
    with pytest.raises(psycopg.OperationalError, match=words):
        services.database(**change)
    wait_until(lambda: words in services.log("postgresql"), 5)
    with pytest.raises(psycopg.OperationalError, match="no password supplied"):
        services.database(passfile=os.devnull, password="")


def test_nobody_else_may_read_the_files(services: ServiceSet):
    for path in services.folder, services.workspace / "postgresql", *services.folder.rglob("*"):
        private = 0o600 if path.is_file() else 0o700
        assert stat.S_IMODE(path.stat().st_mode) == private, path


def test_the_passwords_are_in_no_command_line_and_in_no_log(services: ServiceSet):
    secrets, lines = services.secrets(), command_lines()
    assert len(set(secrets)) == 5
    assert f"--port\0{services.port}" in lines
    said = lines + "".join(file.read_text() for file in (services.folder / "logs").iterdir())
    said += (services.folder / "supervisord.conf").read_text() + services.call("status", "--json").stdout
    assert not [secret for secret in secrets if secret in said]


def test_a_second_start_changes_nothing_and_says_so(services: ServiceSet):
    before = sorted(process.pid for process in services.processes() if "postgres:" not in process.cmdline()[0])
    files = {path: path.read_bytes() for path in services.folder.glob("*") if path.is_file()}
    assert "All ran already; nothing was changed." in services.start().stdout
    assert sorted(p.pid for p in services.processes() if "postgres:" not in p.cmdline()[0]) == before
    assert {path: path.read_bytes() for path in files} == files
    other = services.call("start", "--port", free_port())
    assert other.returncode == 2
    assert "run already, with other settings" in other.stderr


def test_status_tells_programs_too(services: ServiceSet):
    done = services.call("status", "--json")
    assert done.returncode == 0
    rows = {row.pop("name"): row for row in json.loads(done.stdout)["services"]}
    assert {name: row["state"] for name, row in rows.items()} == dict.fromkeys(
        ("postgresql", "mlflow", "backups"), "running"
    )
    assert rows["mlflow"]["address"] == f"http://127.0.0.1:{services.port}"
    assert rows["postgresql"]["since"].startswith("20")


def test_each_server_comes_back_after_kill_9(services: ServiceSet):
    names = ("mlflow server", "bin/postgres")
    before = {name: services.pid(name) for name in names}
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    assert not services.healthy()
    wait_until(services.healthy)
    assert not [name for name in names if services.pid(name) == before[name]]
    assert services.listens_below_supervisord(), "not a worker of the server that was killed"
    assert services.kept() == KEPT


def test_a_start_after_kill_9_of_everything(services: ServiceSet):
    processes = services.processes()
    for process in processes[:2]:  # the first is supervisord: the rest goes on without it
        process.kill()
    note = services.workspace / "postgresql" / "data" / "postmaster.pid"
    assert note.is_file()
    assert services.call("status").returncode == 1
    services.call("start")
    assert services.healthy()
    assert services.kept() == KEPT
    assert not [process for process in processes if process.is_running() and process.status() != "zombie"]
