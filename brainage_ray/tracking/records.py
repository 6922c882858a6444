"""A run as this process knows it: what MLflow has of it, and what waits to be written."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

MAX_NAME, MAX_PARAM, MAX_TAG = 250, 6000, 8000  # characters, MLflow's limits
GROUP = "group"


@dataclass(frozen=True)
class Point:
    """Metrics of one epoch."""

    epoch: int
    """1-based; 0 for numbers about the whole run."""
    time_ms: int
    """When they were measured, Unix time."""
    metrics: Mapping[str, float]


@dataclass
class Run:
    """A run of MLflow."""

    key: str
    """Names it across restarts."""
    name: str
    kind: str
    """pretrain, trial, refit, or group for what holds them."""
    parent: str | None = None
    """Key of the group that it is nested in; None for the experiment's own run."""
    start_ms: int = 0
    id: str = ""
    """MLflow's; empty until it is made."""
    status: str = ""
    """In MLflow: RUNNING, FINISHED, FAILED or KILLED."""
    has_params: bool = False
    """In MLflow, where a parameter is written once and for all."""
    metrics: tuple[str, ...] = ()
    """Names that a run of before a restart has in MLflow."""
    logged: dict[tuple[str, int], float] | None = None
    """In MLflow: value by metric and epoch; None while a run of before a restart was not asked."""
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)
    next_status: str = ""
    end_ms: int | None = None

    def wake(self) -> None:
        """Have the run shown as running, unless it was finished."""
        if not self.next_status and self.status not in ("RUNNING", "FINISHED"):
            self.next_status = "RUNNING"

    def unwritten(self) -> int:
        """Return how many events wait."""
        return len(self.points) + bool(self.params or self.tags) + bool(self.next_status)

    def drop(self) -> int:
        """Forget what waits, the status only where it waits alone; return how many events that were."""
        lost = len(self.points) + bool(self.params or self.tags)
        if not lost:
            self.next_status = ""
        self.params, self.tags, self.points = {}, {}, []
        return lost or 1

    def new_values(self) -> Iterator[tuple[str, float, int, int]]:
        """Yield (metric, value, time_ms, epoch) of all points that MLflow does not have.

        An epoch counts once, however often it is trained after restarts; a number about the whole run counts
        again where it changed.
        """
        logged = dict(self.logged or {})
        for point in self.points:
            for name, number in point.metrics.items():
                metric, value = clean_name(name), float(number)
                old = logged.get((metric, point.epoch))
                if old is None or (point.epoch == 0 and not _same(old, value)):
                    logged[metric, point.epoch] = value  # a trial that was lost at once may have told it twice already
                    yield metric, value, point.time_ms, point.epoch


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Turn nested settings into MLflow's parameters.

    Args:
        values: mappings, lists and scalars; keys of any depth.
        prefix: of all names.

    Returns:
        Text by dotted name, both cut to MLflow's limits; lists become JSON.
    """
    flat: dict[str, str] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{name}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, default=str)
            flat[clean_name(name)] = _cut(text, MAX_PARAM)
    return flat


def clean_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Cut tags to MLflow's limits."""
    return {clean_name(name): _cut(str(value), MAX_TAG) for name, value in tags.items()}


def clean_name(name: str) -> str:
    """Return a name that MLflow accepts for a metric, parameter or tag."""
    return re.sub(r"[^\w.\-: /]", "_", name)[:MAX_NAME]


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _same(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b))
