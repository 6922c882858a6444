"""A CSV with one row a scan."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from pathlib import Path

from brainage_ray.config import TableSource
from brainage_ray.config.read import nearest
from brainage_ray.data.scan import Scan
from brainage_ray.data.sources.fields import check_folder, in_order, parse_age, parse_sex
from brainage_ray.errors import MetadataError

REQUIRED = ("subject", "age_years", "sex", "diagnosis", "image")
OPTIONAL = ("session", "site", "split")
SPLITS = ("train", "validation", "test", "")

_SEPARATORS = {";": "semicolons", "\t": "tabs"}


def read_table(source: TableSource) -> list[Scan]:
    """List the scans of a CSV (UTF-8, commas) with the columns of REQUIRED and, if there, of OPTIONAL.

    Other columns are left alone. The image's path, without detours such as ./, is its id.

    Raises:
        MetadataError: the table or its image folder is missing, a column is missing, or a row is wrong.
    """
    root = source.root or source.table.parent
    check_folder(root, f"table {source.table}")
    first: dict[str, int] = {}
    scans = []
    for line, row in _rows(source.table):
        scan = _read_row(row, f"{source.table}, line {line}", root, source.cohort)
        known = first.setdefault(os.path.normpath(scan.files["t1"]), line)
        if known != line:
            problem = f'{source.table}, line {line}: the image "{row["image"]}" is already in line {known}'
            raise MetadataError(problem, "Keep one of the two rows.")
        scans.append(scan)
    if not scans:
        raise MetadataError(f"{source.table} has no rows", "Add one row a scan below the names of the columns.")
    return in_order(scans)


def _rows(table: Path) -> list[tuple[int, Mapping[str, str]]]:
    """Return (line, row) of a CSV; empty lines are skipped, blanks around values dropped."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            lines = [(reader.line_num, [v.strip() for v in values]) for values in reader if any(values)]
    except FileNotFoundError:
        raise MetadataError(f"there is no table {table}", "Correct `table` in data.sources.") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise MetadataError(f"{table} cannot be read: {error}", "Save it as CSV in UTF-8.") from None
    if not lines:
        raise MetadataError(f"{table} is empty", f"Its first line names the columns: {','.join(REQUIRED)}.")
    names = lines[0][1]
    _check_columns(table, names)
    for line, values in lines[1:]:
        if len(values) != len(names):
            problem = f"{table}, line {line} has {len(values)} values for {len(names)} columns"
            raise MetadataError(problem, "Correct the line; put values that contain commas in quotes.")
    return [(line, dict(zip(names, values, strict=True))) for line, values in lines[1:]]


def _check_columns(table: Path, names: list[str]) -> None:
    for mark, name in _SEPARATORS.items():
        if len(names) == 1 and mark in names[0]:
            fix = "Save it as CSV with commas, and with a decimal point in the ages (in a spreadsheet: under English)."
            raise MetadataError(f"{table} has {name} between its values, not commas", fix)
    for column in REQUIRED:
        if column not in names:
            unused = [name for name in names if name and name not in REQUIRED + OPTIONAL]
            problem = f'{table} has no column "{column}"; it has {", ".join(names)}'
            raise MetadataError(problem, f"{nearest(column, unused)} Name the column {column}.".strip())
    twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if twice is not None:
        raise MetadataError(f'{table} has two columns "{twice}"', "Keep one of them.")


def _read_row(row: Mapping[str, str], where: str, root: Path, cohort: str) -> Scan:
    for column in ("subject", "image"):
        if not row[column]:
            raise MetadataError(f"{where}: {column} is empty", "Fill it in or take the row out.")
    split = row.get("split", "")
    if split not in SPLITS:
        problem = f'{where}: the split is "{split}"'
        raise MetadataError(problem, f"{nearest(split, SPLITS[:3])} Write train, validation, test or nothing.")
    path = root / row["image"]
    if not path.is_file():
        problem = f"{where}: there is no image {path}"
        raise MetadataError(problem, "Correct the column image, or `root`, the folder that it is relative to.")
    return Scan(
        cohort=cohort,
        subject=row["subject"],
        session=row.get("session", ""),
        image=os.path.normpath(row["image"]),
        files={"t1": path},
        age_years=parse_age(row["age_years"], where),
        sex=parse_sex(row["sex"], where),
        diagnosis=row["diagnosis"],
        site=row.get("site", ""),
        given_split=split,
    )
