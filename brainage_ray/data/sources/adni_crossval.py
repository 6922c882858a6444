"""`CROSSVAL.csv`: who is in ADNI-1's standard training set and who in its standard test set."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from brainage_ray.data.sources.rows import Layout, Row, read_rows
from brainage_ray.errors import MetadataError

_SPLITS = {"0": "test", "1": "validation"}


def read_crossval(path: Path, given: bool) -> dict[int, str]:
    """Return validation or test by RID; without the file nobody is in either, unless the file was named.

    A wrong line stops everything: who tests is not a matter of one scan.

    Raises:
        MetadataError: the file was named and is missing, or a column or a value in it is missing or wrong.
    """
    if not path.is_file():
        if given:
            raise MetadataError(f"adni: there is no file {path}", "Correct `crossval` in data.sources.")
        return {}
    return _splits(read_rows(path, Layout("crossval", ("RID", "TRAINING"))))


def _splits(rows: Iterable[Row]) -> dict[int, str]:
    first: dict[int, tuple[int, str]] = {}
    for row in rows:
        rid, training = row.check().values["RID"], row.values["TRAINING"]
        if not rid.isdecimal():
            raise MetadataError(f'{row.where}: the RID is "{rid}", which is no number', "Correct the line.")
        if training not in _SPLITS:
            problem = f'{row.where}: TRAINING is "{training}"'
            raise MetadataError(problem, "Write 1 for the standard training set or 0 for the standard test set.")
        known_line, known = first.setdefault(int(rid), (row.line, training))
        if known != training:
            problem = f"{row.where}: the RID {int(rid)} has TRAINING {training}, but TRAINING {known} in line"
            raise MetadataError(f"{problem} {known_line}", "Keep the line that is right.")
    return {rid: _SPLITS[training] for rid, (_, training) in first.items()}
