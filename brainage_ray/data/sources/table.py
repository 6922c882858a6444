"""A CSV or Parquet file with one row a scan."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from brainage_ray.config import TableSource
from brainage_ray.config.read import nearest
from brainage_ray.data.scan import Found, Scan
from brainage_ray.data.sources.fields import UNKNOWN, check_folder, parse_age, parse_sex
from brainage_ray.data.sources.findings import ONE_SPELLING, Findings, same_name
from brainage_ray.data.sources.rows import Layout, Row, read_rows
from brainage_ray.errors import MetadataError

REQUIRED = ("subject", "age_years", "sex", "diagnosis", "image")
OPTIONAL = ("session", "site", "split")
SPLITS = ("train", "validation", "test", "")


class Table:
    """A CSV (commas) or Parquet file with the columns of REQUIRED and, if there, of OPTIONAL; others are left alone.

    The image's path, without detours such as ./, is its id. `n/a` is an empty value. Rows that name the same image are
    rejected, all of them: nobody knows which is right. So are rows whose subjects differ only by case or by how
    Unicode writes them: taken for two people, one person could be in two splits.

    Args:
        source: where the table and its images are.
    """

    def __init__(self, source: TableSource) -> None:
        self._source = source
        self._root = source.root or source.table.parent

    def read(self) -> Found:
        """List the scans; each row is one or rejected.

        Raises:
            MetadataError: the table or its image folder is missing, or the table as a whole cannot be read.
        """
        table = self._source.table
        check_folder(self._root, f"table {table}")
        layout = Layout("table", REQUIRED, OPTIONAL, encoding=self._source.encoding)
        rows = [_with_gaps(row) for row in read_rows(table, layout)]
        if not rows:
            raise MetadataError(f"{table} has no rows", "Add one row a scan below the names of the columns.")
        same: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            if row.values["image"]:
                same[self._path(row)].append(row)
        spellings = _spellings(rows)
        findings = Findings(self._source.cohort)
        for row in rows:
            known = row.values
            with findings.rejecting(known["image"] or row.name, known["subject"], known.get("session", "")):
                _check_spelling(row, spellings)
                findings.take(self._scan(row.check(), same[self._path(row)]))
        return findings.found()

    def _path(self, row: Row) -> str:
        return os.path.normpath(self._root / row.values["image"])

    def _scan(self, row: Row, same: list[Row]) -> Scan:
        known, where = row.values, row.where
        for column in ("subject", "image"):
            if not known[column]:
                raise MetadataError(f"{where}: {column} is empty", "Fill it in or take the row out.")
        if len(same) > 1:
            others = ", ".join(str(other.line) for other in same if other is not row)
            problem = f'{where}: the image "{known["image"]}" is also in line {others}'
            raise MetadataError(problem, "Keep the row that is right.")
        split = known.get("split", "")
        if split not in SPLITS:
            problem = f'{where}: the split is "{split}"'
            raise MetadataError(problem, f"{nearest(split, SPLITS[:3])} Write train, validation, test or nothing.")
        return Scan(
            cohort=self._source.cohort,
            subject=known["subject"],
            session=known.get("session", ""),
            image=os.path.normpath(known["image"]),
            files={"t1": self._image(row)},
            age_years=parse_age(known["age_years"], where),
            sex=parse_sex(known["sex"], where),
            diagnosis=known["diagnosis"],
            site=known.get("site", ""),
            given_split=split,
        )

    def _image(self, row: Row) -> Path:
        path = self._root / row.values["image"]
        if not path.is_file():
            problem = f"{row.where}: there is no image {path}"
            raise MetadataError(problem, "Correct the column image, or `root`, the folder that it is relative to.")
        return path


def _with_gaps(row: Row) -> Row:
    return replace(row, values={name: "" if text.lower() in UNKNOWN else text for name, text in row.values.items()})


def _spellings(rows: list[Row]) -> dict[str, dict[str, Row]]:
    """Return the first row of each spelling of a subject, by what all of its spellings have in common."""
    spellings: dict[str, dict[str, Row]] = defaultdict(dict)
    for row in rows:
        if not row.fault:
            spellings[same_name(row.values["subject"])].setdefault(row.values["subject"], row)
    return spellings


def _check_spelling(row: Row, spellings: dict[str, dict[str, Row]]) -> None:
    subject = row.check().values["subject"]
    others = [(text, other) for text, other in spellings[same_name(subject)].items() if text != subject]
    if others:
        text, other = others[0]
        problem = f'{row.where}: the subject "{subject}" is "{text}" in line {other.line}'
        raise MetadataError(problem, ONE_SPELLING)
