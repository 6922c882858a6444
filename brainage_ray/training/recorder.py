"""Who hears of a training's progress: the protocol that tracking and the progress bars implement."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from brainage_ray.config.run import SettingsChange

EpochRecorder = Callable[[int, Mapping[str, float]], None]
"""Told of each finished epoch (1-based) and its metrics; may raise to stop the run."""

Status = Literal["complete", "pruned", "failed"]


@dataclass(frozen=True)
class RunInfo:
    """One training as its listeners see it."""

    key: str
    """Of the run: the same training has the same key after a restart."""
    name: str
    """For people."""
    kind: Literal["pretrain", "trial", "refit"]
    parent: str
    """Slash path of group names under the experiment, for example "unet+brats/study"."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """What sets this run apart from its siblings, by dotted path."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """What else is to be seen beside the run."""
    trained: int = 0
    """How many of its epochs an earlier start had trained: they are told again, all at once."""


CHANGES_TAG = "brainage.changes"


def tell_changes(changes: Sequence[SettingsChange]) -> dict[str, str]:
    """Return a tag that says how the settings of a run change while it trains; none where they do not."""
    if not changes:
        return {}
    return {CHANGES_TAG: json.dumps([change.model_dump(mode="json") for change in changes])}


class Recorder(Protocol):
    """Listens on the driver to all runs of an experiment."""

    def started(self, run: RunInfo) -> None:
        """A run begins, or goes on after a restart."""

    def epoch(self, key: str, epoch: int, metrics: Mapping[str, float]) -> None:
        """An epoch (1-based) of a run has ended with these metrics."""

    def finished(self, key: str, status: Status, metrics: Mapping[str, float]) -> None:
        """A run has ended, with its last or best metrics."""


def ignore(epoch: int, metrics: Mapping[str, float]) -> None:
    """Be the recorder of nobody."""
