"""Is a scan like those that a model learned from? Ranges of single numbers, and one distance over its appearance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from sklearn.covariance import LedoitWolf

from brainage_ray.config.base import FrozenModel

FEWEST = 8
"""Scans that a distance can be fitted on."""
FOLDS = 10
"""Of the scans, to see how far one lies from others that it is not among."""
USUAL, MARGIN = 0.9, 2.0
"""A new scan may lie MARGIN times as far as this share of the scans that were left out in their turn: a single odd scan
among them does not widen the limit."""
REFUSED = 2.0
"""So many times the limit, and it is no scan of the model's kind: it gets no age."""


@dataclass(frozen=True)
class Measure:
    """A number of a scan that is compared with the range of the scans that the model saw."""

    name: str
    """Column of tables."""
    words: str
    unit: str
    digits: int
    below: float | None
    """Of the lowest value: what is lower than this share of it is outside; None: nothing is too low."""
    above: float | None
    """Of the highest value; None: nothing is too high."""


MEASURES = (
    Measure("age_years", "age", "years", 1, 1.0, 1.0),
    Measure("voxel_mm", "longest voxel edge", "mm", 2, 0.75, 1.25),
    Measure("field_mm", "shortest side of the field of view", "mm", 0, 0.8, None),
    Measure("brain_volume_ml", "brain volume", "ml", 0, 0.9, 1.1),
    Measure("snr", "SNR", "", 1, 0.7, 1.75),
    Measure("n_slices", "number of slices", "", 0, 0.9, 1.1),
    Measure("template_dice", "overlap with the template (Dice)", "", 3, 0.97, None),
)
"""What single numbers are compared. The margins are wider where a healthy brain of another scanner should pass."""


class Seen(FrozenModel):
    """The range of a number over the scans that a model saw."""

    low: float
    high: float
    n: int


class Likeness(FrozenModel):
    """Where the scans that a model saw lie in their appearance: a Mahalanobis distance."""

    names: tuple[str, ...]
    """Of the numbers."""
    mean: tuple[float, ...]
    sd: tuple[float, ...]
    precision: tuple[tuple[float, ...], ...]
    """Inverse of the covariance of the standardised numbers, shrunk (Ledoit and Wolf, J Multivar Anal 88:365, 2004)."""
    limit: Annotated[float, Field(gt=0)]
    """Distance beyond which a scan is flagged."""
    n: int
    """Scans that it was fitted on."""

    def distance(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Return the distance of each scan, in limits: above 1 it is flagged.

        Args:
            values: [n_scans, n_numbers].
        """
        z = (np.asarray(values, dtype=np.float64) - np.array(self.mean)) / np.array(self.sd)
        squared = np.einsum("ij,jk,ik->i", z, np.array(self.precision), z)
        return np.asarray(np.sqrt(np.maximum(squared, 0) / len(self.mean)) / self.limit, dtype=np.float64)

    def furthest(self, values: NDArray[Any]) -> str:
        """Return the number of one scan that lies furthest from its mean, in standard deviations."""
        z = np.abs((np.asarray(values, dtype=np.float64) - np.array(self.mean)) / np.array(self.sd))
        return self.names[int(np.argmax(z))]


def fit_likeness(values: NDArray[Any], names: Sequence[str]) -> Likeness | None:
    """Fit the distance; None for fewer than FEWEST scans.

    The limit is MARGIN times the USUAL quantile of the distances of scans from the others, fitted without their fold.

    Args:
        values: [n_scans, n_numbers], of scans that the model saw; none of the test split.
        names: of the numbers.
    """
    values = np.asarray(values, dtype=np.float64)
    if len(values) < FEWEST:
        return None
    folds = np.arange(len(values)) % min(FOLDS, len(values))
    left_out = [_fit(values[folds != k], names).distance(values[folds == k]) for k in np.unique(folds)]
    limit = MARGIN * float(np.quantile(np.concatenate(left_out), USUAL))
    return _fit(values, names).model_copy(update={"limit": _short(limit)})


def seen_ranges(columns: Mapping[str, NDArray[Any]]) -> dict[str, Seen]:
    """Return the range of each of MEASURES over the scans for which it is known; without those that are not.

    Args:
        columns: by name of a measure, [n_scans], NaN where unknown.
    """
    found = {}
    for measure in MEASURES:
        values = np.asarray(columns.get(measure.name, ()), dtype=np.float64)
        known = values[np.isfinite(values)]
        if known.size:
            found[measure.name] = Seen(low=_short(known.min()), high=_short(known.max()), n=int(known.size))
    return found


def outside(known: Mapping[str, float | None], ranges: Mapping[str, Seen]) -> list[str]:
    """Say which numbers of a scan lie outside what the model saw.

    Args:
        known: by name of a measure; None or NaN where unknown.
        ranges: of seen_ranges.
    """
    flags = []
    for measure in MEASURES:
        value, seen = known.get(measure.name), ranges.get(measure.name)
        if value is None or math.isnan(value) or seen is None:
            continue
        low = -math.inf if measure.below is None else seen.low * measure.below
        high = math.inf if measure.above is None else seen.high * measure.above
        if not low <= value <= high:
            unit = f" {measure.unit}" if measure.unit else ""
            between = f"{seen.low:.{measure.digits}f} to {seen.high:.{measure.digits}f}"
            flags.append(f"{measure.words} {value:.{measure.digits}f}{unit}: the model saw {between}")
    return flags


def _fit(values: NDArray[np.float64], names: Sequence[str]) -> Likeness:
    mean, sd = values.mean(axis=0), values.std(axis=0)
    sd = np.maximum(sd, 0.02)  # a number that never varied, such as one piece a slice, must not rule by its last digit
    precision = LedoitWolf().fit((values - mean) / sd).precision_
    return Likeness(
        names=tuple(names), mean=tuple(map(_short, mean)), sd=tuple(map(_short, sd)), limit=1.0, n=len(values),
        precision=tuple(tuple(map(_short, row)) for row in precision),
    )  # fmt: skip


def _short(value: float) -> float:
    """Return a number of six digits: the rest differs from machine to machine."""
    return float(f"{value:.6g}")
