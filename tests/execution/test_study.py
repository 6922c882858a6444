from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from engine_plans import BATCH, GRID, LR, LR_RANGE, make_plan
from optuna.storages.journal import JournalFileBackend

from brainage_ray.errors import EngineError, NoSpaceError
from brainage_ray.execution import StudyPlan, load_study_result
from brainage_ray.execution.journal import TRIES
from brainage_ray.execution.results import Failure
from brainage_ray.execution.study import OpenTrial, Study, count_trials


def ask_all(study: Study) -> Iterator[OpenTrial]:
    while (trial := study.ask()) is not None:
        yield trial


def complete(study: Study, trial: OpenTrial, value: float = 3.0) -> None:
    study.report(trial, 1, [value])
    study.tell(trial, "complete", 0.1)


def ask_and_fail(study: Study, failure: Failure) -> Iterator[OpenTrial]:
    for trial in ask_all(study):
        assert study.fail(trial, failure, "OSError: the store is gone") == (study.open_places > 0)
        yield trial


def run_all(plan: StudyPlan) -> list[dict[str, object]]:
    with Study(plan) as study:
        for trial in ask_all(study):
            complete(study, trial)
        return [dict(trial.params) for trial in study.result().trials]


def test_a_grid_tries_each_point_once(tmp_path: Path):
    plan = make_plan(tmp_path, GRID, sampler="grid")
    points = run_all(plan)
    assert len(points) == count_trials(plan) == 6
    assert {(point[LR], point[BATCH]) for point in points} == {(a, b) for a in (1e-3, 1e-4, 1e-5) for b in (32, 64)}


@pytest.mark.parametrize("trials", [1, 40])
def test_a_grid_has_as_many_trials_as_points(tmp_path: Path, trials: int):
    assert count_trials(make_plan(tmp_path, GRID, sampler="grid", trials=trials)) == 6


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_the_seed_decides_the_draws(tmp_path: Path, sampler: str):
    one, two, other = (
        run_all(make_plan(tmp_path / name, LR_RANGE, sampler=sampler, trials=14, seed=seed))
        for name, seed in (("one", 0), ("two", 0), ("other", 1))
    )
    assert one == two
    assert all(a != b for a, b in zip(one, other, strict=True))
    assert len({point[LR] for point in one}) == 14


def test_an_interrupted_study_draws_what_an_uninterrupted_one_draws(tmp_path: Path):
    whole = run_all(make_plan(tmp_path / "whole", LR_RANGE, sampler="random", trials=8))
    plan = make_plan(tmp_path / "cut", LR_RANGE, sampler="random", trials=8)
    with Study(plan) as study:
        complete(study, study.ask())
        study.ask()
        complete(study, study.ask())
    assert [trial.state for trial in load_study_result(plan.folder).trials] == ["complete", "running", "complete"]
    assert run_all(plan) == whole


def test_answered_trials_are_not_asked_again(tmp_path: Path):
    plan = make_plan(tmp_path, LR_RANGE, trials=4)
    with Study(plan) as study:
        complete(study, study.ask())
        pruned = study.ask()
        study.report(pruned, 1, [4.0])
        study.tell(pruned, "pruned", 0.1)
        study.fail(study.ask(), "nan", "validation_mae is nan in epoch 3")
    with Study(plan) as study:
        assert [trial.number for trial in ask_all(study)] == [3]
        states = [(trial.number, trial.state, trial.reason) for trial in study.result().trials]
    assert states == [
        (0, "complete", ""),
        (1, "pruned", ""),
        (2, "failed", "validation_mae is nan in epoch 3"),
        (3, "running", ""),
    ]


@pytest.mark.parametrize("failure", ["error", "lost"])
def test_what_may_be_the_fault_of_the_machine_is_tried_again_at_once_and_not_for_ever(tmp_path: Path, failure: Failure):
    plan = make_plan(tmp_path, LR_RANGE, trials=1)
    with Study(plan) as study:
        tries = list(ask_and_fail(study, failure))
        assert len(tries) == TRIES
        assert all(trial.params == tries[0].params for trial in tries)
        assert study.result().trials[0].state == "failed"
        assert study.result().trials[0].reason == "OSError: the store is gone"


@pytest.mark.parametrize("failure", ["error", "lost"])
def test_a_start_without_a_complete_trial_tries_all_again_that_the_machine_failed(tmp_path: Path, failure: Failure):
    plan = make_plan(tmp_path, LR_RANGE, epochs=2, trials=3)
    with Study(plan) as study:
        pruned = study.ask()
        study.report(pruned, 1, [4.0])
        study.tell(pruned, "pruned", 0.1)
        study.fail(study.ask(), "nan", "validation_mae is nan in epoch 3")
        first = [trial.params for trial in ask_and_fail(study, failure)]
        assert len(first) == TRIES
        assert study.result().done
    between = load_study_result(plan.folder)
    assert [trial.state for trial in between.trials] == ["pruned", "failed", "running"]
    assert not between.done
    with Study(plan) as study:
        assert [trial.state for trial in study.result().trials] == ["pruned", "failed", "running"]
        assert [trial.params for trial in ask_and_fail(study, failure)] == first
    with Study(plan) as study:
        complete(study, study.ask())
    assert load_study_result(plan.folder).done


