"""The null model: everybody is as old as the median of the people who trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainage_ray.errors import DataError
from brainage_ray.evaluation.metrics import mean_absolute_error


@dataclass(frozen=True)
class NullModel:
    """What a model that never looks at an image scores on the same scans."""

    age_years: float
    """Its one answer: the median age of the training people, which minimises their absolute error."""
    mae_years: float | None
    """None where there are no scans."""
    n_training: int
    n_scans: int
    reason: str = ""
    """Why a number is None."""


def null_model(training_ages: NDArray[Any], ages: NDArray[Any]) -> NullModel:
    """Fit the null model and score it.

    Args:
        training_ages: [n_training], years; one a scan that the models were fitted on.
        ages: [n_scans], chronological ages of the scans that the models are scored on, years.

    Raises:
        DataError: no training ages, or one that is not finite.
    """
    known = np.asarray(training_ages, dtype=np.float64)
    if known.size == 0:
        raise DataError("there are no training ages for the null model", "Give the ages of the fitted scans.")
    if not np.isfinite(known).all():
        raise DataError("a training age is not finite", "Leave out scans without an age before training.")
    answer = float(np.median(known))
    if len(ages) == 0:
        return NullModel(answer, None, known.size, 0, "no scans of the diagnoses that count")
    return NullModel(answer, mean_absolute_error(np.full(len(ages), answer), ages), known.size, len(ages))
