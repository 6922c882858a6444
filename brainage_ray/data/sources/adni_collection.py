"""The CSV of an IDA collection: one row an image, with whole-year ages; and lists of image ids."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from brainage_ray.data.sources.adni_ids import SubjectId, image_or_none, parse_subject, phase_of, phase_of_code
from brainage_ray.data.sources.fields import parse_age, parse_sex
from brainage_ray.data.sources.rows import Layout, Row, read_column, read_rows
from brainage_ray.errors import MetadataError

_REQUIRED = ("Image Data ID", "Subject", "Group", "Sex", "Age", "Visit", "Description")


@dataclass(frozen=True)
class Listed:
    """What the collection says about an image."""

    row: Row

    @property
    def description(self) -> str:
        """Of the sequence or the processing."""
        return self.row.values["Description"]

    @property
    def subject(self) -> SubjectId:
        """Whose it is.

        Raises:
            MetadataError: it is no subject id.
        """
        return parse_subject(self.row.values["Subject"], f"{self.row.where}, Subject")

    @property
    def group(self) -> str:
        """Research group: that at enrolment, not at the visit."""
        return self.row.values["Group"]

    @property
    def sex(self) -> str:
        """M, F or empty.

        Raises:
            MetadataError: it is something else.
        """
        return parse_sex(self.row.values["Sex"], self.row.where)

    @property
    def age_years(self) -> float:
        """In whole years.

        Raises:
            MetadataError: it is no age.
        """
        return parse_age(self.row.values["Age"], self.row.where)

    def phase(self, rid: int) -> str:
        """Return the phase of the visit, or empty where the visit leaves it open."""
        visit = self.row.values["Visit"]
        try:
            return phase_of(visit, rid, self.row.where)
        except MetadataError:
            return phase_of_code(visit, rid)


@dataclass(frozen=True)
class Collection:
    """The CSV, by image."""

    rows: dict[str, tuple[Row, ...]]
    """By image id, in the folders' form; more than one where the CSV repeats an image."""
    broken: tuple[Row, ...] = ()
    """Rows without an image id."""

    def of(self, image: str) -> Listed | None:
        """Return what is said of an image, None where it is not in the CSV.

        Raises:
            MetadataError: the row is broken, or the image is there twice and not alike.
        """
        rows = self.rows.get(image, ())
        for row in rows:
            if row.check().values != rows[0].values:
                problem = f"{row.where}: the image {image} is also in line {rows[0].line}, and not alike"
                raise MetadataError(problem, "Keep the row that is right.")
        return Listed(rows[0]) if rows else None


def read_collection(path: Path | None) -> Collection:
    """Read the CSV; without one, no image is in it.

    Raises:
        MetadataError: it is missing, cannot be read or lacks a column.
    """
    if path is None:
        return Collection({})
    rows: dict[str, tuple[Row, ...]] = {}
    broken = []
    for row in read_rows(path, Layout("collection", _REQUIRED)):
        image = image_or_none(row.values["Image Data ID"])
        if image:
            rows[image] = (*rows.get(image, ()), row)
        else:
            broken.append(row)
    return Collection(rows, tuple(broken))


def broken_reason(row: Row) -> str:
    """Say what is wrong with a row of Collection.broken."""
    problem = row.fault or f'{row.where}: "{row.values["Image Data ID"]}" is no image id'
    return f"{problem}. Ids look like I45107; correct the line or take it out."


def read_image_list(path: Path) -> tuple[dict[str, int], dict[int, str]]:
    """Read a CSV with one image id a row, with or without the I; its first line may name the column.

    Returns:
        (line by image id, text by line of what is no image id).

    Raises:
        MetadataError: it is missing, cannot be read or names no image.
    """
    images: dict[str, int] = {}
    wrong: dict[int, str] = {}
    for number, (line, text) in enumerate(read_column(path, "images")):
        if image := image_or_none(text):
            images.setdefault(image, line)
        elif number > 0 or any(character.isdigit() for character in text):
            wrong[line] = text
    if not images:
        raise MetadataError(f"{path} names no image", "Write one image id a line, such as I45107.")
    return images, wrong