def test_a_complete_trial_makes_failures_final_for_later_starts(tmp_path: Path):
    plan = make_plan(tmp_path, LR_RANGE, trials=2)
    with Study(plan) as study:
        good = study.ask()
        assert len(list(ask_and_fail(study, "error"))) == TRIES
        complete(study, good)
    assert [trial.state for trial in load_study_result(plan.folder).trials] == ["complete", "failed"]
    assert load_study_result(plan.folder).done
    with Study(plan) as study:
        assert study.open_places == 0
        assert [trial.state for trial in study.result().trials] == ["complete", "failed"]


def test_a_complete_trial_beyond_the_wanted_ones_makes_nothing_final(tmp_path: Path):
    plan = make_plan(tmp_path, LR_RANGE, trials=2)
    with Study(plan) as study:
        first, second = study.ask(), study.ask()
        complete(study, second)
        study.fail(first, "error", "OSError: the store is gone")
        assert len(list(ask_and_fail(study, "error"))) == TRIES - 1
    assert load_study_result(plan.folder).done
    assert not load_study_result(plan.folder, 1).done
    with Study(replace(plan, search=plan.search.model_copy(update={"trials": 1}))) as study:
        assert study.open_places == 1


def test_tries_count_by_start_and_interruptions_do_not(tmp_path: Path):
    plan = make_plan(tmp_path, LR_RANGE, trials=2)
    with Study(plan) as study:
        good = study.ask()
        complete(study, good)
    for failure in ("error", "interrupted", "lost", "interrupted", "interrupted"):
        with Study(plan) as study:
            study.fail(study.ask(), failure, "OSError: the store is gone")
        assert [trial.state for trial in load_study_result(plan.folder).trials] == ["complete", "running"]
    with Study(plan) as study:
        assert len(list(ask_and_fail(study, "error"))) == TRIES
    with Study(plan) as study:
        assert study.open_places == 0


def test_a_place_that_a_later_start_left_open_stays_open(tmp_path: Path):
    plan = make_plan(tmp_path, LR_RANGE, trials=2)
    with Study(plan) as study:
        for _ in range(2 * TRIES):
            study.fail(study.ask(), "lost", "its process died")
    with Study(plan) as study:
        study.ask()  # and the driver is killed
        complete(study, study.ask())
    assert [trial.state for trial in load_study_result(plan.folder).trials] == ["running", "complete"]
    with Study(plan) as study:
        assert study.open_places == 1


def test_a_raised_number_of_trials_goes_on_where_it_was(tmp_path: Path):
    plan = make_plan(tmp_path, LR_RANGE, sampler="random", trials=3)
    first = run_all(plan)
    more = replace(plan, search=plan.search.model_copy(update={"trials": 5}))
    assert run_all(more)[:3] == first
    assert len(load_study_result(plan.folder).trials) == 5
    assert load_study_result(plan.folder).wanted == 5


def test_a_lowered_number_of_trials_hides_the_others(tmp_path: Path):
    plan = make_plan(tmp_path, LR_RANGE, sampler="random", trials=5)
    all_five = run_all(plan)
    assert len(load_study_result(plan.folder, 2).trials) == load_study_result(plan.folder, 2).wanted == 2
    fewer = replace(plan, search=plan.search.model_copy(update={"trials": 3}))
    assert run_all(fewer) == all_five[:3]
    assert len(load_study_result(plan.folder).trials) == 3
    assert load_study_result(plan.folder).done
    assert len(load_study_result(plan.folder, 5).trials) == 5


def test_the_best_is_smoothed_and_comes_from_the_mean_of_the_seeds(tmp_path: Path):
    with Study(make_plan(tmp_path, LR_RANGE, epochs=3, trials=1, smooth_epochs=2, seeds_per_trial=2)) as study:
        trial = study.ask()
        for epoch, seeds in enumerate([(1.0, 3.0), (8.0, 8.0), (1.0, 1.0)], start=1):
            assert not study.report(trial, epoch, seeds)
        assert study.tell(trial, "complete", 1.5) == 4.5
        result = study.result().trials[0]
    assert result.values == (2.0, 8.0, 1.0)
    assert result.seed_values == ((1.0, 3.0), (8.0, 8.0), (1.0, 1.0))
    assert (result.best_value, result.best_epoch, result.seconds) == (4.5, 3, 1.5)


def test_asha_stops_the_worse_half_and_remembers_it_after_a_restart(tmp_path: Path):
    plan = make_plan(tmp_path, LR_RANGE, epochs=8, trials=20, scheduler="asha", sampler="random", grace_epochs=1)
    with Study(plan) as study:
        for i in range(4):
            trial = study.ask()
            assert study.report(trial, 1, [float(i)]) == (i > 0)
            study.tell(trial, "pruned", 0.1)
    with Study(plan) as study:
        poor, good = study.ask(), study.ask()
        assert study.report(poor, 1, [2.0])
        assert not study.report(good, 1, [0.5])


