"""Search spaces: dotted config paths and what a search may put there."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from brainage_ray.config.base import FrozenModel
from brainage_ray.config.read import read_yaml, validate

Choice = bool | int | float | str


class _Range(FrozenModel):
    """What both kinds of numbers have."""

    log: bool = False
    """Draw on a logarithmic scale."""
    when: dict[str, Choice] = {}
    """Only where these config paths have these values."""


class FloatParameter(_Range):
    """A real number in [low, high]."""

    type: Literal["float"]
    low: float
    high: float
    step: Annotated[float, Field(gt=0)] | None = None
    """Grid of the values, counted from low."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_bounds(self.low, self.high, self.log, self.step)
        return self

    @property
    def values(self) -> tuple[Choice, ...]:
        """Probe values: the bounds."""
        return (self.low, self.high)


class IntParameter(_Range):
    """A whole number in [low, high]."""

    type: Literal["int"]
    low: int
    high: int
    step: Annotated[int, Field(gt=0)] | None = None
    """Grid of the values, counted from low."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_bounds(self.low, self.high, self.log, self.step)
        return self

    @property
    def values(self) -> tuple[Choice, ...]:
        """Probe values: the bounds."""
        return (self.low, self.high)


class CategoricalParameter(FrozenModel):
    """One of a list."""

    type: Literal["categorical"]
    choices: Annotated[tuple[Choice, ...], Field(min_length=1)]
    when: dict[str, Choice] = {}
    """Only where these config paths have these values."""

    @property
    def values(self) -> tuple[Choice, ...]:
        """Probe values: every choice."""
        return self.choices


Parameter = Annotated[FloatParameter | IntParameter | CategoricalParameter, Field(discriminator="type")]


class SearchSpace(FrozenModel):
    """One space serves all arms of an experiment: equal freedom is part of the comparison."""

    parameters: Annotated[dict[str, Parameter], Field(min_length=1)]
    """By dotted path into a training run, for example training.optimizer.lr."""

    def grid(self, arm: Mapping[str, Any]) -> dict[str, tuple[Choice, ...]]:
        """Return each parameter's choices where all are categorical.

        Args:
            arm: a training run as JSON, which the conditions look at.

        Raises:
            ValueError: a parameter is not categorical, so that it has no grid.
        """
        active = {path: p for path, p in self.parameters.items() if holds(p.when, arm)}
        endless = [path for path, p in active.items() if not isinstance(p, CategoricalParameter)]
        if endless:
            raise ValueError(f"a grid needs type: categorical with choices, but {endless[0]} is a range")
        return {path: p.values for path, p in active.items()}

    def grid_size(self, arm: Mapping[str, Any]) -> int:
        """Return how many points the grid has for an arm."""
        return prod(len(choices) for choices in self.grid(arm).values())


def holds(when: Mapping[str, Choice], values: Mapping[str, Any]) -> bool:
    """Tell whether every dotted path of a condition has its value in a nested mapping."""
    return all(_dig(values, path) == value for path, value in when.items())


def load_space(path: Path) -> SearchSpace:
    """Read a search space.

    Raises:
        ConfigError: the file is missing, or one of its keys or values is wrong.
    """
    return validate(SearchSpace, read_yaml(path), path)


def _dig(values: Mapping[str, Any], path: str) -> Any:
    node: Any = values
    for key in path.split("."):
        node = node.get(key) if isinstance(node, Mapping) else None
    return node


def _check_bounds(low: float, high: float, log: bool, step: float | None) -> None:
    if low > high:
        raise ValueError(f"low {low} is above high {high}; swap them")
    if log and low <= 0:
        raise ValueError(f"a logarithmic range starts above 0, not at {low}")
    if log and step is not None:
        raise ValueError("log and step do not go together; leave one out")
