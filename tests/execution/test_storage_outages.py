"""A server that goes away in the middle of a search, and drivers that share one."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from engine_plans import LR_RANGE, Heard, make_plan
from optuna.trial import TrialState
from postgres import PASSWORD, Postgres, programs, running_postgres
from sqlalchemy.exc import OperationalError, PendingRollbackError, SQLAlchemyError

from brainage_ray.config import TrainingRun
from brainage_ray.errors import EngineError
from brainage_ray.execution import Cluster, StudyPlan, load_study_result, patience, run_study
from brainage_ray.execution.database import opened_database, parse_storage, passes
from brainage_ray.execution.patience import PatientStorage
from brainage_ray.execution.session import StudySession
from brainage_ray.execution.storage import find_study
from brainage_ray.execution.study import OpenTrial, Study
from brainage_ray.execution.study_lock import locked

HERE = Path(__file__).parent


@pytest.fixture
def server() -> Iterator[Postgres]:
    """A server that a test may stop."""
    if programs() is None:
        pytest.skip("needs PostgreSQL (initdb is neither on the PATH nor in /usr/lib/postgresql)")
    with running_postgres() as server:
        yield server


@pytest.fixture
def plan(server: Postgres, tmp_path: Path) -> StudyPlan:
    plan = make_plan(tmp_path, LR_RANGE, trials=12, sampler="tpe", scheduler="asha", epochs=2, grace_epochs=1)
    return replace(plan, storage=server.new_database("studies"), experiment="first")


def finish(study: Study, trial: OpenTrial) -> None:
    study.report(trial, 1, [3.0])
    study.report(trial, 2, [2.0])
    study.tell(trial, "complete", 0.1)


def states_of(plan: StudyPlan) -> Counter[TrialState]:
    storage, name = find_study(plan.folder, plan.storage, plan.name)
    return Counter(trial.state for trial in storage.get_all_trials(storage.get_study_id_from_name(name)))


def away(server: Postgres, records: list[logging.LogRecord]) -> threading.Thread:
    """Stop the server now; start it again once the driver has noticed."""
    server.control("stop", "-m", "immediate")

    def again() -> None:
        while not any("is away" in record.getMessage() for record in records):
            threading.Event().wait(0.05)
        server.control("start")

    thread = threading.Thread(target=again)
    thread.start()
    return thread


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("how", ["restarted", "away"])
def test_a_search_outlives_its_server(
    cluster: Cluster, server: Postgres, plan: StudyPlan, how: str, caplog: pytest.LogCaptureFixture
):
    def epochs(run: TrainingRun) -> Iterator[dict[str, float]]:
        import math
        import time

        for epoch in range(run.epochs):
            time.sleep(0.1)
            with (run.folder.parents[2] / "epochs").open("a") as done:
                done.write(f"{run.folder.parent.name}/{epoch}\n")
            yield {"validation_mae": 3 + abs(math.log10(run.training.optimizer.lr) + 3) + 1 / (epoch + 1)}

    done = plan.folder / "epochs"

    def disturb() -> None:
        for wanted in (4, 10):
            while not done.exists() or len(done.read_text().split()) < wanted:
                threading.Event().wait(0.05)
            if how == "restarted":
                server.control("restart", "-m", "immediate")
            else:
                caplog.clear()
                away(server, caplog.records).join()

    disturber = threading.Thread(target=disturb)
    disturber.start()
    heard = Heard()
    result = run_study(cluster, plan, heard, epochs)
    disturber.join()
    assert result.done
    assert len(result.trials) == 12
    assert {trial.state for trial in result.trials} <= {"complete", "pruned"}
    trained = done.read_text().split()
    assert len(trained) == len(set(trained)), "an epoch was trained twice"
    for trial in result.trials:
        assert len(trial.values) == sum(line.startswith(f"{trial.number:03d}/") for line in trained)
    states = states_of(plan)
    assert states[TrialState.COMPLETE] + states[TrialState.PRUNED] == 12
    assert heard.states == sorted(trial.state for trial in result.trials)
    assert load_study_result(plan.folder, None, plan.storage) == result
    if how == "away":
        assert "answers again" in caplog.text
    assert PASSWORD not in caplog.text


@pytest.mark.parametrize("step", ["ask", "report", "tell", "fail", "result"])
def test_each_step_waits_for_the_server(server: Postgres, plan: StudyPlan, step: str, caplog: pytest.LogCaptureFixture):
    with Study(plan) as study:
        finish(study, study.ask())
        trial = study.ask()
        study.report(trial, 1, [3.0])
        back = away(server, caplog.records)
        match step:
            case "ask":
                study.ask()
            case "report":
                study.report(trial, 2, [2.0])
            case "tell":
                study.tell(trial, "complete", 0.1)
            case "fail":
                study.fail(trial, "nan", "train_loss is nan")
            case "result":
                assert [one.state for one in study.result().trials] == ["complete", "running"]
        back.join()
    assert "is away" in caplog.text
    assert "answers again" in caplog.text
    with Study(plan) as study:
        while (trial := study.ask()) is not None:
            finish(study, trial)
        assert [one.number for one in study.result().trials] == list(range(12))


def test_a_server_that_stays_away_ends_the_search_which_then_goes_on(
    server: Postgres, plan: StudyPlan, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(patience, "PATIENCE_S", 1.0)
    with Study(plan) as study:
        session = StudySession(plan, study, Heard())
        finish(study, study.ask())
        session.begin("a")
        server.control("stop", "-m", "immediate")
        with pytest.raises(EngineError, match=r"has been away for \d+ s: .*Bring it back and run again") as ended:
            session.begin("b")
        assert PASSWORD not in str(ended.value)
        session.abandon()
    with pytest.raises(EngineError, match=r"cannot be used: .*See that the server runs"), Study(plan):
        pass
    server.control("start")
    with Study(plan) as study:
        assert [trial.state for trial in study.result().trials] == ["complete", "running"]
        assert study.open_places == 11


def test_a_connection_that_went_amid_a_transaction_is_waited_for():
    assert passes(PendingRollbackError("Can't reconnect until invalid transaction is rolled back."))
    assert not passes(SQLAlchemyError("wrong"))


def test_a_lock_that_was_lost_is_taken_again(server: Postgres, plan: StudyPlan):
    with Study(plan) as study:
        finish(study, study.ask())
        end_sessions(plan)
        finish(study, study.ask())
        with pytest.raises(EngineError, match="another process"), Study(replace(plan, folder=plan.folder / "other")):
            pass


def test_a_lock_that_another_took_ends_the_search(server: Postgres, plan: StudyPlan, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(patience, "PATIENCE_S", 1.0)
    with Study(plan) as study:
        finish(study, study.ask())
        end_sessions(plan)
        with (
            locked(parse_storage(plan.storage), plan.name),
            pytest.raises(EngineError, match="another process holds the study"),
        ):
            study.ask()


def end_sessions(plan: StudyPlan) -> None:
    import psycopg

    with psycopg.connect(plan.storage, autocommit=True) as connection:
        others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        assert connection.execute(f"SELECT pg_terminate_backend(pid) {others}").fetchall()
        while connection.execute(f"SELECT count(*) {others}").fetchone() != (0,):
            pass


class LosesAnswers:
    """A storage whose server dies after it has written, before it says so: each call of one name, once."""

    def __init__(self, storage: Any, name: str) -> None:
        self._storage, self._name, self.lost = storage, name, 0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._storage, name)
        if name != self._name or self.lost:
            return method

        def lost(*arguments: Any, **options: Any) -> Any:
            answer = method(*arguments, **options)
            if self.lost:
                return answer
            self.lost += 1
            raise OperationalError("COMMIT", {}, Exception("server closed the connection unexpectedly"))

        lost.__name__ = name
        return lost


@pytest.mark.parametrize(
    "name",
    ["create_new_trial", "set_trial_param", "set_trial_user_attr", "set_trial_intermediate_value",
     "set_trial_state_values", "set_study_user_attr"],
)  # fmt: skip
def test_an_answer_that_was_lost_makes_nothing_twice(plan: StudyPlan, name: str, monkeypatch: pytest.MonkeyPatch):
    flaky: list[LosesAnswers] = []

    def losing(storage: Any, *rest: Any) -> PatientStorage:
        flaky.append(LosesAnswers(storage, name))
        return PatientStorage(flaky[0], *rest)

    monkeypatch.setattr(patience, "PatientStorage", losing)
    with Study(plan) as study:
        while (trial := study.ask()) is not None:
            finish(study, trial)
        result = study.result()
    assert flaky[0].lost == 1
    assert [trial.number for trial in result.trials] == list(range(12))
    assert states_of(plan)[TrialState.COMPLETE] == 12


DRIVER = """
import json, sys
from dataclasses import replace
from pathlib import Path
from engine_plans import LR_RANGE, Heard, make_plan
from brainage_ray.execution import Cluster, run_study

