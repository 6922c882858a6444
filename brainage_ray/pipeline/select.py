"""From a study to the settings and the number of epochs that the final models get."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from brainage_ray.errors import TrialFailed
from brainage_ray.execution import StudyResult


@dataclass(frozen=True)
class Selected:
    """What the search chose for an arm, on the validation split alone."""

    trial: int
    """Number of the trial in its study."""
    params: dict[str, Any]
    """Value by dotted path."""
    epochs: int
    """Epoch at which the trial's value was best."""
    validation_mae: float
    """Mean over the trial's seeds, years."""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def select(arm: str, study: StudyResult) -> Selected:
    """Take the fully trained trial with the lowest value; of equals the first.

    Trials that the scheduler stopped do not stand for election: their best epoch was cut short.

    Args:
        arm: name of the arm, for the message.
        study: of that arm.

    Raises:
        TrialFailed: no trial was trained to its end.
    """
    complete = [
        Selected(t.number, dict(t.params), t.best_epoch, t.best_value)
        for t in study.trials
        if t.state == "complete" and t.best_value is not None and t.best_epoch is not None
    ]
    if not complete:
        reasons = "; ".join(dict.fromkeys(t.reason for t in study.trials if t.reason)) or "none was started"
        raise TrialFailed(f"No trial of arm {arm} was trained to its end: {reasons}", "Narrow the search space.")
    return min(complete, key=lambda chosen: (chosen.validation_mae, chosen.trial))


def winner(selected: Mapping[str, Selected]) -> str:
    """Return the arm with the lowest validation MAE; of equals the first by name."""
    return min(selected, key=lambda arm: (selected[arm].validation_mae, arm))
