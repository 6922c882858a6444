"""What trials read in the validation split: the only models that were not fitted on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainage_ray.data import POSITION_UNIT_MM, StoredSplit
from brainage_ray.evaluation.aggregate import aggregate_slices
from brainage_ray.evaluation.arm_analysis import Predicted
from brainage_ray.evaluation.predictions import baseline_scans
from brainage_ray.evaluation.slice_ages import SliceAges
from brainage_ray.execution import StudyPlan
from brainage_ray.execution.session import trial_runs
from brainage_ray.training import read_slice_years, select_scans


@dataclass(frozen=True, eq=False)
class Reading:
    """The validation scans of the diagnoses that the models learn from, as a trial read them."""

    split: StoredSplit
    slice_years: NDArray[np.float64]
    """[n_repeats, n_slices], age of each slice, years."""
    plan: StudyPlan

    def predicted(self) -> Predicted:
        """Return the scans that count, with the experiment's rule of aggregation."""
        scans, rows = self.split.scans, self._counted()
        rule = self.plan.run.aggregate
        ages = [aggregate_slices(row, self.split.slice_scan, len(scans), rule) for row in self.slice_years]
        repeats = tuple(range(len(ages)))
        return Predicted(scans.iloc[rows].reset_index(drop=True), np.stack(ages)[:, rows], repeats)

    def slices(self) -> SliceAges:
        """Return the slices of the scans that count."""
        rows = self._counted()
        mine = np.isin(self.split.slice_scan, rows)
        return SliceAges(
            years=self.slice_years[:, mine],
            scan=np.searchsorted(rows, self.split.slice_scan[mine]),
            position_mm=self.split.slice_position[mine].astype(np.float64) * POSITION_UNIT_MM,
            age=self.split.scans["age_years"].to_numpy(dtype=np.float64)[rows],
        )

    def _counted(self) -> NDArray[np.int64]:
        """Return the rows of the scans that count, in ascending order."""
        scans = self.split.scans.reset_index(drop=True)
        kept = baseline_scans(scans) if self.plan.run.one_scan_per_subject == "baseline" else scans
        return np.asarray(kept.index, dtype=np.int64)


def read_trial(plan: StudyPlan, number: int, params: Mapping[str, Any], epoch: int) -> Reading | None:
    """Return what a complete trial read after an epoch (1-based); None where its files are gone.

    Args:
        plan: of the trial's study.
        number: of the trial.
        params: its settings, value by dotted path.
        epoch: after which it read.
    """
    runs = trial_runs(plan, number, params)
    years = [read_slice_years(run, epoch) for run in runs]
    if any(row is None for row in years):
        return None
    split = select_scans(runs[0], ["validation"])
    return Reading(split, np.stack([np.asarray(row, dtype=np.float64) for row in years]), plan)
