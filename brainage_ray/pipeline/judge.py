"""What is said of one scan: its brain age as far as the model may be trusted with it, and what speaks against it."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainage_ray.config.experiment import Aggregate
from brainage_ray.data import atomic_write
from brainage_ray.data.prepare_given import Given, GivenSlices
from brainage_ray.evaluation.outlook import MEASURES, REFUSED, outside
from brainage_ray.evaluation.scan_intervals import scaled_margin, spreads
from brainage_ray.evaluation.slice_ages import SliceAges
from brainage_ray.pipeline.reference import MISSING, Reference

COLUMNS = [
    "image", "subject", "session", "age_years", "sex", "status", "brain_age_years", "low_years", "high_years",
    "brain_age_sd_years", "delta_years", "corrected_delta_years", "flags", "n_slices", "brain_volume_ml", "snr",
    "voxel_mm", "field_mm", "distance", "notes", "model", "error",
]  # fmt: skip
"""Of the table that prediction returns, see docs/predict.md."""
_NUMBERS = ("_years", "_mm", "_ml", "snr", "distance")
COLUMN_TYPES = {
    name: "long" if name.startswith("n_") else "double" if name.endswith(_NUMBERS) else "string" for name in COLUMNS
}
"""MLflow's name of the type of each column, for the signature of a model."""
FAR_YEARS = 10.0
"""Beyond the ages that the model learned from; a brain age so far out is no reading but an extrapolation."""


@dataclass(frozen=True)
class SliceReading:
    """What a model read of one scan, as it is kept: plain numbers, no name and no image."""

    years: list[list[float]]
    """Age of each slice by seed."""
    positions_mm: list[float]
    measures: dict[str, float | None]
    """By name of a measure of evaluation.outlook; None where it is unknown."""
    appearance: list[float]
    note: str

    @classmethod
    def of(cls, slices: GivenSlices, years: NDArray[np.float64]) -> SliceReading:
        """Gather it: years is [n_seeds, n_slices]."""
        measures = {m.name: getattr(slices.prepared, m.name) for m in MEASURES if m.name != "age_years"}
        rows = [[round(value, 4) for value in row] for row in years.tolist()]
        return cls(rows, list(slices.prepared.positions_mm), measures, list(slices.appearance), slices.note)

    @classmethod
    def load(cls, path: Path) -> SliceReading:
        """Read what `save` wrote."""
        return cls(**json.loads(path.read_bytes()))

    def save(self, path: Path) -> None:
        """Write it; the file is whole or absent."""
        with atomic_write(path) as file:
            file.write(json.dumps(asdict(self)).encode())


def judge(given: Given, reading: SliceReading, reference: Reference | None, rule: Aggregate) -> dict[str, Any]:
    """Return the row of a scan.

    A scan that looks like none of the model's (REFUSED limits away) gets no age; one that is flagged for anything else
    gets an age without an interval, for intervals hold for scans like those that they were fitted on.

    Args:
        given: what the input says of it.
        reading: what the model read.
        reference: of the model; None where it has none: then every scan is flagged as not checked.
        rule: how slices become a brain age.
    """
    age = math.nan if given.age_years is None else given.age_years
    years = np.asarray(reading.years, dtype=np.float64)
    slices = SliceAges(years, np.zeros(years.shape[1], np.int64), np.asarray(reading.positions_mm), np.array([age]))
    brain_ages, found = spreads(slices, rule)
    brain_age = float(brain_ages[0])
    distance = _distance(reading, reference)
    flags, refused = _flags(given, reading, reference, brain_age, distance)
    row = _facts(reading) | {"distance": distance, "status": "flagged" if flags else "ok", "flags": "; ".join(flags)}
    notes = [reading.note] if reading.note else []
    if not refused:
        row |= _ages(brain_age, age, reference)
        if found.over_seeds is not None:
            row["brain_age_sd_years"] = round(float(found.over_seeds[0]), 2)
        margin = scaled_margin(found, reference.scales) if reference else None
        if margin is not None and not flags:
            row |= {"low_years": round(brain_age - margin[0], 2), "high_years": round(brain_age + margin[0], 2)}
        notes += [_no_interval(reference)] if margin is None else []
    return row | {"notes": "; ".join(notes), "error": ""}


def _flags(
    given: Given, reading: SliceReading, reference: Reference | None, brain_age: float, distance: float | None
) -> tuple[list[str], bool]:
    """Return what speaks against a scan, the worst first, and whether it gets no age for it."""
    if reference is None:
        return [f"not checked: {MISSING}"], False
    refused = distance is not None and distance > REFUSED
    flags = []
    if distance is not None and distance > 1 and reference.likeness is not None:
        worst = reference.likeness.furthest(np.asarray(reading.appearance))
        what = "no scan of the kind that the model reads, so no age" if refused else "unlike the model's scans"
        flags.append(f"{what}: {distance:.1f} times the limit, most of all in {worst}")
    flags += outside(reading.measures | {"age_years": given.age_years}, reference.ranges)
    seen = reference.ranges.get("age_years")
    if not refused and seen and not seen.low - FAR_YEARS <= brain_age <= seen.high + FAR_YEARS:
        flags.append(f"brain age {brain_age:.0f} years: the model learned from ages {seen.low:.0f} to {seen.high:.0f}")
    if reference.likeness is None:
        flags.append(f"appearance not checked: the model saw {reference.n_scans} scans, too few to compare with")
    return flags, refused


def _distance(reading: SliceReading, reference: Reference | None) -> float | None:
    if reference is None or reference.likeness is None:
        return None
    return round(float(reference.likeness.distance(np.asarray(reading.appearance)[None])[0]), 2)


def _facts(reading: SliceReading) -> dict[str, Any]:
    digits = {m.name: m.digits + 1 if m.name != "n_slices" else 0 for m in MEASURES}
    return {name: None if value is None else round(value, digits[name]) for name, value in reading.measures.items()}


def _ages(brain_age: float, age: float, reference: Reference | None) -> dict[str, float]:
    ages = {"brain_age_years": round(brain_age, 2)}
    if math.isnan(age):
        return ages
    ages["delta_years"] = round(brain_age - age, 2)
    line = reference.bias if reference else None
    if line is not None and not line.reason:
        corrected = line.apply(np.array([brain_age]), np.array([age]))
        ages["corrected_delta_years"] = round(float(corrected[0]) - age, 2)
    return ages


def _no_interval(reference: Reference | None) -> str:
    if reference is None:
        return f"no interval: {MISSING}"
    reasons = [scale.reason for scale in reference.scales.values() if scale.reason]
    return f"no interval: {reference.reason or next(iter(reasons), 'the scan has no spread with a scale')}"


def failed(error: str) -> dict[str, Any]:
    """Return the row of a scan that could not be read."""
    return {"status": "failed", "error": error}


def named(given: Given) -> dict[str, Any]:
    """Return what the input says of a scan."""
    return {"image": str(given.image), "subject": given.subject, "session": given.session,
            "age_years": given.age_years, "sex": given.sex}  # fmt: skip
