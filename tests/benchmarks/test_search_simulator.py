from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.search_arms import ARMS, LyingStudy, Ours, study_plan
from benchmarks.search_curve import GridTask, at
from benchmarks.search_quality import Outcome, count, differences
from benchmarks.search_simulator import simulate
from benchmarks.search_table import LR, load_table
from benchmarks.search_tasks import EPOCHS, START, UNIT_FIELDS, Course, TableTask, branin, function_tasks, hartmann6

BRANIN = function_tasks()[0]


class Script:
    """Trials without settings: each is stopped after as many epochs as its number says."""

    def __init__(self, stop_after: Mapping[int, int]) -> None:
        self.stop_after = stop_after
        self.heard: list[tuple[int, int, float]] = []
        self.ended: list[int] = []

    def ask(self, number: int) -> Mapping[str, Any]:
        return {"number": number}

    def report(self, number: int, epoch: int, value: float) -> bool:
        self.heard.append((number, epoch, value))
        return self.stop_after.get(number) == epoch

    def end(self, number: int, epoch: int, value: float) -> None:
        self.ended.append(number)

    def choose(self) -> int | None:
        return self.ended[0] if self.ended else None


class Steps:
    """Trial i reports 10 i + epoch, 3 times, and trains i + 1 hours an epoch."""

    name, optimum = "steps", 0.0

    def train(self, params: Mapping[str, Any], rng: np.random.Generator) -> Course:
        i = params["number"]
        return Course(tuple(10.0 * i + epoch for epoch in (1, 2, 3)), 10.0 * i, i + 1.0)


def test_workers_train_side_by_side():
    script = Script({})
    searched = simulate(script, Steps(), workers=2, budget=7, seed=0)
    # worker 0: trial 0 at hours 1, 2, 3, then trial 2 at 6, 9; worker 1: trial 1 at 2, 4, 6
    assert [(number, epoch) for number, epoch, _ in script.heard] == [
        (0, 1), (0, 2), (1, 1), (0, 3), (1, 2), (2, 1), (1, 3),
    ]  # fmt: skip
    assert script.ended == searched.ended == [0, 1]
    assert searched.points[-1].cost == 3 * 1 + 3 * 2 + 3
    assert searched.points[-1].best_value == 1.0
    assert searched.chosen == 0
    assert searched.regret(Steps()) == 0.0


def test_a_stopped_trial_makes_room():
    script = Script({0: 1, 1: 2})
    searched = simulate(script, Steps(), workers=1, budget=5, seed=0)
    assert script.ended == [0, 1]
    assert searched.epochs == [1, 2, 2]
    assert count(searched) == {"trials": 2, "stopped": 2, "past_best": 0, "nan": 0}


def test_without_a_choice_the_regret_is_the_worst():
    searched = simulate(Script({}), Steps(), workers=3, budget=2, seed=0)
    assert searched.chosen is None
    assert searched.regret(Steps()) == 20.0


@pytest.mark.parametrize(
    ("function", "minimum"),
    [
        (branin, [(5 + math.pi) / 15, 2.275 / 15]),
        (branin, [(5 - math.pi) / 15, 12.275 / 15]),
        (hartmann6, [0.20169, 0.150011, 0.476874, 0.275332, 0.311652, 0.6573]),
        (function_tasks()[2].badness, [0.75] * 4),
    ],
)
def test_functions_are_least_where_their_authors_say(function: Any, minimum: list[float]):
    x = np.array(minimum)
    assert function(x) == pytest.approx(0, abs=1e-4)
    rng = np.random.default_rng(0)
    assert all(0 <= function(rng.random(len(x))) <= 1 for _ in range(500))


def test_the_optimum_of_a_function_is_below_all_that_chance_finds():
    rng = np.random.default_rng(0)
    found = min(BRANIN.curve(rng.random(2) * [0.9, 1.0]).min() for _ in range(5000))
    assert BRANIN.optimum <= found <= BRANIN.optimum + 0.2


def test_curves_rise_again_and_diverge():
    rng = np.random.default_rng(0)
    rising = BRANIN.train({UNIT_FIELDS[0]: 0.85, UNIT_FIELDS[1]: 0.99}, rng)
    assert rising.values[-1] > min(rising.values) + 0.5
    diverged = BRANIN.train({UNIT_FIELDS[0]: 0.98, UNIT_FIELDS[1]: 0.0}, rng)
    assert [math.isnan(value) for value in diverged.values[:4]] == [False, False, True, True]
    assert diverged.true_best == START


