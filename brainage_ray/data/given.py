"""Scans that somebody names on the command line: files, folders, BIDS datasets and tables."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from brainage_ray.config import BidsSource
from brainage_ray.data.prepare_given import Given
from brainage_ray.data.sources.bids import t1w_files
from brainage_ray.data.sources.bids_names import parse_t1w
from brainage_ray.data.sources.bids_people import People
from brainage_ray.data.sources.fields import UNKNOWN, parse_age, parse_sex
from brainage_ray.data.sources.rows import PARQUET, Layout, Row, read_rows
from brainage_ray.errors import DataError, MetadataError

IMAGES = (".nii", ".nii.gz", ".mgh", ".mgz")
"""How the names of images end."""
TABLES = (".csv", ".tsv", *PARQUET)
"""How the names of tables end."""
_WHO = ("subject", "session", "sex")
_FACTS = (*_WHO, "age_years", "age")
_BIDS = ("dataset_description.json", "participants.tsv")


def find_given(inputs: Iterable[Path]) -> list[Given]:
    """List the scans of some inputs, in their order; no image is opened.

    Args:
        inputs: each an image, a table with a column image (relative to the table's folder) and, if there, subject,
            session, age_years (or age) and sex; a BIDS dataset, whose T1w images are taken, with the ages of its
            tables; or any other folder, with all images in and below it.

    Raises:
        DataError: a folder holds no image.
        MetadataError: a table as a whole cannot be read.
    """
    return [given for path in inputs for given in _find(path)]


def _find(path: Path) -> list[Given]:
    if path.is_dir():
        found = list(_bids(path)) if any((path / name).is_file() for name in _BIDS) else _folder(path)
        if not found:
            raise DataError(f"the folder {path} holds no image", f"Images end in {', '.join(IMAGES)}.")
        return found
    if path.name.lower().endswith(TABLES):
        separator = "\t" if path.suffix.lower() == ".tsv" else ","
        return [_row(row, path.parent) for row in read_rows(path, Layout("table", ("image",), _FACTS, separator))]
    return [Given(path)]


def _folder(root: Path) -> list[Given]:
    paths = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths += [Path(folder) / f for f in files if f.lower().endswith(IMAGES) and not f.startswith(".")]
    return [Given(path) for path in sorted(paths)]


def _row(row: Row, root: Path) -> Given:
    try:
        return _checked(row.check().values, row.where, root)
    except MetadataError as error:
        return Given(root / (row.values.get("image") or row.name), error=str(error))


def _checked(known: Mapping[str, str], where: str, root: Path) -> Given:
    if not known["image"]:
        raise MetadataError(f"{where}: image is empty", "Fill it in or take the row out.")
    age = next((known[name] for name in ("age_years", "age") if known.get(name, "").lower() not in UNKNOWN), None)
    subject, session, sex = ("" if (text := known.get(name, "")).lower() in UNKNOWN else text for name in _WHO)
    years = None if age is None else parse_age(age, where)
    return Given(root / known["image"], subject, session, years, parse_sex(sex, where))


def _bids(root: Path) -> Iterator[Given]:
    """Yield the T1w images of a dataset; what its tables do not say of a person stays unknown."""
    people = None
    with suppress(MetadataError):
        people = People(BidsSource(kind="bids", root=root, cohort=root.name), root)
    for path in t1w_files(root):
        age, sex, subject, session = None, "", "", ""
        with suppress(MetadataError):
            name = parse_t1w(path.relative_to(root))
            subject, session = name.subject, name.session
        if people is not None and subject:
            with suppress(MetadataError):
                age = people.age_years(subject, session)
            with suppress(MetadataError):
                sex = people.sex(subject)
        yield Given(path, subject, session, age, sex)
