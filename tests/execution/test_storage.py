"""The contract of a study, over every storage that it can live in."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from engine_plans import LR, LR_RANGE, make_plan
from postgres import PASSWORD, Postgres

from brainage_ray.errors import ConfigError, EngineError
from brainage_ray.execution import StudyPlan, StudyResult, check_storage, load_study_result
from brainage_ray.execution.storage import NOTE, find_study
from brainage_ray.execution.study import OpenTrial, Study

HERE = Path(__file__).parent
KINDS = ["journal", "sqlite", "postgresql"]
Make = Callable[..., StudyPlan]


def storage_of(kind: str, folder: Path, request: pytest.FixtureRequest) -> str | None:
    if kind == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        return server.new_database(uuid.uuid4().hex)
    return f"sqlite:///{folder / 'studies.db'}" if kind == "sqlite" else None


@pytest.fixture(params=KINDS)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Makes plans whose studies live in one storage."""
    storage = storage_of(request.param, tmp_path, request)

    def made(experiment: str = "first", **search: object) -> StudyPlan:
        plan = make_plan(tmp_path / experiment, LR_RANGE, **{"trials": 3, "sampler": "tpe", **search})
        return replace(plan, storage=storage, experiment=experiment)

    return made


@pytest.fixture
def in_postgres(postgres: Postgres, tmp_path: Path) -> StudyPlan:
    plan = make_plan(tmp_path / "ws", LR_RANGE, trials=3, sampler="random")
    return replace(plan, storage=postgres.new_database(uuid.uuid4().hex), experiment="first")


def read(plan: StudyPlan) -> StudyResult | None:
    return load_study_result(plan.folder, None, plan.storage, plan.name)


def ask_all(study: Study) -> Iterator[OpenTrial]:
    while (trial := study.ask()) is not None:
        yield trial


def complete(study: Study, trial: OpenTrial, value: float = 3.25) -> None:
    study.report(trial, 1, [value])
    study.tell(trial, "complete", 0.1)


def run_all(plan: StudyPlan) -> StudyResult:
    with Study(plan) as study:
        for trial in ask_all(study):
            complete(study, trial, 3.0 + trial.number / 7)
        return study.result()


def test_a_study_is_read_as_it_was_written(make: Make):
    plan = make(seeds_per_trial=2)
    assert read(plan) is None
    with Study(plan) as study:
        first, second, third = ask_all(study)
        study.report(first, 1, [1 / 3, 2 / 3])
        study.tell(first, "complete", 1.5)
        study.fail(second, "nan", "train_loss is nan")
        study.report(third, 1, [0.1, 0.2])
        study.tell(third, "pruned", 0.5)
        written = study.result()
    assert read(plan) == written
    assert [trial.state for trial in written.trials] == ["complete", "failed", "pruned"]
    assert written.trials[0].seed_values == ((1 / 3, 2 / 3),)
    assert written.trials[1].reason == "train_loss is nan"
    assert written.trials[0].params == first.params


def test_the_same_trials_are_drawn_in_every_storage(make: Make, tmp_path: Path):
    journal = run_all(make_plan(tmp_path / "other", LR_RANGE, trials=6, sampler="tpe"))
    assert run_all(make(trials=6)) == journal


def test_a_trial_that_was_cut_off_is_put_again(make: Make):
    plan = make()
    with Study(plan) as study:
        complete(study, study.ask())
        lost = study.ask()
    with Study(plan) as study:
        again = study.ask()
        assert (again.number, again.params) == (lost.number, lost.params)
        complete(study, again)
        complete(study, study.ask())
        assert study.ask() is None
    assert [trial.state for trial in read(plan).trials] == ["complete"] * 3


def test_asha_remembers_its_rungs(make: Make):
    plan = replace(make(trials=20, scheduler="asha", sampler="random", grace_epochs=1))
    plan = replace(plan, run=plan.run.model_copy(update={"training": make_epochs(plan, 8)}))
    with Study(plan) as study:
        for i in range(4):
            trial = study.ask()
            assert study.report(trial, 1, [float(i)]) == (i > 0)
            study.tell(trial, "pruned", 0.1)
    with Study(plan) as study:
        assert study.report(study.ask(), 1, [2.0])


def make_epochs(plan: StudyPlan, epochs: int) -> object:
    return plan.run.training.model_copy(update={"max_epochs": epochs})


