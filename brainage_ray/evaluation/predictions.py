"""The table of predictions, checked, and turned into matrices of seeds x scans."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainage_ray.errors import DataError

SCAN = ["cohort", "subject", "session", "image"]
"""Columns that name a scan."""
COLUMNS = [
    *SCAN, "person", "site", "split", "diagnosis", "sex", "age_years",
    "arm", "seed", "brain_age_years", "brain_age_delta_years",
]  # fmt: skip
"""Columns of the predictions table: one row per arm, seed and scan."""


@dataclass(frozen=True)
class ScanPredictions:
    """The same scans, seen by every model of every arm."""

    scans: pd.DataFrame
    """One row a scan, index 0 to n_scans - 1: the columns of SCAN, person, site, diagnosis, sex, age_years."""
    seeds: Mapping[str, tuple[int, ...]]
    """By arm, in the order of the rows of its matrix."""
    brain_ages: Mapping[str, NDArray[np.float64]]
    """By arm: [n_seeds, n_scans], years."""


def check_predictions(predictions: pd.DataFrame) -> None:
    """Refuse a table whose numbers would come out wrong.

    Raises:
        DataError: a missing column, no rows, several splits, a number that is not finite, a row twice,
            a scan without a person, or one that only some of the models saw.
    """
    missing = [column for column in COLUMNS if column not in predictions.columns]
    if missing:
        raise DataError(f"the predictions lack the column {missing[0]}", f"The table has {', '.join(COLUMNS)}.")
    if predictions.empty:
        raise DataError("the predictions table has no rows", "Check that the test split has scans.")
    splits = sorted(predictions["split"].unique())
    if len(splits) > 1:
        raise DataError(f"the predictions mix the splits {', '.join(splits)}", "Summarise one split at a time.")
    for column in ("age_years", "brain_age_years"):
        bad = predictions[~np.isfinite(predictions[column].to_numpy(dtype=np.float64))]
        if len(bad):
            raise DataError(f"{_name(bad.iloc[0])} has {column} {bad.iloc[0][column]}", "Look at that scan and model.")
    _check_rows(predictions)


def pivot_predictions(predictions: pd.DataFrame, one_scan_per_subject: Literal["baseline", "all"]) -> ScanPredictions:
    """Choose the scans that count and arrange them as matrices.

    Args:
        predictions: one row per arm, seed and scan; the columns of COLUMNS.
        one_scan_per_subject: "baseline" keeps each person's first scan, see baseline_scans; "all" keeps every one.

    Raises:
        DataError: as check_predictions.
    """
    check_predictions(predictions)
    ordered = predictions.sort_values([*SCAN, "seed"], kind="stable", ignore_index=True)
    scans = ordered.drop_duplicates(SCAN)[[*SCAN, "person", "site", "diagnosis", "sex", "age_years"]]
    if one_scan_per_subject == "baseline":
        scans = baseline_scans(scans)
    scans = scans.reset_index(drop=True)
    kept = ordered.merge(scans[SCAN], on=SCAN)
    seeds, brain_ages = {}, {}
    for arm in predictions["arm"].unique():
        rows = kept[kept["arm"] == arm]
        seeds[str(arm)] = tuple(int(seed) for seed in sorted(rows["seed"].unique()))
        brain_ages[str(arm)] = rows["brain_age_years"].to_numpy(dtype=np.float64).reshape(len(scans), -1).T
    return ScanPredictions(scans, seeds, brain_ages)


def baseline_scans(scans: pd.DataFrame) -> pd.DataFrame:
    """Return each person's first scan: the youngest age, then the smallest session and image id.

    Sessions are names, whose order is not that of time: 12 months come before 6.

    Args:
        scans: person, age_years, session and image; any unique index.

    Returns:
        One row a person, with its index, in the order of the index.
    """
    order = ["person", "age_years", "session", "image"]
    return scans.sort_values(order, kind="stable").drop_duplicates("person").sort_index()


def _check_rows(predictions: pd.DataFrame) -> None:
    nameless = predictions[predictions["person"].isna() | (predictions["person"] == "")]
    if len(nameless):
        raise DataError(f"{_name(nameless.iloc[0])} belongs to no person", "Fill the column person.")
    twice = predictions[predictions.duplicated([*SCAN, "arm", "seed"])]
    if len(twice):
        raise DataError(f"{_name(twice.iloc[0])} is there twice", "Keep one row per arm, seed and scan.")
    models = predictions[["arm", "seed"]].drop_duplicates().shape[0]
    seen = predictions.groupby(SCAN, sort=False, dropna=False)["seed"].transform("size")
    some = predictions[seen < models]
    if len(some):
        row = some.iloc[0]
        raise DataError(
            f"scan {_scan(row)} has {int(seen[some.index[0]])} predictions, but there are {models} models",
            "Predict the same scans with every model.",
        )


def _scan(row: pd.Series[Any]) -> str:
    return "/".join(str(row[column]) for column in SCAN)


def _name(row: pd.Series[Any]) -> str:
    return f"scan {_scan(row)}, arm {row['arm']}, seed {row['seed']}"