def test_asha_compares_no_trial_with_its_own_interrupted_try(tmp_path: Path):
    plan = make_plan(tmp_path, LR_RANGE, epochs=8, trials=1, scheduler="asha", sampler="random", grace_epochs=1)
    with Study(plan) as study:
        interrupted = study.ask()
        assert not study.report(interrupted, 1, [3.0])
    with Study(plan) as study:
        assert not study.report(study.ask(), 1, [3.1])  # the same parameters on another device


@pytest.mark.parametrize("failure", [None, "lost"])
def test_asha_lets_through_again_what_it_let_through_before(tmp_path: Path, failure: Failure | None):
    plan = make_plan(tmp_path, LR_RANGE, epochs=8, trials=2, scheduler="asha", sampler="random", grace_epochs=1)
    with Study(plan) as study:
        first, better = study.ask(), study.ask()
        assert not any(study.report(first, epoch, [3.0]) for epoch in (1, 2, 3))
        assert not any(study.report(better, epoch, [2.0]) for epoch in range(1, 9))
        study.tell(better, "complete", 0.1)
        if failure:  # else the driver is killed
            study.fail(first, failure, "its process died")
            assert [study.report(study.ask(), 1, [3.0])] == [False]
    with Study(plan) as study:
        again = study.ask()
        assert (again.number, again.params) == (first.number, first.params)
        assert [study.report(again, epoch, [3.0]) for epoch in (1, 2, 3, 4)] == [False, False, False, True]


@pytest.mark.parametrize(("smooth", "grace"), [(1, 2), (3, 3), (20, 4)])
def test_asha_gives_grace_for_a_quarter_of_the_epochs_and_one_window(tmp_path: Path, smooth: int, grace: int):
    with Study(make_plan(tmp_path, LR_RANGE, epochs=8, trials=2, scheduler="asha", smooth_epochs=smooth)) as study:
        good, bad = study.ask(), study.ask()
        assert not any(study.report(good, epoch, [1.0]) for epoch in range(1, 9))
        assert [study.report(bad, epoch, [2.0]) for epoch in range(1, grace + 1)] == [False] * (grace - 1) + [True]


def test_asha_lets_a_trial_finish_its_last_epoch(tmp_path: Path):
    with Study(make_plan(tmp_path, LR_RANGE, epochs=1, trials=3, scheduler="asha")) as study:
        assert [study.report(trial, 1, [float(trial.number)]) for trial in ask_all(study)] == [False] * 3


def test_half_a_line_of_a_killed_driver_is_dropped(tmp_path: Path):
    plan = make_plan(tmp_path, LR_RANGE, trials=2)
    with Study(plan) as study:
        complete(study, study.ask())
    with (plan.folder / "study.journal").open("ab") as journal:
        journal.write(b'{"op_code": 4, "wor')
    (plan.folder / "study.journal.lock").symlink_to(plan.folder / "study.journal")
    assert load_study_result(plan.folder).trials[0].state == "complete"
    assert len(run_all(plan)) == 2


@pytest.mark.parametrize(
    ("problem", "raised"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), NoSpaceError),
        (OSError(errno.EIO, "Input/output error"), OSError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_a_line_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: BaseException, raised: type[BaseException]
):
    def half(self: JournalFileBackend, logs: object) -> None:
        with journal.open("ab") as file:
            file.write(b'{"op_code": 4, "wor')
        raise problem

    plan = make_plan(tmp_path, LR_RANGE, trials=2)
    journal = plan.folder / "study.journal"
    with Study(plan) as study:
        trial = study.ask()
        before = journal.read_bytes()
        with monkeypatch.context() as patch:
            patch.setattr(JournalFileBackend, "append_logs", half)
            with pytest.raises(raised):
                complete(study, trial)
        assert journal.read_bytes() == before
        complete(study, study.ask())
    assert [trial.state for trial in load_study_result(plan.folder).trials] == ["running", "complete"]
    assert len(run_all(plan)) == 2


def test_one_process_at_a_time(tmp_path: Path):
    plan = make_plan(tmp_path, LR_RANGE)
    with Study(plan), pytest.raises(EngineError, match="another process"), Study(plan):
        pass
    with Study(plan):
        pass


def test_the_folder_of_another_study_is_refused(tmp_path: Path):
    plan = make_plan(tmp_path, LR_RANGE, trials=1)
    run_all(plan)
    other = replace(plan, search=plan.search.model_copy(update={"seed": 5}))
    for _ in range(2):  # and the lock is free again
        with pytest.raises(EngineError, match="another search"), Study(other):
            pass


def test_no_study_no_result(tmp_path: Path):
    assert load_study_result(tmp_path) is None
    (tmp_path / "study.journal").touch()
    assert load_study_result(tmp_path) is None


def test_reading_a_study_in_use_changes_nothing(tmp_path: Path):
    plan = make_plan(tmp_path, LR_RANGE, trials=2)
    with Study(plan) as study:
        study.ask()
        before = (plan.folder / "study.journal").read_bytes()
        assert [trial.state for trial in load_study_result(plan.folder).trials] == ["running"]
        assert (plan.folder / "study.journal").read_bytes() == before
