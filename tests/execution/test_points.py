from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from engine_plans import BATCH, GRID, LR, LR_RANGE, make_run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from brainage_ray.config import SearchSpace
from brainage_ray.config.read import validate
from brainage_ray.errors import ConfigError
from brainage_ray.execution.points import draw, grid_points

NAME = "training.optimizer.name"
MOMENTUM = "training.optimizer.momentum"
CHOICES = {NAME: {"type": "categorical", "choices": ["adam", "sgd"]}}


def space(**parameters: object) -> SearchSpace:
    return validate(SearchSpace, {"parameters": parameters}, "the test")


def fixed(params: dict[str, object]) -> optuna.trial.FixedTrial:
    return optuna.trial.FixedTrial(params)


def test_a_draw_names_every_parameter(tmp_path: Path):
    parameters = {
        **LR_RANGE,
        BATCH: {"type": "int", "low": 16, "high": 64, "step": 16},
        "training.slice_position": {"type": "categorical", "choices": [True, False]},
        "training.dropout": {"type": "float", "low": 0.0, "high": 0.4, "step": 0.1},
    }
    point = {LR: 1.0e-3, BATCH: 32, "training.slice_position": True, "training.dropout": 0.1}
    assert draw(fixed(point), space(**parameters), make_run(tmp_path)) == point


def test_a_condition_sees_what_was_drawn_before(tmp_path: Path):
    momentum = {"type": "float", "low": 0.5, "high": 0.99, "when": {NAME: "sgd"}}
    conditional = space(**CHOICES, **{MOMENTUM: momentum})
    params = {NAME: "sgd", MOMENTUM: 0.9}
    assert draw(fixed(params), conditional, make_run(tmp_path)) == params
    assert draw(fixed({**params, NAME: "adam"}), conditional, make_run(tmp_path)) == {NAME: "adam"}


def test_a_condition_sees_the_arm(tmp_path: Path):
    only_resnet = {**GRID[BATCH], "when": {"backbone.kind": "resnet50"}}
    assert grid_points(space(**{LR: GRID[LR], BATCH: only_resnet}), make_run(tmp_path)) == [
        {LR: 1.0e-3},
        {LR: 1.0e-4},
        {LR: 1.0e-5},
    ]


def test_a_grid_branches_on_its_own_choices(tmp_path: Path):
    momentum = {"type": "categorical", "choices": [0.9, 0.99], "when": {NAME: "sgd"}}
    points = grid_points(space(**CHOICES, **{MOMENTUM: momentum}), make_run(tmp_path))
    assert points == [{NAME: "adam"}, {NAME: "sgd", MOMENTUM: 0.9}, {NAME: "sgd", MOMENTUM: 0.99}]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rates=st.lists(st.floats(1e-6, 1), min_size=1, max_size=4, unique=True),
    sizes=st.lists(st.integers(1, 64), min_size=1, max_size=4, unique=True),
)
def test_a_grid_has_every_point_once(tmp_path: Path, rates: list[float], sizes: list[int]):
    grid = space(**{LR: {"type": "categorical", "choices": rates}, BATCH: {"type": "categorical", "choices": sizes}})
    run = make_run(tmp_path)
    points = grid_points(grid, run)
    assert {(point[LR], point[BATCH]) for point in points} == {(rate, size) for rate in rates for size in sizes}
    assert len(points) == grid.grid_size(run.to_json())


def test_a_grid_of_a_range_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"training\.optimizer\.lr is a range.*tpe"):
        grid_points(space(**LR_RANGE), make_run(tmp_path))
