"""Population-based training (Jaderberg et al. 2017, arXiv:1711.09846), as pure functions of values and seeds.

The trials of a study train side by side, a generation of epochs at a time. After each generation the poorest quarter
goes on from the weights of the best quarter, with settings that differ a little from theirs. All trials of a study
have the same seeds, so a trial that goes on from another one's weights comes to what a run from scratch would with the
same changes of its settings: that list is all that a refit needs.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from brainage_ray.config.run import SettingsChange
from brainage_ray.config.search import SearchConfig
from brainage_ray.config.space import FloatParameter, IntParameter, Parameter, SearchSpace

SHARE = 0.25
"""Of the trials that leave off, and of those that they go on from."""
RESAMPLE = 0.25
"""How often a setting is drawn anew; else a number is multiplied by one of FACTORS, and a choice takes a neighbour."""
FACTORS = (0.8, 1.2)


@dataclass(frozen=True)
class Member:
    """A trial in a generation."""

    params: Mapping[str, Any]
    """Value by dotted path, as the trial was told; `changes` come on top."""
    changes: tuple[SettingsChange, ...] = ()
    parent: int | None = None
    """Trial whose weights at the end of the generation before it goes on from; None in the first generation."""

    @property
    def settings(self) -> dict[str, Any]:
        """Those that it trains with now."""
        return dict(self.params) | {path: value for change in self.changes for path, value in change.params.items()}


def generation_ends(search: SearchConfig, epochs: int) -> list[int]:
    """Return the epoch at which each generation ends: every search.grace_epochs, by default four generations."""
    step = search.grace_epochs or max(1, math.ceil(epochs / 4))
    return [*range(step, epochs, step), epochs]


def next_generation(
    members: Mapping[int, Member], values: Mapping[int, float], search: SearchConfig, epoch: int
) -> dict[int, Member]:
    """Return who goes on from whom, and with which settings.

    Args:
        members: by number of the trial.
        values: validation MAE of each at the end of the generation, years.
        search: whose space the settings stay in, and whose seed draws.
        epoch: at which the generation ended.

    Returns:
        A member for each of the old ones.
    """
    ranked = sorted(members, key=lambda number: (values[number], number))
    count = min(max(1, int(len(ranked) * SHARE)), len(ranked) // 2)
    best, poorest = ranked[:count], set(ranked[len(ranked) - count :])
    following = {}
    for number, member in members.items():
        if number in poorest:
            rng = random.Random(f"{search.seed}/{epoch}/{number}")
            parent = rng.choice(best)
            new = explore(members[parent].settings, search.space, rng)
            following[number] = replace(member, changes=_lineage(members[parent], epoch, new), parent=parent)
        else:
            following[number] = replace(member, parent=number)
    return following


def _lineage(parent: Member, epoch: int, new: dict[str, Any]) -> tuple[SettingsChange, ...]:
    """Return the parent's settings from the first epoch on, and the new ones from now on."""
    return (
        SettingsChange(after_epoch=0, params=dict(parent.params)),
        *parent.changes,
        SettingsChange(after_epoch=epoch, params=new),
    )


def explore(settings: Mapping[str, Any], space: SearchSpace, rng: random.Random) -> dict[str, Any]:
    """Return settings that differ a little from others, inside the space.

    Args:
        settings: value by dotted path of every parameter of the space.
        space: without conditions.
        rng: draws.
    """
    return {path: _moved(parameter, settings[path], rng) for path, parameter in space.parameters.items()}


def _moved(parameter: Parameter, value: Any, rng: random.Random) -> Any:
    if rng.random() < RESAMPLE:
        return _drawn(parameter, rng)
    if isinstance(parameter, FloatParameter | IntParameter):
        return parameter.nearest(value * rng.choice(FACTORS))
    choices = parameter.choices
    place = choices.index(value) + rng.choice((-1, 1))
    return choices[min(max(place, 0), len(choices) - 1)]


def _drawn(parameter: Parameter, rng: random.Random) -> Any:
    if not isinstance(parameter, FloatParameter | IntParameter):
        return rng.choice(parameter.choices)
    low, high = parameter.low, parameter.high
    drawn = math.exp(rng.uniform(math.log(low), math.log(high))) if parameter.log else rng.uniform(low, high)
    return parameter.nearest(drawn)
