"""Every scan of a store with its numbers, and how far they lie from the rest of its cohort: outliers first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from brainage_ray.data.quality import OUTLIER_Z, robust_z


@dataclass(frozen=True)
class Measure:
    """A number that every scan has."""

    column: str
    """Of the manifest."""
    name: str
    unit: str
    digits: int

    @property
    def z(self) -> str:
        """Column of its robust z."""
        return f"{self.column}_z"


MEASURES = (
    Measure("brain_volume_ml", "Brain volume", "ml", 0),
    Measure("snr", "SNR", "", 1),
    Measure("template_dice", "Overlap with the template", "Dice", 3),
)
"""What scans are compared by. A manifest without a column, or a scan without a value, is compared by the others."""


def rate_scans(manifest: pd.DataFrame) -> pd.DataFrame:
    """Rate every scan against its cohort, the furthest from it first.

    Neither ages nor diagnoses nor predictions are looked at.

    Args:
        manifest: one row a scan, with cohort, image and some of the columns of MEASURES.

    Returns:
        The manifest with the columns of all MEASURES and a robust z for each (NaN where there is no value),
        largest_z (the largest |z|, 0 where there is no value), worst (the column that has it, or empty) and
        outlier; sorted by largest_z, then cohort and image.
    """
    rated = manifest.reset_index(drop=True).copy()
    for measure in MEASURES:
        values = rated.get(measure.column, np.nan)
        rated[measure.column] = pd.Series(values, index=rated.index).astype(np.float64)
        rated[measure.z] = rated.groupby("cohort")[measure.column].transform(lambda x: robust_z(x.to_numpy()))
    size = np.nan_to_num(np.abs(rated[[measure.z for measure in MEASURES]].to_numpy(np.float64)))
    rated["largest_z"] = size.max(axis=1)
    columns = np.array([measure.column for measure in MEASURES])
    rated["worst"] = np.where(rated["largest_z"] > 0, columns[size.argmax(axis=1)], "")
    rated["outlier"] = rated["largest_z"] > OUTLIER_Z
    return rated.sort_values(["largest_z", "cohort", "image"], ascending=[False, True, True], ignore_index=True)


def cohort_medians(rated: pd.DataFrame) -> pd.DataFrame:
    """Return the median of each of MEASURES, number of scans and of outliers by cohort, in alphabetical order."""
    groups = rated.groupby("cohort")
    medians = groups[[measure.column for measure in MEASURES]].median()
    return medians.assign(scans=groups.size(), outliers=groups["outlier"].sum())
