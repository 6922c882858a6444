"""Optuna's dashboard on real studies, asked over HTTP as its pages ask."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from engine_plans import LR, LR_RANGE, make_plan
from postgres import PASSWORD, Postgres

from brainage_ray.config import ResourcesConfig
from brainage_ray.errors import EngineError
from brainage_ray.execution import StudyPlan, serve_dashboard
from brainage_ray.execution.dashboard import TRIALS, WorkspaceStudies
from brainage_ray.execution.study import Study


def plan_in(workspace: Path, experiment: str, storage: str | None, trials: int = 3) -> StudyPlan:
    plan = make_plan(workspace, LR_RANGE, trials=trials, sampler="random")
    folder = workspace / experiment / "search" / f"unet-{plan.key}"
    return replace(plan, folder=folder, storage=storage, experiment=experiment, resources=ResourcesConfig())


def search(plan: StudyPlan) -> list[float]:
    with Study(plan) as study:
        while (trial := study.ask()) is not None:
            study.report(trial, 1, [4.0 + trial.number])
            study.tell(trial, "complete", 0.1)
        return [trial.params[LR] for trial in study.result().trials]


@contextmanager
def server_of(*command: str, **environment: str) -> Iterator[tuple[list[str], str]]:
    """Start a server, and end it as Ctrl-C does; what it said is in the list then."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with subprocess.Popen([*command, "--port", str(port)], env={**os.environ, **environment}, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as server:  # fmt: skip
        try:
            yield (said := []), f"http://127.0.0.1:{port}"
        finally:
            server.send_signal(signal.SIGINT)
            said += [*server.communicate(timeout=60), str(server.returncode)]


def fetch(address: str, method: str = "GET") -> Any:
    while True:  # the test's own time limit ends it
        try:
            with urllib.request.urlopen(urllib.request.Request(address, method=method), timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)


def brainage(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from brainage_ray.cli import main; main()", *arguments]


def names_of(address: str) -> dict[str, int]:
    return {study["study_name"]: study["study_id"] for study in fetch(f"{address}/api/studies")["study_summaries"]}


@pytest.mark.slow
def test_the_verb_shows_all_searches_of_a_workspace(tmp_path: Path, postgres: Postgres):
    storage = postgres.new_database(uuid.uuid4().hex)
    here, there = plan_in(tmp_path, "here", None), plan_in(tmp_path, "there", storage, trials=5)
    rates = {plan.name: search(plan) for plan in (here, there)}
    command = brainage("ui", "--optuna", "--workspace", str(tmp_path))
    with server_of(*command, PGPASSWORD=PASSWORD) as (said, address):
        studies = names_of(address)
        assert set(studies) == {here.name, there.name}
        for name, number in studies.items():
            shown = fetch(f"{address}/api/studies/{number}")
            params = [trial["params"][0]["param_external_value"] for trial in shown["trials"]]
            assert list(map(float, params)) == rates[name]
            assert [trial["values"] for trial in shown["trials"]] == [[4.0 + i] for i in range(len(rates[name]))]
            assert shown["best_trials"][0]["number"] == 0
            assert fetch(f"{address}/api/studies/{number}", "DELETE") == 403
        newer = plan_in(tmp_path, "newer", None)
        search(newer)
        assert set(names_of(address)) == {here.name, there.name, newer.name}
        assert set(names_of(address)) == {here.name, there.name, newer.name}
    assert said == [f"Optuna's dashboard on {address} (Ctrl-C ends it)\n", "", "0"]
    assert search(here) == rates[here.name]


@pytest.mark.slow
def test_the_verb_shows_a_database(tmp_path: Path, postgres: Postgres):
    storage = postgres.new_database(uuid.uuid4().hex)
    plan = plan_in(tmp_path, "there", storage)
    search(plan)
    with server_of(*brainage("ui", "--optuna"), BRAINAGE_STORAGE=storage) as (said, address):
        studies = names_of(address)
        assert list(studies) == [plan.name]
        assert len(fetch(f"{address}/api/studies/{studies[plan.name]}")["trials"]) == 3
    assert PASSWORD not in "".join(said)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["journal", "postgresql"])
def test_the_plain_dashboard_opens_a_study_too(tmp_path: Path, postgres: Postgres, kind: str):
    storage = postgres.new_database(uuid.uuid4().hex) if kind == "postgresql" else None
    plan = plan_in(tmp_path, "first", storage)
    search(plan)
    opened = str(plan.folder / "study.journal") if storage is None else storage
    with server_of(sys.executable, "-m", "optuna_dashboard._cli", opened, "--server", "wsgiref") as (_, address):
        studies = names_of(address)
        assert list(studies) == [plan.name]
        assert len(fetch(f"{address}/api/studies/{studies[plan.name]}")["trials"]) == 3


def test_a_study_is_shown_while_it_is_written_and_never_changed(tmp_path: Path):
    plan = plan_in(tmp_path, "first", None)
    with Study(plan) as study:
        study.report(study.ask(), 1, [4.0])
        journal = (plan.folder / "study.journal").read_bytes()
        shown = WorkspaceStudies(tmp_path)
        assert [one.study_name for one in shown.get_all_studies()] == [plan.name]
        assert [trial.intermediate_values for trial in shown.get_all_trials(0)] == [{1: 4.0}]
        with pytest.raises(EngineError, match="alone writes"):
            shown.delete_study(0)
        with pytest.raises(EngineError, match="alone writes"):
            shown.create_new_trial(0)
        assert (plan.folder / "study.journal").read_bytes() == journal


def test_each_trial_has_a_number_of_its_own(tmp_path: Path):
    for experiment in ("one", "another"):
        search(plan_in(tmp_path, experiment, None))
    shown = WorkspaceStudies(tmp_path)
    numbers = [trial._trial_id for study in shown.get_all_studies() for trial in shown.get_all_trials(study._study_id)]
    assert numbers == [0, 1, 2, TRIALS, TRIALS + 1, TRIALS + 2]
    assert shown.get_trial(TRIALS + 1).number == 1
    assert shown.get_study_name_from_id(1).startswith("one/unet-")
    assert shown.get_study_id_from_name(shown.get_study_name_from_id(1)) == 1


def test_a_workspace_without_a_search_is_refused(tmp_path: Path):
    with pytest.raises(EngineError, match=r"no search was begun in .*brainage run"):
        serve_dashboard(tmp_path, None, ("127.0.0.1", 8000), print)
    with pytest.raises(EngineError, match="no search was begun in sqlite"):
        serve_dashboard(tmp_path, f"sqlite:///{tmp_path / 'none.db'}", ("127.0.0.1", 8000), print)
    assert not list(tmp_path.iterdir())


def test_a_port_that_is_taken_is_refused(tmp_path: Path):
    search(plan_in(tmp_path, "first", None))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(EngineError, match="Give another --port"):
            serve_dashboard(tmp_path, None, taken.getsockname(), print)
