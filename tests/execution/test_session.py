from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import pytest
from engine_plans import LR, LR_RANGE, Heard, make_plan

from brainage_ray.config import ResourcesConfig
from brainage_ray.config.run import InitialWeights
from brainage_ray.errors import NoSpaceError
from brainage_ray.execution.journal import TRIES
from brainage_ray.execution.session import StudySession, trial_runs
from brainage_ray.execution.study import Study


def epoch(number: int, *values: float) -> dict[str, object]:
    metrics = {"validation_mae": sum(values) / len(values)}
    return {"epoch": number, "seed_values": list(values), "metrics": metrics, "seconds": 0.5 * number}


def test_a_trial_from_its_start_to_its_end(tmp_path: Path):
    plan, heard = make_plan(tmp_path, LR_RANGE, epochs=2, trials=1), Heard()
    with Study(plan) as study:
        session = StudySession(plan, study, heard)
        (run,) = session.begin("a")
        assert session.begin("b") is None
        assert not session.finished
        assert not session.hear("a", epoch(1, 5.0))
        assert not session.hear("a", epoch(2, 4.0))
        session.end("a")
        assert session.finished
        (result,) = study.result().trials
    (key,) = heard.runs
    info = heard.runs[key]
    assert (info.name, info.kind, info.parent) == ("trial-000", "trial", "unet/study")
    assert info.params == {LR: run.training.optimizer.lr}
    assert heard.epochs[key] == [(1, {"validation_mae": 5.0}), (2, {"validation_mae": 4.0})]
    assert heard.ends[key] == ("complete", {"best_validation_mae": 4.0})
    assert (result.state, result.best_value, result.best_epoch, result.seconds) == ("complete", 4.0, 2, 1.0)


def test_a_stopped_trial_is_pruned(tmp_path: Path):
    plan, heard = make_plan(tmp_path, LR_RANGE, epochs=8, trials=2, scheduler="asha", grace_epochs=1), Heard()
    with Study(plan) as study:
        session = StudySession(plan, study, heard)
        for name, value in (("good", 1.0), ("bad", 2.0)):
            session.begin(name)
            assert session.hear(name, epoch(1, value)) == (name == "bad")
        session.end("bad")
        assert study.result().trials[1].state == "pruned"
        assert study.result().trials[1].best_value == 2.0
    assert heard.states == ["pruned"]


def test_a_failed_trial_keeps_its_reason(tmp_path: Path):
    plan, heard = make_plan(tmp_path, LR_RANGE, epochs=2, trials=1), Heard()
    with Study(plan) as study:
        session = StudySession(plan, study, heard)
        session.begin("a")
        session.hear("a", epoch(1, 5.0))
        assert not session.hear("a", {"failure": "nan", "reason": "loss is nan", "seconds": 1.0})
        session.end("a")
        assert session.finished
        (result,) = study.result().trials
    assert (result.state, result.reason, result.values) == ("failed", "loss is nan", (5.0,))
    assert heard.states == ["failed"]


def test_a_trial_that_raises_is_put_again_before_the_study_ends(tmp_path: Path):
    plan, heard = make_plan(tmp_path, LR_RANGE, trials=1), Heard()
    with Study(plan) as study:
        session = StudySession(plan, study, heard)
        first = session.begin("a")
        session.hear("a", {"failure": "error", "reason": "OSError: the store is gone"})
        session.end("a")
        assert not session.finished
        assert heard.states == []
        assert session.begin("b") == first
        session.hear("b", epoch(1, 5.0))
        session.end("b")
        assert session.finished
    assert heard.states == ["complete"]


def test_a_full_disk_ends_the_study_and_is_no_try(tmp_path: Path):
    plan, heard = make_plan(tmp_path, LR_RANGE, trials=1), Heard()
    for _ in range(TRIES + 1):
        with Study(plan) as study:
            session = StudySession(plan, study, heard)
            assert session.begin("a") is not None
            with pytest.raises(NoSpaceError, match=r"^no space on /data. Free some.$"), session.noting():
                session.hear("a", {"failure": "full", "reason": "no space on /data. Free some."})
            assert isinstance(session.problem, NoSpaceError)
            session.abandon()
            assert study.result().trials[0].state == "running"


