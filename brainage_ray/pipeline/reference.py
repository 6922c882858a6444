"""What prediction needs to know of the scans that a model saw: `reference.json` in the model's folder.

All of it is from the splits train and validation. What the models were fitted on gives the ranges and the likeness;
the scale of the intervals, the correction of the bias and the cohort that a brain is shown among come from the
validation scans as the search's models read them, which were not fitted on them.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainage_ray.config.base import FrozenModel
from brainage_ray.config.experiment import Experiment
from brainage_ray.config.read import validate
from brainage_ray.data import SliceStore, atomic_write, inside
from brainage_ray.data.appearance import APPEARANCE, appearance
from brainage_ray.errors import ConfigError
from brainage_ray.evaluation.bias import BiasCorrection, fit_bias
from brainage_ray.evaluation.outlook import MEASURES, Likeness, Seen, fit_likeness, seen_ranges
from brainage_ray.evaluation.scan_intervals import Spread, fit_scales
from brainage_ray.evaluation.uncertainty import UncertaintyScale
from brainage_ray.pipeline.validation import Reading

REFERENCE_FILE = "reference.json"
REFERENCE_VERSION = 1
_NO_READING = "what the search's models read of the validation scans is not there any more"
MISSING = "the model's folder has no reference.json: it is of an older version, or was made elsewhere"


class Reference(FrozenModel):
    """`reference.json`."""

    schema_version: int = REFERENCE_VERSION
    n_scans: int
    """Of train and validation, that ranges and likeness are from."""
    ranges: dict[str, Seen]
    """By name of a measure of evaluation.outlook."""
    likeness: Likeness | None
    """None where there were too few scans."""
    scales: dict[Spread, UncertaintyScale]
    """Of the intervals, by kind of spread."""
    bias: BiasCorrection | None
    """None where the experiment corrects none."""
    cohort: tuple[tuple[float, float], ...]
    """(age, brain age) of the validation scans that count, years, sorted: no identities."""
    reason: str = ""
    """Why there are no scales, no correction and no cohort."""


def fit_reference(experiment: Experiment, store: SliceStore, reading: Reading | None) -> Reference:
    """Gather the facts of one arm.

    Args:
        experiment: names the diagnoses that models learn from, and the correction of the bias.
        store: train and validation; the test split is no part of it.
        reading: what the arm's chosen trial read of the validation scans; None where its files are gone.
    """
    columns, likeness = _seen(store.folder, store.content_hash, tuple(experiment.training.diagnoses))
    if reading is None:
        scales: dict[Spread, UncertaintyScale] = {}
        bias = None
        pairs: list[tuple[float, float]] = []
    else:
        predicted, method = reading.predicted(), experiment.statistics.bias_correction
        brain_age = predicted.brain_ages.mean(axis=0)
        scales = fit_scales(reading.slices(), experiment.evaluation.aggregate)
        bias = None if method == "none" else fit_bias(brain_age, predicted.age, method, "validation")
        pairs = sorted(zip(predicted.age.round(2).tolist(), brain_age.round(2).tolist(), strict=True))
    return Reference(
        n_scans=len(columns["n_slices"]), ranges=seen_ranges(columns), likeness=likeness, scales=scales, bias=bias,
        cohort=tuple(pairs), reason=_NO_READING if reading is None else "",
    )  # fmt: skip


def write_reference(folder: Path, reference: Reference) -> None:
    """Write `reference.json` into a model's folder."""
    with atomic_write(folder / REFERENCE_FILE) as file:
        file.write(json.dumps(reference.to_json(), indent=1).encode() + b"\n")


def read_reference(folder: Path) -> Reference | None:
    """Read `reference.json`; None where a model's folder has none.

    Raises:
        ConfigError: it is damaged or of another version.
        UnsafeFileError: it is a link out of the folder.
    """
    path = inside(folder, REFERENCE_FILE)
    if not path.is_file():
        return None
    try:
        data = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not JSON: {error}", "Pull the model again.") from None
    version = data.get("schema_version") if isinstance(data, dict) else None
    if version != REFERENCE_VERSION:
        raise ConfigError(
            f"{path} has schema version {version}, this program reads {REFERENCE_VERSION}", "Pull it again."
        )
    return validate(Reference, data, path)


@lru_cache(maxsize=2)  # all arms of an experiment read one store
def _seen(
    folder: Path, content_hash: str, diagnoses: tuple[str, ...]
) -> tuple[dict[str, NDArray[np.float64]], Likeness | None]:
    """Return the measures and the likeness of the scans that final models are fitted on."""
    store = SliceStore.open(folder)
    rows, tables = [], []
    for name in ("train", "validation"):
        split = store.split(name)
        split = split.take(split.scans["diagnosis"].isin(diagnoses).to_numpy())
        tables.append(split.scans)
        each = range(len(split.scans))
        rows += [appearance(split.take(split.scans.index == i).images()) for i in each]
    table = pd.concat(tables, ignore_index=True)  # older stores lack some columns
    columns = {m.name: table[m.name].to_numpy(dtype=np.float64) for m in MEASURES if m.name in table}
    return columns, fit_likeness(np.array(rows), APPEARANCE)
