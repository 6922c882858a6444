from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from engine_plans import GRID, LR_RANGE, Heard, make_plan

from brainage_ray.config import BudgetConfig, ResourcesConfig, TrainingRun
from brainage_ray.errors import TrialFailed
from brainage_ray.execution import Cluster, StudyPlan, StudyResult, load_study_result, run_study
from brainage_ray.execution.budget import HOUR, BudgetWatch, Spent, places_left, why_over
from brainage_ray.execution.session import StudySession
from brainage_ray.execution.study import Study


def planned(folder: Path, budget: dict[str, Any], trials: int = 4, epochs: int = 2) -> StudyPlan:
    return make_plan(folder, LR_RANGE, epochs=epochs, trials=trials, sampler="random", budget=BudgetConfig(**budget))


def epoch(number: int, value: float, seconds: float = 0.0) -> dict[str, Any]:
    return {"epoch": number, "seed_values": [value], "metrics": {"validation_mae": value}, "seconds": seconds}


def finish(session: StudySession, name: str, value: float) -> None:
    assert session.begin(name) is not None
    for number in (1, 2):
        assert not session.hear(name, epoch(number, value))
    session.end(name)


def states(result: StudyResult) -> list[str]:
    return [trial.state for trial in result.trials]


@pytest.mark.parametrize(
    ("limits", "spent", "best", "why"),
    [
        ({}, Spent(1e9, 1e9), 0.0, ""),
        ({"max_hours": 2.0}, Spent(2 * HOUR - 1), None, ""),
        ({"max_hours": 2.0}, Spent(2.5 * HOUR), None, "2.5 hours spent search.budget.max_hours: 2"),
        ({"max_gpu_hours": 1.0}, Spent(9 * HOUR, HOUR), None, "1 GPU-hours spent search.budget.max_gpu_hours: 1"),
        ({"target_mae": 4.0}, Spent(), 4.01, ""),
        ({"target_mae": 4.0}, Spent(), None, ""),
        ({"target_mae": 4.0}, Spent(), 3.987, "3.99 years reached search.budget.target_mae: 4"),
    ],
)
def test_which_limit_is_reached(limits: dict[str, Any], spent: Spent, best: float | None, why: str):
    assert why_over(BudgetConfig(**limits), spent, best) == why


@pytest.mark.parametrize(
    ("most", "unanswered", "left"),
    [(None, [1, 5], [1, 5]), (10, [1, 5], [1, 5]), (8, [3, 5, 7, 9], [3, 5]), (6, [3, 5, 7, 9], []), (2, [9], [])],
)
def test_places_that_the_number_of_trials_leaves(most: int | None, unanswered: list[int], left: list[int]):
    assert places_left(BudgetConfig(max_trials=most), unanswered, 10) == left


def test_a_target_ends_the_search_and_stops_the_others_at_their_next_epoch(tmp_path: Path):
    plan, heard = planned(tmp_path, {"target_mae": 4.0}, trials=5), Heard()
    with Study(plan) as study:
        session = StudySession(plan, study, heard)
        for name in ("slow", "silent"):
            session.begin(name)
        finish(session, "poor", 5.0)
        finish(session, "good", 3.9)
        assert session.begin("more") is None
        assert not session.finished
        assert session.hear("slow", epoch(1, 6.0))
        session.end("slow")
        session.end("silent")  # its process was lost
        assert session.finished
        session.abandon()
        result = study.result()
    assert states(result) == ["pruned", "running", "complete", "complete"]
    assert result.done
    assert result.ended == "3.9 years reached search.budget.target_mae: 4"
    assert (result.trials[0].values, result.trials[0].reason) == ((6.0,), result.ended)
    assert heard.states == ["complete", "complete", "pruned"]
    assert load_study_result(plan.folder) == result


def test_a_trial_in_its_last_epoch_is_complete_though_the_budget_is_spent(tmp_path: Path):
    plan = planned(tmp_path, {"target_mae": 4.0})
    with Study(plan) as study:
        session = StudySession(plan, study, Heard())
        session.begin("last")
        session.hear("last", epoch(1, 6.0))
        finish(session, "good", 3.9)
        assert not session.hear("last", epoch(2, 3.0))
        session.end("last")
        assert states(study.result()) == ["complete", "complete"]


def test_as_many_trials_as_the_budget_allows_are_tried_and_a_larger_one_goes_on(tmp_path: Path):
    for most, wanted_states in ((2, ["complete"] * 2), (2, ["complete"] * 2), (3, ["complete"] * 3)):
        plan = planned(tmp_path, {"max_trials": most})
        with Study(plan) as study:
            session = StudySession(plan, study, Heard())
            while not session.finished:
                finish(session, "a", 5.0)
            result = study.result()
        assert states(result) == wanted_states
        assert result.done
        assert result.ended == f"{most} trials spent search.budget.max_trials: {most}"
        assert load_study_result(plan.folder, 4, budget=BudgetConfig(max_trials=4)).done is False
        assert load_study_result(plan.folder, most).ended == ""