def test_the_first_problem_is_kept_and_a_full_disk_does_not_hide_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> bool:
        raise NoSpaceError("the disk is full")

    plan = make_plan(tmp_path, LR_RANGE, trials=1)
    with Study(plan) as study:
        session = StudySession(plan, study, Heard())
        session.begin("a")
        monkeypatch.setattr(study, "fail", full)
        for error in (first := ValueError("one"), KeyError("two")):
            with pytest.raises(type(error)), session.noting():
                raise error
        session.abandon()
    assert session.problem is first


def test_a_lost_trial_goes_on_under_the_same_key(tmp_path: Path):
    plan, heard = make_plan(tmp_path, LR_RANGE, epochs=2, trials=1), Heard()
    with Study(plan) as study:
        session = StudySession(plan, study, heard)
        seen = []
        for i in range(TRIES):
            seen.append(session.begin(str(i)))
            session.hear(str(i), epoch(1, 5.0))
            assert heard.states == []
            session.end(str(i))
        assert session.finished
        assert "memory" in study.result().trials[0].reason
    assert seen[0] == seen[1] == seen[2]
    assert len(heard.runs) == 1
    assert heard.states == ["failed"]


def test_trials_in_flight_are_cut_off_and_put_again(tmp_path: Path):
    plan, heard = make_plan(tmp_path, LR_RANGE, trials=2), Heard()
    with Study(plan) as study:
        session = StudySession(plan, study, heard)
        first = session.begin("a")
        session.abandon()
        session.end("a")  # Tune may still say so
        assert study.result().trials[0].state == "running"
    with Study(plan) as study:
        assert StudySession(plan, study, heard).begin("b") == first


def test_a_restart_tells_of_the_answered_trials(tmp_path: Path):
    plan = make_plan(tmp_path, LR_RANGE, trials=3)
    with Study(plan) as study:
        session = StudySession(plan, study, Heard())
        for name in "ab":
            session.begin(name)
        session.hear("a", epoch(1, 5.0))
        session.end("a")
        session.hear("b", {"failure": "nan", "reason": "nan"})
        session.end("b")
    heard = Heard()
    with Study(plan) as study:
        StudySession(plan, study, heard).replay()
    assert sorted(heard.ends.values()) == [("complete", {"best_validation_mae": 5.0}), ("failed", {})]
    assert sorted(heard.epochs.values()) == [[], [(1, {"validation_mae": 5.0})]]


def test_a_restart_tells_of_no_trial_that_it_tries_again(tmp_path: Path):
    plan = make_plan(tmp_path, LR_RANGE, trials=1)
    with Study(plan) as study:
        for _ in range(TRIES):
            study.fail(study.ask(), "error", "CUDA driver too old")
    heard = Heard()
    with Study(plan) as study:
        session = StudySession(plan, study, heard)
        session.replay()
        assert not heard.runs
        session.begin("a")
        session.hear("a", epoch(1, 5.0))
        session.end("a")
    assert heard.states == ["complete"]


def test_the_repeats_of_a_trial(tmp_path: Path):
    weights = tuple(InitialWeights(path=tmp_path / f"{i}", sha256=str(i) * 64) for i in range(2))
    plan = replace(make_plan(tmp_path, LR_RANGE, cpus=2.5, seeds_per_trial=3, seed=10), initial=weights)
    runs = trial_runs(plan, 7, {LR: 1.0e-2})
    assert [run.seed for run in runs] == [10, 11, 12]
    assert [run.initial for run in runs] == [weights[0], weights[1], weights[0]]
    assert {run.training.optimizer.lr for run in runs} == {1.0e-2}
    assert {run.threads for run in runs} == {2}
    assert [run.folder.relative_to(plan.folder).as_posix() for run in runs] == [
        "trials/007/seed-0",
        "trials/007/seed-1",
        "trials/007/seed-2",
    ]


@pytest.mark.parametrize(("gpus", "device"), [(0, "cpu"), (0.25, "cuda"), (1, "cuda")])
def test_a_trial_without_a_gpu_takes_none(tmp_path: Path, gpus: float, device: str):
    plan = make_plan(tmp_path, LR_RANGE)
    plan = replace(
        plan,
        run=plan.run.model_copy(update={"device": "auto"}),
        resources=ResourcesConfig(gpus_per_trial=gpus, gpus_per_worker=3),
    )
    assert [run.device for run in trial_runs(plan, 0, {LR: 1.0e-2})] == [device]


def test_tune_may_pickle_a_session(tmp_path: Path):
    plan = make_plan(tmp_path, LR_RANGE)
    with Study(plan) as study:
        pickle.loads(pickle.dumps(StudySession(plan, study, Heard())))
