"""Search spaces: dotted config paths and what a search may put there."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from brainage_ray.config.base import FrozenModel
from brainage_ray.config.model import each_once
from brainage_ray.config.read import read_yaml, validate

Choice = bool | int | float | str


PROBES = 64
"""Of a whole-number range with more values than this, only the first two and the last are tried at the door."""


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

    def can_be(self, value: Any) -> bool:
        """Tell whether a condition may wait for a value: not for one out of infinitely many."""
        return bool(self.low == value == self.high)

    def nearest(self, value: Any) -> Choice | None:
        """Return the value of the range that is nearest to a number; None where it is none."""
        if not _is_number(value):
            return None
        inside = min(max(float(value), self.low), self.high)
        return inside if self.step is None else _on_grid(inside, self.low, self.high, self.step)


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
        """Probe values: the bounds and what is between, because a field need not take every number between two."""
        grid = range(self.low, self.high + 1, self.step or 1)
        between = grid if (self.high - self.low) // (self.step or 1) < PROBES else grid[:2]
        return tuple(dict.fromkeys((*between, self.high)))

    def can_be(self, value: Any) -> bool:
        """Tell whether a trial may draw a value."""
        return value in range(self.low, self.high + 1, self.step or 1)

    def nearest(self, value: Any) -> Choice | None:
        """Return the value of the range that is nearest to a number; None where it is none."""
        if not _is_number(value):
            return None
        return round(_on_grid(min(max(value, self.low), self.high), self.low, self.high, self.step or 1))


class CategoricalParameter(FrozenModel):
    """One of a list."""

    type: Literal["categorical"]
    choices: Annotated[tuple[Choice, ...], Field(min_length=1), AfterValidator(each_once)]
    when: dict[str, Choice] = {}
    """Only where these config paths have these values."""

    @property
    def values(self) -> tuple[Choice, ...]:
        """Probe values: every choice."""
        return self.choices

    def can_be(self, value: Any) -> bool:
        """Tell whether a trial may draw a value."""
        return value in self.choices

    def nearest(self, value: Any) -> Choice | None:
        """Return a value that is among the choices; None for any other."""
        return next((choice for choice in self.choices if choice == value), None)


class ConstantParameter(FrozenModel):
    """One value, which all trials have."""

    type: Literal["constant"]
    value: Choice
    when: dict[str, Choice] = {}
    """Only where these config paths have these values."""

    @property
    def choices(self) -> tuple[Choice, ...]:
        """The value alone: a list of one."""
        return (self.value,)

    @property
    def values(self) -> tuple[Choice, ...]:
        """Probe values: the value."""
        return (self.value,)

    def can_be(self, value: Any) -> bool:
        """Tell whether a trial may draw a value."""
        return bool(value == self.value)

    def nearest(self, value: Any) -> Choice | None:
        """Return a value that is among the choices; None for any other."""
        return next((choice for choice in self.choices if choice == value), None)


Listed = CategoricalParameter | ConstantParameter
"""Parameters with choices, of which a grid can be made."""
Parameter = Annotated[FloatParameter | IntParameter | Listed, Field(discriminator="type")]


class SearchSpace(FrozenModel):
    """One space serves all arms of an experiment: equal freedom is part of the comparison."""

    parameters: Annotated[dict[str, Parameter], Field(min_length=1)]
    """By dotted path into a training run, for example training.optimizer.lr."""

    @model_validator(mode="after")
    def _conditions_look_back(self) -> Self:
        order = list(self.parameters)
        for i, (path, parameter) in enumerate(self.parameters.items()):
            late = next((named for named in parameter.when if named in order[i:]), None)
            if late is not None:
                raise ValueError(f"parameters.{path} is drawn before {late}, which its when looks at; put {late} first")
        return self

    def active(self, arm: Mapping[str, Any]) -> dict[str, Parameter]:
        """Return the parameters that a trial of an arm may have, each condition looked at by itself.

        Args:
            arm: a training run as JSON.
        """
        found: dict[str, Parameter] = {}
        for path, parameter in self.parameters.items():
            if all(_can_be(named, value, arm, found) for named, value in parameter.when.items()):
                found[path] = parameter
        return found

    def nearest(self, settings: Mapping[str, Any], arm: Mapping[str, Any]) -> dict[str, Choice]:
        """Return the point that is nearest to settings from elsewhere: numbers go to the nearest of their range.

        Args:
            settings: value by dotted path; paths that the space does not have are passed over.
            arm: a training run as JSON, which conditions see below the settings.

        Returns:
            Value by dotted path, without the parameters whose setting is unknown or not among the choices: a sampler
            draws those.
        """
        found: dict[str, Choice] = {}
        for path, parameter in self.parameters.items():
            known = all(found.get(named, look_up(arm, named)) == value for named, value in parameter.when.items())
            if known and (value := parameter.nearest(settings.get(path))) is not None:
                found[path] = value
        return found

    def grid(self, arm: Mapping[str, Any]) -> dict[str, tuple[Choice, ...]]:
        """Return the choices of each parameter that a trial of an arm may have.

        Args:
            arm: a training run as JSON.

        Raises:
            ValueError: a parameter is not categorical, so that it has no grid.
        """
        active = self.active(arm)
        endless = [path for path, p in active.items() if not isinstance(p, Listed)]
        if endless:
            raise ValueError(f"a grid needs type: categorical with choices, but {endless[0]} is a range")
        return {path: p.choices for path, p in active.items() if isinstance(p, Listed)}

    def grid_size(self, arm: Mapping[str, Any]) -> int:
        """Return how many points the grid has for an arm, where no condition looks at another parameter."""
        return prod(len(choices) for choices in self.grid(arm).values())


def holds(when: Mapping[str, Choice], values: Mapping[str, Any]) -> bool:
    """Tell whether every dotted path of a condition has its value in a nested mapping."""
    return all(look_up(values, path) == value for path, value in when.items())


def look_up(values: Mapping[str, Any], path: str) -> Any:
    """Return the value at a dotted path of a nested mapping, None where there is none."""
    node: Any = values
    for key in path.split("."):
        node = node.get(key) if isinstance(node, Mapping) else None
    return node


def load_space(path: Path) -> SearchSpace:
    """Read a search space.

    Raises:
        ConfigError: the file is missing, or one of its keys or values is wrong.
    """
    return validate(SearchSpace, read_yaml(path), path)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _on_grid(value: float, low: float, high: float, step: float) -> float:
    """Return the value of low, low + step, ... up to high that is nearest."""
    last = int((high - low) / step + 1e-9)
    return low + min(round((value - low) / step), last) * step


def _can_be(path: str, value: Choice, arm: Mapping[str, Any], found: Mapping[str, Parameter]) -> bool:
    """Tell whether a path has a value in some trial of an arm, given the parameters before it."""
    as_written: bool = look_up(arm, path) == value
    if path not in found:
        return as_written
    sometimes = any(named in found for named in found[path].when)
    return found[path].can_be(value) or (sometimes and as_written)


def _check_bounds(low: float, high: float, log: bool, step: float | None) -> None:
    if low > high:
        raise ValueError(f"low {low} is above high {high}; swap them")
    if log and low <= 0:
        raise ValueError(f"a logarithmic range starts above 0, not at {low}")
    if log and step is not None:
        raise ValueError("log and step do not go together; leave one out")
