"""Points of a search space: drawn by an Optuna trial, or all of a grid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optuna

from brainage_ray.config.run import TrainingRun, apply_params
from brainage_ray.config.space import FloatParameter, IntParameter, Listed, Parameter, SearchSpace, holds
from brainage_ray.errors import ConfigError


def draw(trial: optuna.Trial, space: SearchSpace, run: TrainingRun) -> dict[str, Any]:
    """Ask an Optuna trial for a point, parameter by parameter in the order of the space.

    Args:
        trial: an Optuna trial that was asked for and not told.
        space: what may change; a condition sees the values that were drawn before it.
        run: what the conditions see besides.

    Returns:
        Value by dotted path, of the parameters whose conditions hold.
    """
    values: dict[str, Any] = {}
    for path, parameter in space.parameters.items():
        if holds(parameter.when, apply_params(run, values).to_json()):
            values[path] = _suggest(trial, path, parameter)
    return values


def grid_points(space: SearchSpace, run: TrainingRun) -> list[dict[str, Any]]:
    """List every point of a grid, the last parameter changing fastest.

    Args:
        space: categorical parameters; a condition sees the choices made before it.
        run: what the conditions see besides.

    Raises:
        ConfigError: a parameter whose condition holds is a range.
    """
    points: list[dict[str, Any]] = [{}]
    for path, parameter in space.parameters.items():
        points = [longer for point in points for longer in _with_choices(point, path, parameter, run)]
    return points


def _with_choices(
    point: Mapping[str, Any],
    path: str,
    parameter: Parameter,
    run: TrainingRun,
) -> list[dict[str, Any]]:
    if not holds(parameter.when, apply_params(run, point).to_json()):
        return [dict(point)]
    if not isinstance(parameter, Listed):
        raise ConfigError(
            f"a grid needs choices, but {path} is a range", "Give choices, or use sampler: random or tpe."
        )
    return [{**point, path: choice} for choice in parameter.choices]


def _suggest(trial: optuna.Trial, path: str, parameter: Parameter) -> Any:
    match parameter:
        case IntParameter():
            return trial.suggest_int(path, parameter.low, parameter.high, step=parameter.step or 1, log=parameter.log)
        case FloatParameter():
            return trial.suggest_float(path, parameter.low, parameter.high, step=parameter.step, log=parameter.log)
        case _:
            return trial.suggest_categorical(path, parameter.choices)
