"""Brain-age delta = brain age - chronological age, by diagnosis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainage_ray.evaluation.metrics import sample_sd


@dataclass(frozen=True)
class GroupDelta:
    """The brain-age delta of the scans of one diagnosis."""

    diagnosis: str
    n_scans: int
    per_seed_mean_years: tuple[float, ...]
    """Mean over the scans, for each seed; empty for an empty group."""
    mean_years: float | None
    """Over scans and seeds."""
    sd_years: float | None
    """Between scans: the sample standard deviation of each seed, averaged over the seeds."""
    reason: str = ""
    """Why a number is None."""


def brain_age_delta(brain_age: NDArray[Any], age: NDArray[Any]) -> NDArray[np.float64]:
    """Return brain age - chronological age, years, in the broadcast shape of both, float64."""
    return np.asarray(brain_age, dtype=np.float64) - np.asarray(age, dtype=np.float64)


def delta_by_diagnosis(
    deltas: NDArray[np.float64], diagnosis: NDArray[Any], diagnoses: Sequence[str]
) -> tuple[GroupDelta, ...]:
    """Describe each group.

    Args:
        deltas: [n_seeds, n_scans], years.
        diagnosis: [n_scans].
        diagnoses: the groups, in the order of the table; one without scans gets an empty cell with its reason.
    """
    return tuple(_describe(deltas[:, diagnosis == name], name) for name in diagnoses)


def _describe(deltas: NDArray[np.float64], name: str) -> GroupDelta:
    n_scans = deltas.shape[1]
    if n_scans == 0:
        return GroupDelta(name, 0, (), None, None, f"no {name} scans")
    means = tuple(float(mean) for mean in deltas.mean(axis=1))
    spreads = [sd for row in deltas if (sd := sample_sd(row)) is not None]
    if not spreads:
        return GroupDelta(name, n_scans, means, float(np.mean(means)), None, f"one {name} scan has no spread")
    return GroupDelta(name, n_scans, means, float(np.mean(means)), float(np.mean(spreads)))