def test_studies_side_by_side_do_not_mix(make: Make):
    one, other = make("one"), make("other", seed=7)
    with Study(one) as first, Study(other) as second:
        for _ in range(3):
            complete(first, first.ask(), 1.0)
            complete(second, second.ask(), 2.0)
    assert [trial.best_value for trial in read(one).trials] == [1.0] * 3
    assert [trial.best_value for trial in read(other).trials] == [2.0] * 3
    assert read(one).trials[0].params != read(other).trials[0].params


KILLED = """
import json, os, signal, sys
from dataclasses import replace
from pathlib import Path
from engine_plans import LR_RANGE, make_plan
from brainage_ray.execution.study import Study

plan = make_plan(Path(sys.argv[1]), LR_RANGE, trials=3, sampler="tpe")
plan = replace(plan, storage=json.loads(sys.argv[2]), experiment="first")
with Study(plan) as study:
    for value in (1.0, 2.0):
        trial = study.ask()
        study.report(trial, 1, [value])
        if value == 1.0:
            study.tell(trial, "complete", 0.1)
    print("busy", flush=True)
    sys.stdin.read()
"""


def test_two_drivers_never_share_a_study_and_a_killed_one_leaves_it(make: Make):
    plan = make()
    arguments = [str(plan.folder.parent), json.dumps(plan.storage)]
    driver = subprocess.Popen([sys.executable, "-c", KILLED, *arguments], cwd=HERE, text=True,
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
    with driver:
        assert driver.stdout.readline() == "busy\n"
        with pytest.raises(EngineError, match="another process is at work"), Study(plan):
            pass
        if plan.storage:  # from another workspace, or another machine
            elsewhere = replace(plan, folder=plan.folder.parent / "elsewhere")
            with (
                pytest.raises(EngineError, match=r"another process is at work on first/unet-\w+ in "),
                Study(elsewhere),
            ):
                pass
        assert [trial.state for trial in read(plan).trials] == ["complete", "running"]
        driver.send_signal(signal.SIGKILL)
    result = run_all_soon(plan)
    assert [trial.state for trial in result.trials] == ["complete"] * 3
    assert result.trials[0].best_value == 1.0


def run_all_soon(plan: StudyPlan) -> StudyResult:
    """PostgreSQL notices the end of a process a moment later."""
    while True:  # the test's own time limit ends it
        try:
            return run_all(plan)
        except EngineError as error:
            if "at work" not in str(error):
                raise


def test_a_workspace_that_was_lost_finds_its_study_in_the_database(make: Make, tmp_path: Path):
    plan = make()
    if plan.storage is None:
        pytest.skip("a journal is in the workspace")
    first = run_all(plan)
    assert read(replace(plan, folder=tmp_path / "new")) == first
    assert run_all(replace(plan, folder=tmp_path / "new")) == first


def test_reading_makes_nothing(make: Make, tmp_path: Path):
    plan = make()
    before = sorted(tmp_path.rglob("*"))
    assert read(plan) is None
    assert sorted(tmp_path.rglob("*")) == before


def test_a_start_that_forgets_the_storage_is_refused(make: Make):
    plan = make()
    done = run_all(plan)
    if plan.storage is None:
        with pytest.raises(EngineError, match=r"lives in its own journal file.*Leave out --storage and BRAINAGE"):
            run_all(replace(plan, storage=f"sqlite:///{plan.folder.parent / 'new.db'}"))
        assert not (plan.folder.parent / "new.db").exists()
    else:
        with pytest.raises(EngineError, match=r"lives in (sqlite|postgresql)://.*Give --storage (sqlite|postgresql)"):
            run_all(replace(plan, storage=None))
        assert not (plan.folder / "study.journal").exists()
        with pytest.raises(EngineError, match=r"begun as first/unet-\w+ in .*new.db does not hold it"):
            run_all(replace(plan, storage=f"sqlite:///{plan.folder.parent / 'new.db'}"))
    assert read(plan) == done


def test_a_study_that_is_gone_from_its_storage_is_not_begun_anew(make: Make):
    plan = make()
    run_all(plan)
    if plan.storage is None:
        pytest.skip("its journal is the storage")
    storage, name = find_study(plan.folder, plan.storage)
    storage.delete_study(storage.get_study_id_from_name(name))
    for attempt in (run_all, read):
        with pytest.raises(EngineError, match="is gone from there"):
            attempt(plan)


def test_a_storage_that_moved_is_followed(tmp_path: Path):
    old, new = (f"sqlite:///{tmp_path / name}.db" for name in ("old", "new"))
    plan = replace(make_plan(tmp_path, LR_RANGE, trials=2), storage=old, experiment="first")
    done = run_all(plan)
    (tmp_path / "old.db").rename(tmp_path / "new.db")
    assert run_all(replace(plan, storage=new)) == done
    assert json.loads((plan.folder / NOTE).read_text()) == {"storage": new, "study": plan.name}
    assert load_study_result(plan.folder) == done


def test_a_journal_of_an_earlier_version_goes_on(tmp_path: Path):
    plan = make_plan(tmp_path, LR_RANGE, trials=2)
    plan.folder.mkdir(parents=True)
    backend = optuna.storages.journal.JournalFileBackend(str(plan.folder / "study.journal"))
    optuna.create_study(study_name="study.journal", storage=optuna.storages.JournalStorage(backend))
    run_all(plan)
    assert find_study(plan.folder)[1] == "study.journal"
    assert len(load_study_result(plan.folder).trials) == 2


def test_what_a_trial_depends_on_is_not_where_its_study_lives(tmp_path: Path):
    plan = make_plan(tmp_path, LR_RANGE)
    assert replace(plan, storage="sqlite:///x.db", experiment="other").key == plan.key


@pytest.mark.parametrize(
    ("storage", "words"),
    [
        ("mysql://me:hidden@host/studies", "of the kind mysql.*postgresql://"),
        ("redis://:hidden@host", "of the kind redis.*postgresql://"),
        ("ray://head:10001", "of the kind ray.*journal"),
        ("postgresql+psycopg2://me:hidden@host/studies", "psycopg2.*postgresql://"),
        ("sqlite://", "in memory.*sqlite:///FILE"),
        ("sqlite:///:memory:", "in memory.*sqlite:///FILE"),
        ("sqlite:////no-such-folder/studies.db", "no-such-folder.*has no folder"),
        ("/var/studies", "no URL of a database"),
        ("postgresql://me:hidden@host:port/studies", "no URL of a database"),
        ("postgresql://me:a@hidden@host/studies", "an @ too many.*%40"),
    ],
)
def test_what_cannot_hold_a_study_is_refused_with_the_fix(storage: str, words: str):
    with pytest.raises(ConfigError, match=words) as refused:
        check_storage(storage)
    assert "hidden" not in str(refused.value)


def test_a_database_that_cannot_be_reached_is_an_error_without_the_password(postgres: Postgres):
    for url in (postgres.url("nowhere"), postgres.url("postgres", ":wr0ng-one"), postgres.url("postgres", "")):
        with pytest.raises(EngineError, match=r"cannot be used: .*PGPASSWORD or ~/.pgpass") as refused:
            check_storage(url)
        assert PASSWORD not in str(refused.value)
        assert "wr0ng" not in str(refused.value)


def test_the_password_may_come_from_the_environment(postgres: Postgres, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    check_storage(postgres.url("postgres", ""))


def test_a_password_is_saved_nowhere(in_postgres: StudyPlan, monkeypatch: pytest.MonkeyPatch):
    plan = in_postgres
    done = run_all(replace(plan, storage=f"{plan.storage}?sslpassword=0ther-secret"))
    for file in (path for path in plan.folder.parent.rglob("*") if path.is_file()):
        assert not any(secret.encode() in file.read_bytes() for secret in (PASSWORD, "0ther-secret"))
    assert PASSWORD not in repr(plan)
    with pytest.raises(EngineError, match="no password supplied"):
        load_study_result(plan.folder)
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    assert load_study_result(plan.folder) == done


def test_tables_of_another_optuna_are_refused(in_postgres: StudyPlan):
    import psycopg

    run_all(in_postgres)
    with psycopg.connect(in_postgres.storage, autocommit=True) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v0.9.0.a'")
    with pytest.raises(EngineError, match="another version of Optuna"):
        run_all(in_postgres)


def test_lr_is_a_full_double(make: Make):
    plan = make(sampler="random")
    with Study(plan) as study:
        drawn = [trial.params[LR] for trial in ask_all(study)]
    assert [trial.params[LR] for trial in read(plan).trials] == drawn
