"""Regression to the mean: models make the young too old and the old too young; two published corrections.

Both are fitted on healthy people of the validation split, whom the model was not fitted on, and then applied to
others. Neither adds information: the raw delta belongs beside the corrected one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import linregress

from brainage_ray.errors import DataError, LeakageError

BiasMethod = Literal["cole", "de_lange"]

FITTING_SPLIT = "validation"
"""The one split that corrections, scales and choices are made on."""

SMALLEST_SLOPE = 0.1
"""Of brain age on age for Cole's correction, which multiplies every error by 1 / slope."""


@dataclass(frozen=True)
class BiasCorrection:
    """A line fitted on one model's validation scans."""

    method: BiasMethod
    split: str
    """What it was fitted on."""
    n: int
    """Scans that it was fitted on."""
    slope: float | None
    """Of the brain age (cole) or of the brain-age delta (de_lange) on age, years a year."""
    intercept: float | None
    """Years, at age 0."""
    reason: str = ""
    """Why there is no line, or why it cannot correct."""

    def apply(self, brain_age: NDArray[Any], age: NDArray[Any]) -> NDArray[np.float64]:
        """Return corrected brain ages.

        Cole et al., Mol Psychiatry 23:1385 (2018): (brain age - intercept) / slope. De Lange and Cole,
        NeuroImage Clin 26:102229 (2020): brain age - (slope x age + intercept).

        Args:
            brain_age: [n_scans], years.
            age: [n_scans], chronological, years; Cole's needs none and de Lange's uses it.

        Returns:
            [n_scans], years.

        Raises:
            LeakageError: it was fitted on another split than validation.
            DataError: it has a reason, or the ages do not fit.
        """
        check_fitting_split(self.split, "a bias correction")
        if self.slope is None or self.intercept is None or self.reason:
            raise DataError(f"the bias correction cannot be applied: {self.reason}", "Report the raw deltas alone.")
        predicted, true = finite_pair(brain_age, age)
        if self.method == "cole":
            return (predicted - self.intercept) / self.slope
        return predicted - (self.slope * true + self.intercept)


def fit_bias(brain_age: NDArray[Any], age: NDArray[Any], method: BiasMethod, split: str) -> BiasCorrection:
    """Fit the line of one correction by least squares.

    Args:
        brain_age: [n_scans], years; healthy people only, one scan each, whom the model was not fitted on.
        age: [n_scans], chronological, years.
        method: "cole" regresses the brain age on age, "de_lange" the delta.
        split: where the scans are from; has to be "validation".

    Returns:
        The correction; without a line for fewer than three scans or equal ages, and with a reason where
        Cole's slope is below SMALLEST_SLOPE.

    Raises:
        LeakageError: another split.
        DataError: ages that do not fit or are not finite, or an unknown method.
    """
    check_fitting_split(split, "a bias correction")
    if method not in ("cole", "de_lange"):
        raise DataError(f'there is no bias correction "{method}"', "Use cole or de_lange.")
    predicted, true = finite_pair(brain_age, age)
    n = len(true)
    if n < 3:
        return BiasCorrection(method, split, n, None, None, f"{n} scans are too few for a line")
    if np.ptp(true) <= 1e-6:
        return BiasCorrection(method, split, n, None, None, "all ages are equal")
    line = linregress(true, predicted if method == "cole" else predicted - true)
    slope, intercept = float(line.slope), float(line.intercept)
    flat = method == "cole" and slope < SMALLEST_SLOPE
    reason = f"brain age rises by {slope:.3f} years a year only, and Cole's correction divides by it" if flat else ""
    return BiasCorrection(method, split, n, slope, intercept, reason)


def fit_bias_by_seed(
    brain_ages: NDArray[Any], age: NDArray[Any], method: BiasMethod, split: str
) -> tuple[BiasCorrection, ...]:
    """Fit one correction a model: [n_seeds, n_scans] and [n_scans], years; otherwise as fit_bias."""
    return tuple(fit_bias(row, age, method, split) for row in np.asarray(brain_ages))


def apply_by_seed(
    corrections: Sequence[BiasCorrection], brain_ages: NDArray[Any], age: NDArray[Any]
) -> NDArray[np.float64]:
    """Correct each model's brain ages by its own line.

    Args:
        corrections: [n_seeds], in the order of the rows.
        brain_ages: [n_seeds, n_scans], years.
        age: [n_scans], chronological, years.

    Returns:
        [n_seeds, n_scans], years.

    Raises:
        LeakageError: as BiasCorrection.apply.
        DataError: as BiasCorrection.apply, or another number of corrections than of seeds.
    """
    rows = finite_array(brain_ages, "brain age", (len(corrections), len(age)))
    return np.array([c.apply(row, age) for c, row in zip(corrections, rows, strict=True)]).reshape(rows.shape)


def check_fitting_split(split: str, what: str) -> None:
    """Refuse to fit, choose or apply what was fitted or chosen on another split than validation.

    Raises:
        LeakageError: the split is not "validation".
    """
    if split != FITTING_SPLIT:
        problem = f'{what} fitted on the split "{split}" would leak into what it is judged by'
        raise LeakageError(problem, f"Fit it on the split {FITTING_SPLIT}.")


def finite_array(values: NDArray[Any], name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the values as float64.

    Raises:
        DataError: another shape, or a value that is not finite, which is named.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.shape != shape:
        raise DataError(f"{name} has the shape {array.shape}, not {shape}", "Give seeds x scans, or one value a scan.")
    if not np.isfinite(array).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise DataError(f"{name} {list(where)} is {array[where]}", "Look at that scan and its model.")
    return array


def finite_pair(brain_age: NDArray[Any], age: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return brain ages, [n_scans] or [n_seeds, n_scans], and ages [n_scans], years, as float64.

    Raises:
        DataError: shapes that do not fit, no seeds, or a value that is not finite.
    """
    predicted, true = np.asarray(brain_age), np.asarray(age)
    if true.ndim != 1 or predicted.ndim not in (1, 2) or (predicted.ndim == 2 and not len(predicted)):
        problem = f"brain ages {predicted.shape} and ages {true.shape} are no seeds x scans and scans"
        raise DataError(problem, "Give [n_seeds, n_scans] and [n_scans].")
    shape = predicted.shape[:-1] + true.shape
    return finite_array(predicted, "brain age", shape), finite_array(true, "age", true.shape)