def test_failed_trials_count_and_those_put_again_come_before_new_ones(tmp_path: Path):
    plan = planned(tmp_path, {"max_trials": 2})
    with Study(plan) as study:
        session, tries = StudySession(plan, study, Heard()), []
        while not session.finished:
            tries.append(session.begin("a")[0].folder.parent.name)
            if tries[-1] == "000":
                session.hear("a", {"failure": "error", "reason": "OSError: the store is gone"})
                session.end("a")
            else:
                session.hear("a", epoch(1, 5.0))
                session.hear("a", epoch(2, 5.0))
                session.end("a")
        assert states(study.result()) == ["failed", "complete"]
    assert sorted(tries) == ["000", "000", "000", "001"]


def test_gpu_hours_count_what_trials_hold_over_all_starts(tmp_path: Path):
    plan = planned(tmp_path, {"max_gpu_hours": 1.0})
    plan = StudyPlan(plan.arm, plan.run, plan.search, plan.folder, ResourcesConfig(gpus_per_trial=0.25))
    for total, over in ((0.5, False), (1.0, True)):
        with Study(plan) as study:
            watch = BudgetWatch(plan, study)
            watch.hear("a", 0.5 * HOUR)
            watch.hear("a", HOUR)  # of the trial, not more
            watch.hear("b", HOUR)
            watch.note()
            assert study.spent.gpu_seconds == pytest.approx(total * HOUR)
            assert bool(watch.over) == over


def test_wall_clock_counts_over_all_starts_and_survives_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    now = [1000.0]
    monkeypatch.setattr("brainage_ray.execution.budget.monotonic", lambda: now[0])
    plan = planned(tmp_path, {"max_hours": 1.0})
    for start in range(2):
        with Study(plan) as study:
            watch = BudgetWatch(plan, study)
            now[0] += 0.4 * HOUR
            watch.look()  # what came after this a killed driver forgets
            assert study.spent.seconds == pytest.approx((start + 1) * 0.4 * HOUR)
            assert not watch.over
    with Study(plan) as study:
        watch = BudgetWatch(plan, study)
        now[0] += 0.2 * HOUR
        watch.look()
        assert watch.over == "1 hours spent search.budget.max_hours: 1"
        assert BudgetWatch(plan, study).over == watch.over


def test_a_search_through_all_its_trials_was_not_ended_by_the_budget(tmp_path: Path):
    plan = planned(tmp_path, {"target_mae": 4.0}, trials=1)
    with Study(plan) as study:
        session = StudySession(plan, study, Heard())
        finish(session, "good", 3.0)
        assert study.result().ended == ""


class Clock(Heard):
    """Time as the budget sees it goes on by hours with each epoch and each complete trial that it hears of."""

    def __init__(self, epoch_hours: float = 0.0, trial_hours: float = 0.0) -> None:
        super().__init__()
        self.now, self._epoch, self._trial = 0.0, epoch_hours * HOUR, trial_hours * HOUR

    def __call__(self) -> float:
        return self.now

    def epoch(self, key: str, epoch: int, metrics: Mapping[str, float]) -> None:
        super().epoch(key, epoch, metrics)
        self.now += self._epoch

    def finished(self, key: str, status: str, metrics: Mapping[str, float]) -> None:
        super().finished(key, status, metrics)
        self.now += self._trial * (status == "complete")


def fives() -> Callable[[TrainingRun], Iterator[dict[str, float]]]:
    """A training that a worker can be sent: it cannot import this file."""

    def epochs(run: TrainingRun) -> Iterator[dict[str, float]]:
        for _ in range(run.epochs):
            yield {"validation_mae": 5.0}

    return epochs


@pytest.mark.ray
def test_hours_end_a_search_on_a_cluster_and_more_of_them_go_on(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    clock = Clock(trial_hours=1.0)
    monkeypatch.setattr("brainage_ray.execution.budget.monotonic", clock)
    short = planned(tmp_path, {"max_hours": 3.0}, trials=200)
    result = run_study(cluster, short, clock, fives())
    assert result.done
    assert "search.budget.max_hours: 3" in result.ended
    assert set(states(result)) <= {"complete", "pruned"}
    assert states(result).count("complete") >= 3
    assert 3 <= len(result.trials) < 10
    unused = Cluster()
    assert run_study(unused, short, Heard(), fives()) == result
    assert not unused._connected
    more = planned(tmp_path, {"max_hours": 100.0, "max_trials": len(result.trials) + 2}, trials=200)
    longer = run_study(cluster, more, clock, fives())
    assert len(longer.trials) == len(result.trials) + 2
    for before, now in zip(result.trials, longer.trials, strict=False):  # one that the budget stopped goes on
        assert (now == before) if before.state == "complete" else (now.params == before.params)
        assert now.state == "complete"


@pytest.mark.ray
def test_a_budget_too_small_for_any_trial_says_what_to_do(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    clock = Clock(epoch_hours=1.0)
    monkeypatch.setattr("brainage_ray.execution.budget.monotonic", clock)
    plan = planned(tmp_path, {"max_hours": 0.5}, epochs=50)
    match = r"search of unet ended before any of its \d trials was trained.*max_hours: 0.5. Raise that limit"
    for _ in range(2):
        with pytest.raises(TrialFailed, match=match):
            run_study(cluster, plan, clock, fives())
    assert {status for status, _ in clock.ends.values()} == {"pruned"}


def test_a_grid_has_a_budget_too(tmp_path: Path):
    plan = make_plan(tmp_path, GRID, sampler="grid", budget=BudgetConfig(max_trials=4))
    with Study(plan) as study:
        assert (study.open_places, study.wanted) == (4, 6)
