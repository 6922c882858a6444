from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from engine_plans import LR_RANGE, make_plan
from hypothesis import given
from hypothesis import strategies as st

from brainage_ray.config.run import InitialWeights
from brainage_ray.execution import StudyResult, TrialResult, best_of, moving_average

VALUES = st.lists(st.floats(0, 100), min_size=1, max_size=30)


def test_the_moving_average_looks_back():
    assert moving_average([4.0, 2.0, 3.0, 7.0], 3) == [4.0, 3.0, 3.0, 4.0]


@given(VALUES)
def test_a_window_of_one_changes_nothing(values: list[float]):
    assert moving_average(values, 1) == values
    assert best_of(values, 1) == (min(values), values.index(min(values)) + 1)


@given(VALUES, st.integers(1, 40))
def test_the_best_is_the_smallest_average_of_a_whole_window(values: list[float], window: int):
    best, epoch = best_of(values, window)
    width = min(window, len(values))
    averages = [sum(values[end - width : end]) / width for end in range(width, len(values) + 1)]
    assert best == pytest.approx(min(averages))
    assert width <= epoch <= len(values)
    assert best == pytest.approx(sum(values[epoch - width : epoch]) / width)


def test_a_lucky_first_epoch_does_not_win_under_smoothing():
    assert best_of([1.0, 9.0, 5.0, 5.0, 5.0], 3) == (5.0, 3)
    assert best_of([1.0, 9.0, 5.0, 4.0, 3.0], 3) == (4.0, 5)


def test_results_are_plain_json():
    trial = TrialResult(0, {"a": 1}, "complete", (1.0,), ((1.0,),), 1.0, 1, 0.5)
    result = StudyResult((trial,), 1)
    assert json.loads(json.dumps(result.to_json()))["trials"][0] == json.loads(json.dumps(trial.to_json()))


def test_a_window_may_have_to_end_after_an_epoch():
    assert best_of([1.0, 9.0, 5.0, 6.0], 1, since=1) == (5.0, 3)
    assert best_of([1.0, 9.0, 5.0, 6.0], 3, since=3) == (20 / 3, 4)


def test_a_study_is_done_when_every_trial_is_answered():
    answered, running = TrialResult(0, {}, "failed"), TrialResult(1, {}, "running")
    assert StudyResult((answered,), 1).done
    assert not StudyResult((answered,), 2).done
    assert not StudyResult((answered, running), 2).done


def test_the_key_names_the_weights_that_the_repeats_start_from_and_no_others(tmp_path: Path):
    two, three = (
        tuple(InitialWeights(path=tmp_path / str(i), sha256=str(i) * 64) for i in range(count)) for count in (2, 3)
    )
    for seeds, same in ((1, True), (2, True), (3, False)):
        plan = make_plan(tmp_path, LR_RANGE, seeds_per_trial=seeds)
        assert (replace(plan, initial=two).key == replace(plan, initial=three).key) == same
        assert replace(plan, initial=two).key != replace(plan, initial=two[::-1]).key != plan.key


def test_the_key_names_what_a_trial_depends_on(tmp_path: Path):
    plan = make_plan(tmp_path, LR_RANGE)
    weights = InitialWeights(path=tmp_path, sha256="0" * 64)
    same = [make_plan(tmp_path, LR_RANGE, trials=7), make_plan(tmp_path / "b", LR_RANGE, max_concurrent=1, cpus=2)]
    others = [make_plan(tmp_path, LR_RANGE, seed=1), make_plan(tmp_path, LR_RANGE, epochs=2)]
    others.append(type(plan)(plan.arm, plan.run, plan.search, plan.folder, initial=(weights,)))
    assert {other.key for other in same} == {plan.key}
    assert len({plan.key, *(other.key for other in others)}) == 4
