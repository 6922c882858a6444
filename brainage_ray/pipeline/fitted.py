"""A final model, as prediction uses it."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainage_ray.config import FitResult, TrainingRun
from brainage_ray.data import StoredSplit
from brainage_ray.evaluation.aggregate import aggregate_slices
from brainage_ray.training import predict_slice_years


@dataclass(frozen=True)
class FittedModel:
    """A final model: one arm, one seed."""

    arm: str
    seed: int
    run: TrainingRun
    fit: FitResult

    def slice_years(self, split: StoredSplit) -> NDArray[np.float64]:
        """Return the age of each slice [n_slices], years, on all cores: nothing trains meanwhile."""
        return predict_slice_years(self.run.model_copy(update={"threads": os.cpu_count() or 1}), self.fit, split)

    def predict(self, split: StoredSplit) -> NDArray[np.float64]:
        """Return the brain age of each scan [n_scans], years, see slice_years."""
        return aggregate_slices(self.slice_years(split), split.slice_scan, len(split.scans), self.run.aggregate)
