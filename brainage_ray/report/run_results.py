"""A file of per-run results, checked: one row a run of one of the paper's six arms."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite
from pathlib import Path

from brainage_ray.config.read import nearest
from brainage_ray.errors import MetadataError

ARMS = {
    "unet": "UNet",
    "unet+brats": "UNet+BraTS",
    "resnet": "ResNet",
    "resnet+brats": "ResNet+BraTS",
    "resnet+imagenet": "ResNet+ImageNet",
    "resnet+imagenet+brats": "ResNet+ImageNet+BraTS",
}
"""Arms and the groups that their refitted models are in."""
TRAIN_ONLY = "val_"
"""Before the group of models that were fitted on training alone."""
GROUP, LEARNING_RATE, VALIDATION_MAE = "Group", "learning_rate", "bestval_ps_MAE"
LARGEST = {
    LEARNING_RATE: inf,
    VALIDATION_MAE: inf,
    "besttest_ps_MAE": inf,
    "lasttest_ps_MAE": inf,
    "val_mci_ad_pvalue": 1,
    "test_mci_ad_pvalue": 1,
}
"""Columns that are read beside the group, and the largest value that makes sense; the smallest is 0."""
OPTIONAL = {LEARNING_RATE, VALIDATION_MAE}


@dataclass(frozen=True)
class Run:
    """One row."""

    line: int
    """Of the file, from 1."""
    group: str
    values: Mapping[str, float | None]
    """By column of LARGEST that the file has: MAE in years; None where the field is empty."""


def read_runs(path: Path) -> list[Run]:
    """Read a CSV (UTF-8, commas, a head).

    Raises:
        MetadataError: the file is missing, empty or lacks a column; a group is unknown; a value is no number, not
            finite or outside of its range. It names the file, the line and the column.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            lines = [(reader.line_num, [v.strip() for v in values]) for values in reader if any(map(str.strip, values))]
    except FileNotFoundError:
        raise MetadataError(f"there is no file {path}", "Name the CSV with one row a run.") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise MetadataError(f"{path} cannot be read: {error}", "Save it as CSV in UTF-8.") from None
    if len(lines) < 2:
        raise MetadataError(f"{path} {'has no rows' if lines else 'is empty'}", "It needs a head and one row a run.")
    names = lines[0][1]
    _check_head(path, names)
    return [_run(path, line, names, values) for line, values in lines[1:]]


def _check_head(path: Path, names: Sequence[str]) -> None:
    for column in (GROUP, *(column for column in LARGEST if column not in OPTIONAL)):
        if column not in names:
            problem = f'{path} has no column "{column}"; it has {", ".join(names)}'
            raise MetadataError(problem, "Name the columns as the paper's runs do.")
    twice = next((name for i, name in enumerate(names) if name in names[:i] and name in {GROUP, *LARGEST}), None)
    if twice is not None:
        raise MetadataError(f'{path} has two columns "{twice}"', "Keep one of them.")


def _run(path: Path, line: int, names: Sequence[str], values: Sequence[str]) -> Run:
    if len(values) != len(names):
        problem = f"{path}, line {line} has {len(values)} values for {len(names)} columns"
        raise MetadataError(problem, "Correct the line; put values that contain commas in quotes.")
    row = dict(zip(names, values, strict=True))
    known = [prefix + group for prefix in ("", TRAIN_ONLY) for group in ARMS.values()]
    if row[GROUP] not in known:
        problem = f'{path}, line {line}: there is no group "{row[GROUP]}"'
        raise MetadataError(problem, nearest(row[GROUP], known))
    found = {c: _number(row[c], limit, f"{path}, line {line}: {c}") for c, limit in LARGEST.items() if c in row}
    return Run(line, row[GROUP], found)


def _number(text: str, largest: float, where: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        raise MetadataError(f'{where} is "{text}", which is no number', "Correct it or take the run out.") from None
    if not isfinite(value) or not 0 <= value <= largest:
        limit = f"0 to {largest:g}" if isfinite(largest) else "a number from 0 up"
        raise MetadataError(f"{where} is {text}", f"It should be {limit}: correct it or take the run out.")
    return value
