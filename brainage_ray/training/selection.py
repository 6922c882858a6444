"""Which scans of the store a run trains on and is scored on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from weakref import WeakValueDictionary

import numpy as np
import pandas as pd
import torch

from brainage_ray.config.run import TrainingRun
from brainage_ray.data.store import SliceStore, StoredSplit
from brainage_ray.errors import DataError, StoreError
from brainage_ray.training.batches import Slices, load_slices

_OPEN: WeakValueDictionary[tuple[object, ...], Slices] = WeakValueDictionary()


def open_slices(run: TrainingRun, names: Sequence[str], device: torch.device) -> Slices:
    """Return the slices of the scans that a run uses from some splits, on or for a device.

    Runs that take turns in one process and use the same scans share one copy.

    Args:
        run: says which store, cohorts and diagnoses.
        names: of the splits, joined in this order.
        device: where batches are wanted.

    Raises:
        StoreError: the store is not the one that the run was made for.
        LeakageError: one of the splits is the test split.
        DataError: no scan is left, or a scan to learn an age from has none.
    """
    diagnoses = run.training.diagnoses if run.task == "age" else ()
    key = (run.store, run.store_hash, run.task, tuple(names), run.cohorts, diagnoses, device)
    slices = _OPEN.get(key)
    if slices is None:
        slices = load_slices(select_scans(run, names), device)
        _OPEN[key] = slices
    return slices


def select_scans(run: TrainingRun, names: Sequence[str]) -> StoredSplit:
    """Return the scans that a run uses from some splits, see open_slices."""
    store = SliceStore.open(run.store)
    if (store.content_hash, store.kind) != (run.store_hash, run.task):
        raise StoreError(
            f"the {store.kind} store {run.store} has the content {store.content_hash}, "
            f"but the run was made for {run.store_hash} ({run.task})",
            "Make the run from the store as it is now.",
        )
    parts = [store.split(name) for name in names]
    selected = [part.take(_wanted(run, part.scans)) for part in parts]
    filled = [part for part in selected if len(part.slice_scan)]
    if not filled:
        raise _nothing_left(run, names, [part.scans for part in parts])
    split = _join(filled)
    if run.task == "age":
        _check_ages(run, split.scans)
    return split


def _wanted(run: TrainingRun, scans: pd.DataFrame) -> np.ndarray:
    wanted = np.ones(len(scans), dtype=bool)
    if run.cohorts:
        wanted &= scans["cohort"].isin(run.cohorts).to_numpy(dtype=bool)
    if run.task == "age":
        wanted &= scans["diagnosis"].isin(run.training.diagnoses).to_numpy(dtype=bool)
    return wanted


def _join(parts: Sequence[StoredSplit]) -> StoredSplit:
    if len(parts) == 1:
        return parts[0]
    starts = np.cumsum([0, *(len(part.scans) for part in parts[:-1])])
    return StoredSplit(
        scans=pd.concat([part.scans for part in parts], ignore_index=True),
        shards=tuple(shard for part in parts for shard in part.shards),
        label_shards=tuple(shard for part in parts for shard in part.label_shards),
        slice_scan=np.concatenate([part.slice_scan + start for part, start in zip(parts, starts, strict=True)]),
        slice_position=np.concatenate([part.slice_position for part in parts]),
    )


def _check_ages(run: TrainingRun, scans: pd.DataFrame) -> None:
    unknown = scans[scans["age_years"].isna()]
    if len(unknown):
        first = unknown.iloc[0]
        raise DataError(
            f"{len(unknown)} scans in {run.store} have no age, the first is {first['cohort']} {first['image']}",
            "Give their ages in the source's table, or leave them out.",
        )


def _nothing_left(run: TrainingRun, names: Sequence[str], tables: Sequence[pd.DataFrame]) -> DataError:
    scans = pd.concat(tables)
    kinds = Counter(zip(scans["cohort"], scans["diagnosis"], strict=True))
    there = ", ".join(f"{count} {cohort} {diagnosis}".strip() for (cohort, diagnosis), count in sorted(kinds.items()))
    wanted = f"cohorts {list(run.cohorts)}" if run.cohorts else "any cohort"
    if run.task == "age":
        wanted += f", diagnoses {list(run.training.diagnoses)}"
    return DataError(
        f"{' + '.join(names)} of {run.store} has no scan with {wanted}; it has {there or 'none at all'}",
        "Change cohorts or training.diagnoses, or how data.split shares out the people.",
    )