def source():
    def epochs(run):
        import time
        time.sleep(0.2)
        with (run.folder.parents[2] / "trained").open("a") as file:
            file.write(run.folder.parent.name + "\\n")
        yield {"validation_mae": run.training.optimizer.lr}
    return epochs

folder, storage, name, sockets = sys.argv[1:]
plan = make_plan(Path(folder) / name, LR_RANGE, trials=8, sampler="tpe", seed=len(name))
plan = replace(plan, storage=storage, experiment=name)
with Cluster(cpus=1, gpus=0, folder=Path(sockets)) as cluster:
    result = run_study(cluster, plan, Heard(), source())
print(json.dumps([trial.best_value for trial in result.trials]))
"""


@pytest.mark.ray
@pytest.mark.slow
def test_two_drivers_at_once_work_in_one_new_database_whose_server_restarts(
    server: Postgres, tmp_path: Path, short_folder: Path
):
    storage = server.new_database("shared")
    paths = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    drivers = {}
    for name in ("one", "another"):
        (short_folder / name).mkdir()
        arguments = [str(tmp_path), storage, name, str(short_folder / name)]
        drivers[name] = subprocess.Popen(
            [sys.executable, "-c", DRIVER, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": paths},
        )  # fmt: skip
    logs = [tmp_path / name / "study" / "trained" for name in drivers]
    while not all(log.exists() for log in logs) and all(driver.poll() is None for driver in drivers.values()):
        threading.Event().wait(0.05)
    server.control("restart", "-m", "immediate")
    found = {name: driver.communicate(timeout=500) for name, driver in drivers.items()}
    for name, (output, errors) in found.items():
        assert drivers[name].returncode == 0, errors
        values = json.loads(output)
        assert len(set(values)) == 8
        trained = (tmp_path / name / "study" / "trained").read_text().split()
        assert sorted(trained) == [f"{place:03d}" for place in range(8)], "a trial was trained twice, or never"
        result = load_study_result(tmp_path / name / "study", None, storage)
        assert [trial.best_value for trial in result.trials] == values
    assert not set(json.loads(found["one"][0])) & set(json.loads(found["another"][0]))


def test_many_at_once_make_the_tables_of_a_new_database(server: Postgres):
    database = parse_storage(server.new_database("empty"))
    failed: list[Exception] = []

    def begin() -> None:
        try:
            with opened_database(database) as storage:
                assert storage.get_all_studies() == []
        except Exception as error:  # a thread's is lost
            failed.append(error)

    threads = [threading.Thread(target=begin) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