@pytest.mark.parametrize("arm", ARMS)
def test_every_searcher_searches(arm: str):
    with ARMS[arm](BRANIN, 1) as searcher:
        searched = simulate(searcher, BRANIN, workers=3, budget=12 * EPOCHS, seed=1)
    counts = count(searched)
    assert counts["trials"] > 12
    assert counts["stopped"] > 0
    assert searched.regret(BRANIN) < 4


@pytest.mark.parametrize(
    ("lies", "told"),
    [((), (0, 1.0, "PRUNED", "FAIL")), (("last", "stopped", "nan"), (3, 2.0, "COMPLETE", "RUNNING"))],
)
def test_lies_reach_optuna_as_the_bridge_tells_them(lies: Any, told: tuple[int, float, str, str], tmp_path: Path):
    best_of_complete, states = [], {}
    with LyingStudy(study_plan(BRANIN, 0, tmp_path, sampler="random"), lies) as study:
        ours = Ours(study)
        for number in range(3):
            ours.ask(number)
        for epoch in range(1, EPOCHS + 1):
            assert not ours.report(0, epoch, 1.0 if epoch == 3 else 2.0)
        ours.end(0, EPOCHS, 2.0)
        assert ours.report(1, 1, math.nan)
        ours.end(1, 1, math.nan)
        assert [ours.report(2, epoch, 5.0) for epoch in range(1, 7)] == [False] * 5 + [True]
        ours.end(2, 6, 5.0)
        trials = study._study.get_trials(deepcopy=False)
        best_of_complete, states = trials[0].value, [trial.state.name for trial in trials]
        assert ours.choose() == 0
    assert best_of_complete == told[1]
    assert states == ["COMPLETE", told[3], told[2]]


def test_the_bridge_tells_optuna_the_last_value_and_leaves_nan_running():
    with ARMS["bridge"](BRANIN, 0) as bridge:
        for number in range(2):
            bridge.ask(number)
        for epoch in range(1, EPOCHS + 1):
            bridge.report(0, epoch, 1.0 if epoch == 3 else 2.0)
        bridge.end(0, EPOCHS, 2.0)
        bridge.report(1, 1, math.nan)
        bridge.end(1, 1, math.nan)
        trials = bridge._search._ot_study.get_trials(deepcopy=False)
    assert [(trial.state.name, trial.value) for trial in trials] == [("COMPLETE", 2.0), ("RUNNING", None)]


def test_the_table_gives_the_nearest_rate():
    table = load_table()
    assert len(table.curves) == 60
    assert all(len(curve.values) == EPOCHS for curve in table.curves)
    curve = table.curves[0]
    assert table.look_up({**curve.params, LR: curve.params[LR] * 1.2}) is curve
    assert table.best == min(TableTask(table).train(c.params, np.random.default_rng()).true_best for c in table.curves)


def test_a_grid_holds_every_point_of_the_table_in_an_order_of_its_own():
    task = GridTask(load_table(), seed=1)
    sizes = [len(parameter.choices) for parameter in task.space.parameters.values()]
    assert math.prod(sizes) == 60
    orders = {tuple(GridTask(load_table(), seed=seed).space.parameters) for seed in range(10)}
    assert 1 < len(orders) <= 6


def test_a_curve_holds_between_its_epochs():
    curve = np.array([[1.0, 2.0, 4.0], [9.0, 7.0, 6.0]])
    np.testing.assert_array_equal(at(curve, np.array([0.5, 1.0, 3.9, 4.0, 9.0])), [np.nan, 9.0, 7.0, 6.0, 6.0])


def test_differences_are_paired_by_seed():
    regrets = {"ours": [1.0, 2.0, 4.0], "bridge": [1.5, 2.5, 4.5], "same": [1.0, 2.0, 4.0]}
    outcomes = [
        Outcome("t", arm, seed, regret, 1, 0, 0, 0)
        for arm, values in regrets.items()
        for seed, regret in enumerate(values)
    ]
    found = {(d.task, d.arm): d for d in differences(outcomes)}
    assert set(found) == {("t", "bridge"), ("all tasks", "bridge"), ("t", "same"), ("all tasks", "same")}
    assert found["t", "bridge"].mean == pytest.approx(-0.5)
    assert (found["t", "same"].low, found["t", "same"].high) == (0.0, 0.0)
