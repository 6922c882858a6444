"""Finished experiments side by side, from the files that they left."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ValidationError

from brainage_ray.data import read_parquet
from brainage_ray.errors import ConfigError, DataError
from brainage_ray.evaluation.arms import compare_arms
from brainage_ray.evaluation.comparisons import adjust_p
from brainage_ray.evaluation.predictions import SCAN, ScanPredictions, pivot_predictions
from brainage_ray.evaluation.summary import Summary
from brainage_ray.pipeline.model_folder import RESULTS
from brainage_ray.pipeline.results import PREDICTIONS
from brainage_ray.pipeline.select import Selected
from brainage_ray.report.comparison import ComparedArm, Comparison, PairedArm

EXPERIMENT = "experiment.json"
AGAIN = "Run it again with this version: what is done is not done again."
TOLERANCE_YEARS = 1e-6
"""Between the MAE in results.json and that of the predictions."""
NOT_COMPARED = {"name", "description"}
"""Fields of an experiment that say which one it is."""


class _Model(BaseModel):
    arm: str
    commit: str | None = None
    """Older files have none."""


class _Results(BaseModel):
    """What is read of results.json."""

    selected: dict[str, Selected]
    summary: Summary
    models: tuple[_Model, ...]
    data_hash: str
    leak: str = ""
    """A sentence, where the data leak as published."""
    commit: str
    """That wrote the file."""


@dataclass(frozen=True)
class _Finished:
    """One experiment."""

    name: str
    """Of the folder, or as the user wrote it where several folders have the same."""
    results: _Results
    fields: Mapping[str, str]
    """Of experiment.json: JSON by dotted path."""
    counted: ScanPredictions
    """The scans that the MAE is of."""


def compare_experiments(runs: Sequence[str], workspace: Path) -> Comparison:
    """Put finished experiments side by side.

    Args:
        runs: two or more: names of experiments in the workspace, or paths of their folders.
        workspace: where names are looked up.

    Raises:
        ConfigError: fewer than two, one twice, or one that is not there or not finished.
        DataError: a file that cannot be read, is of another version, or does not fit the others.
    """
    if len(runs) < 2:
        raise ConfigError("compare needs two experiments or more", "Write: brainage compare RUN RUN.")
    folders = [_folder(run, workspace) for run in runs]
    repeated = [run for run, folder in zip(runs, folders, strict=True) if folders.count(folder) > 1]
    if repeated:
        raise ConfigError(f"{' and '.join(repeated)} are the same experiment", "Name each once.")
    times = Counter(folder.name for folder in folders)
    names = [folder.name if times[folder.name] == 1 else run for run, folder in zip(runs, folders, strict=True)]
    finished = [_read(folder, name) for folder, name in zip(folders, names, strict=True)]
    paired, unpaired = _pair(finished)
    return Comparison(
        tuple(names),
        tuple(arm for one in finished for arm in _arms(one)),
        _differences([one.fields for one in finished]),
        paired,
        unpaired,
    )


def _folder(run: str, workspace: Path) -> Path:
    """Return the folder of a finished experiment."""
    places = [place.resolve() for place in (workspace / run, Path(run)) if run and place.is_dir()]
    for place in places:
        if all((place / name).is_file() for name in (RESULTS, EXPERIMENT, PREDICTIONS)):
            return place
    finished = sorted(found.parent.name for found in workspace.glob(f"*/{RESULTS}"))
    known = f"Finished in {workspace}: {', '.join(finished)}." if finished else f"None is finished in {workspace}."
    for place in places:
        if (place / EXPERIMENT).is_file():
            missing = next(name for name in (RESULTS, PREDICTIONS) if not (place / name).is_file())
            raise ConfigError(f"{run} is not finished: {place} has no {missing}", f"Run it to its end. {known}")
    raise ConfigError(f"There is no experiment {run}", known)


def _read(folder: Path, name: str) -> _Finished:
    path = folder / RESULTS
    try:
        results = _Results.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise DataError(f"{path}, {where}: {first['msg']}", AGAIN) from None
    config = _read_config(folder / EXPERIMENT)
    counted = _counted(folder / PREDICTIONS, results.summary, config)
    _check_mae(folder, results, counted)
    fields = {path: json.dumps(v) for key in config.keys() - NOT_COMPARED for path, v in _flat(key, config[key])}
    return _Finished(name, results, fields, counted)


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_bytes())
        config["evaluation"]["one_scan_per_subject"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is no experiment: {error}", AGAIN) from None
    return dict(config)


def _counted(path: Path, summary: Summary, config: Mapping[str, Any]) -> ScanPredictions:
    """Return the predictions of the scans that count for the MAE."""
    try:
        table = pivot_predictions(read_parquet(path), config["evaluation"]["one_scan_per_subject"])
    except DataError as error:
        raise DataError(f"{path}: {error.problem}", error.fix) from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}", AGAIN) from None
    rows = table.scans["diagnosis"].isin(summary.mae_diagnoses).to_numpy()
    brain_ages = {arm: values[:, rows] for arm, values in table.brain_ages.items()}
    return ScanPredictions(table.scans[rows].reset_index(drop=True), table.seeds, brain_ages)


def _check_mae(folder: Path, results: _Results, counted: ScanPredictions) -> None:
    """Refuse files of two different runs; an experiment that was started again with other settings has them."""
    arms = {arm.arm: arm.mae for arm in results.summary.arms}
    if not arms.keys() == counted.brain_ages.keys() == results.selected.keys():
        raise DataError(f"{folder}: {RESULTS} and {PREDICTIONS} have other arms", AGAIN)
    age = counted.scans["age_years"].to_numpy(dtype=np.float64)
    for arm, mae in arms.items():
        found = float(np.abs(counted.brain_ages[arm] - age).mean()) if len(age) else None
        same = found == mae.mean_years or (found and mae.mean_years and abs(found - mae.mean_years) < TOLERANCE_YEARS)
        if mae.n_scans != len(age) or not same:
            ours = f"arm {arm} has the MAE {mae.mean_years} on {mae.n_scans} scans in {RESULTS}"
            raise DataError(f"{folder}: {ours}, but {found} on {len(age)} in {PREDICTIONS}", AGAIN)


def _flat(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the leaves of an experiment by dotted path; lists of plain values are leaves."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flat(f"{path}.{key}", inner)
    elif isinstance(value, list) and any(isinstance(inner, dict) for inner in value):
        for i, inner in enumerate(value):
            yield from _flat(f"{path}.{i}", inner)
    else:
        yield path, value


def _differences(fields: Sequence[Mapping[str, str]]) -> dict[str, tuple[str | None, ...]]:
    paths = sorted({path for one in fields for path in one})
    values = {path: tuple(one.get(path) for one in fields) for path in paths}
    return {path: row for path, row in values.items() if len(set(row)) > 1}


def _arms(one: _Finished) -> Iterator[ComparedArm]:
    for arm in one.results.summary.arms:
        chosen = one.results.selected[arm.arm]
        trained_by = {model.commit for model in one.results.models if model.arm == arm.arm}
        known = sorted(commit for commit in trained_by if commit)
        yield ComparedArm(
            one.name, arm.arm, chosen.validation_mae, arm.mae, arm.pairs[-1] if arm.pairs else None,
            chosen.params, chosen.epochs, one.results.data_hash, tuple(known or [one.results.commit]),
            one.results.leak,
        )  # fmt: skip


def _pair(finished: Sequence[_Finished]) -> tuple[tuple[PairedArm, ...], tuple[str, ...]]:
    """Compare the equal-named arms of every two experiments scan by scan, and say where that cannot be."""
    paired: list[PairedArm] = []
    unpaired = []
    for first, second in combinations(finished, 2):
        if why := _not_paired(first, second):
            unpaired.append(f"{first.name} and {second.name}: {why}, so no paired comparison is made.")
        else:
            paired += _pair_arms(first, second)
    tested = [i for i, one in enumerate(paired) if one.comparison.p is not None]
    adjusted = adjust_p(np.array([[paired[i].comparison.p] for i in tested], dtype=np.float64), "holm")
    for i, row in zip(tested, adjusted, strict=True):
        paired[i] = replace(paired[i], comparison=replace(paired[i].comparison, p_adjusted=float(row[0])))
    return tuple(paired), tuple(unpaired)


def _not_paired(first: _Finished, second: _Finished) -> str:
    """Return why two experiments have no scans or no arms to be paired by; empty where they have."""
    a, b = first.counted.scans, second.counted.scans
    both = a.merge(b, on=SCAN, suffixes=("", "_other"))
    if not len(a) == len(b) == len(both):
        return f"the people differ (they share {len(both)} test scans, of {len(a)} and {len(b)})"
    if not len(both):
        return "they have no test scans that count for the MAE"
    changed = int(((both["age_years"] != both["age_years_other"]) | (both["person"] != both["person_other"])).sum())
    if changed:
        return f"{changed} of their {len(both)} test scans have another age or person"
    if not first.counted.brain_ages.keys() & second.counted.brain_ages.keys():
        return "no arm of one has its name in the other"
    return ""


def _pair_arms(first: _Finished, second: _Finished) -> Iterator[PairedArm]:
    """Compare equal-named arms; both tables have the same scans, in the order of their names."""
    scans = first.counted.scans
    age, person = scans["age_years"].to_numpy(dtype=np.float64), scans["person"].to_numpy(dtype=object)
    for arm, brain_ages in first.counted.brain_ages.items():
        if arm in second.counted.brain_ages:
            both = {first.name: brain_ages, second.name: second.counted.brain_ages[arm]}
            yield PairedArm(arm, len(scans), compare_arms(both, age, person)[0])
