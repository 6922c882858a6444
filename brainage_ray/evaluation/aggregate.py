"""From one value a slice to one value a scan, the same rule wherever it is asked for."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from brainage_ray.errors import DataError


def aggregate_slices(
    values: NDArray[Any], slice_scan: NDArray[Any], n_scans: int, rule: Literal["median", "mean"]
) -> NDArray[np.float64]:
    """Combine the slices of each scan by its id, in whatever order and number they come.

    Args:
        values: [n_slices], any unit.
        slice_scan: [n_slices], the scan of each slice, 0 to n_scans - 1.
        n_scans: how many scans there are.
        rule: "median" (the mean of the two middle values where the number is even) or "mean".

    Returns:
        [n_scans] in the unit of the values, float64.

    Raises:
        DataError: shapes that do not fit, a scan without slices or outside 0 to n_scans - 1,
            a value that is not finite, or an unknown rule.
    """
    values = np.asarray(values, dtype=np.float64)
    scan = np.asarray(slice_scan)
    if rule not in ("median", "mean"):
        raise DataError(f'there is no aggregation rule "{rule}"', "Use median or mean.")
    counts = _count_slices(values, scan, n_scans)
    if rule == "mean":
        return np.asarray(np.bincount(scan, weights=values, minlength=n_scans) / counts, dtype=np.float64)
    ordered = values[np.lexsort((values, scan))]
    starts = np.cumsum(counts) - counts
    low, high = ordered[starts + (counts - 1) // 2], ordered[starts + counts // 2]
    return np.asarray(low + (high - low) / 2, dtype=np.float64)


def _count_slices(values: NDArray[np.float64], scan: NDArray[Any], n_scans: int) -> NDArray[np.int64]:
    if values.ndim != 1 or values.shape != scan.shape:
        raise DataError(f"values {values.shape} and slice_scan {scan.shape} differ in shape", "Give one scan a slice.")
    if not np.isfinite(values).all():
        where = int(np.flatnonzero(~np.isfinite(values))[0])
        raise DataError(f"slice {where} of scan {scan[where]} has the value {values[where]}", "Look at its model.")
    if scan.size and not (scan.min() >= 0 and scan.max() < n_scans):
        raise DataError(
            f"slice_scan runs from {scan.min()} to {scan.max()}, but there are {n_scans} scans",
            "Number the scans from 0 to n_scans - 1.",
        )
    counts = np.bincount(scan.astype(np.int64), minlength=n_scans)
    if (counts == 0).any():
        missing = int(np.flatnonzero(counts == 0)[0])
        raise DataError(f"scan {missing} has no slices", "Leave out scans without slices before aggregating.")
    return counts
