"""brainage with --storage, as a user types it; and its password, looked for everywhere."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import yaml
from forked_commands import Commands
from postgres import PASSWORD, Postgres
from small_experiment import EXPERIMENT

Brainage = Callable[..., subprocess.CompletedProcess[str]]


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
def test_a_search_in_a_database_end_to_end(brainage: Brainage, file: Path, postgres: Postgres):
    storage, runs = postgres.new_database("command"), file.parent / "runs"
    open_url = postgres.url("command", "")
    where = (file, "--workspace", runs)
    searched = brainage("search", *where, "--storage", storage)
    assert searched.returncode == 0, searched.stderr
    assert searched.stderr == ""
    assert f"brainage run {file} --workspace {runs} --storage {open_url}" in searched.stdout
    note = next(runs.glob("small/search/*/storage.json"))
    assert json.loads(note.read_text()) == {"storage": open_url, "study": f"small/{note.parent.name}"}
    assert not list(runs.rglob("study.journal"))

    forgotten = brainage("search", *where, "--set", "search.trials=4", PGPASSWORD=PASSWORD)
    assert forgotten.returncode == 1
    assert f"Give --storage {open_url}, or set BRAINAGE_STORAGE" in forgotten.stderr
    wrong = brainage("search", *where, "--set", "search.trials=4", "--storage", postgres.url("command", ":wr0ng-one"))
    assert wrong.returncode == 1
    assert "PGPASSWORD or ~/.pgpass" in wrong.stderr
    shown = brainage("status", *where, BRAINAGE_STORAGE=storage)
    assert "3 of 3" in shown.stdout
    more = brainage("search", *where, "--set", "search.trials=4", PGPASSWORD=PASSWORD, BRAINAGE_STORAGE=open_url)
    assert more.returncode == 0, more.stderr
    assert "--storage" not in more.stdout
    crashed = brainage("search", *where, "--set", "search.trials=5", "--debug", "--storage",
                       postgres.url("no-such", f":{PASSWORD}"))  # fmt: skip
    assert crashed.returncode == 1
    assert "Traceback" in crashed.stderr

    secrets = (PASSWORD, "wr0ng-one")
    for done in (searched, forgotten, wrong, shown, more, crashed):
        assert not any(secret in done.stdout + done.stderr for secret in secrets)
    saved = [path for path in runs.rglob("*") if path.is_file()]
    assert any(path.name == "mlflow.db" for path in saved)
    assert [path for path in saved if any(secret.encode() in path.read_bytes() for secret in secrets)] == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--storage", "mysql://me:hidden@host/studies"], "of the kind mysql"),
        (["--storage", "studies.db"], "no URL of a database"),
        (
            ["--storage", "sqlite://studies.db"],
            "two slashes where SQLite's have three before the file. Write sqlite:///st",
        ),
    ],
)
def test_a_storage_of_another_kind_is_exit_code_2_before_anything_is_made(
    brainage: Brainage, file: Path, arguments: list[str], words: str
):
    done = brainage("run", file, "--workspace", file.parent / "runs", *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert "hidden" not in done.stderr
    assert "Traceback" not in done.stderr
    assert not (file.parent / "runs" / "cache").exists()
