"""Scans that quality control leaves out: a CSV that a person can read, edit and put under version control."""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock

from brainage_ray.data.files import atomic_write
from brainage_ray.data.ledger import user_name
from brainage_ray.data.scan import Found, Rejected, Scan
from brainage_ray.data.splits import Assignment
from brainage_ray.errors import ConfigError, MetadataError

EXCLUSION_COLUMNS = ("cohort", "image", "reason", "who", "when")
"""Of the file."""

REASON = "quality control: "
"""What the ledger's reason of an excluded scan begins with."""


@dataclass(frozen=True)
class Exclusion:
    """One row of the file."""

    cohort: str
    image: str
    reason: str
    """Never empty."""
    who: str = ""
    """Login name."""
    when: str = ""
    """ISO 8601, UTC."""

    @property
    def id(self) -> tuple[str, str]:
        """Which scan: the image ids are unique inside a cohort."""
        return self.cohort, self.image


def read_exclusions(path: Path | None) -> tuple[Exclusion, ...]:
    """Read the file.

    Args:
        path: None where the experiment names no file: nothing is excluded.

    Raises:
        MetadataError: there is no such file, a column is missing, a value is empty, or a scan is there twice.
    """
    if path is None:
        return ()
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        problem = f"there is no file {path}, which data.exclusions names"
        fix = "brainage qc EXPERIMENT makes an empty one; or correct the path."
        raise MetadataError(problem, fix) from None
    except (OSError, UnicodeDecodeError) as error:
        raise MetadataError(f"{path} cannot be read: {error}", "Save it as CSV in UTF-8.") from error
    rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        _check_columns(path, rows.fieldnames or ())
        return _unique(path, [_row(path, rows, row) for row in rows])
    except csv.Error as error:
        raise MetadataError(f"{path}, line {rows.line_num}: {error}", "Correct the quotes.") from error


def _check_columns(path: Path, names: Sequence[str]) -> None:
    """Check the first line also where no other follows: a file that lost its content excludes nothing."""
    if missing := [name for name in EXCLUSION_COLUMNS[:3] if name not in names]:
        problem = f"{path} lacks the column {', '.join(missing)}"
        raise MetadataError(problem, f"Its columns are {', '.join(EXCLUSION_COLUMNS)}, with commas between them.")


def _row(path: Path, rows: csv.DictReader[str], row: dict[str, str]) -> Exclusion:
    where = f"{path}, line {rows.line_num}"
    if None in row:
        raise MetadataError(f"{where} has more values than columns", "Put a reason with commas in quotes.")
    values = {name: (row.get(name) or "").strip() for name in EXCLUSION_COLUMNS}
    for name in EXCLUSION_COLUMNS[:3]:
        if not values[name]:
            raise MetadataError(f"{where} has no {name}", "Fill it in, or delete the line.")
    return Exclusion(**values)


def _unique(path: Path, exclusions: Sequence[Exclusion]) -> tuple[Exclusion, ...]:
    seen = set()
    for one in exclusions:
        if one.id in seen:
            raise MetadataError(f"{path} has {one.cohort} {one.image} twice", "Delete one of the lines.")
        seen.add(one.id)
    return tuple(exclusions)


def make_exclusions(path: Path) -> bool:
    """Make an empty file where there is none; tell whether it was made.

    Raises:
        NoSpaceError: the disk is full.
    """
    with _locked(path):
        if path.exists():
            return False
        _write(path, ())
        return True


def exclude(path: Path, cohort: str, image: str, reason: str) -> Exclusion | None:
    """Add a scan to the file, or give it another reason; a file that there is not is made.

    Args:
        path: of the file.
        cohort: of the scan.
        image: its id; whether there is such a scan is not asked here.
        reason: in words.

    Returns:
        What the file said of the scan before, or None. The same scan with the same reason changes nothing.

    Raises:
        ConfigError: the reason is empty.
        MetadataError: the file cannot be read.
        NoSpaceError: the disk is full; the file is as it was.
    """
    reason = " ".join(reason.split())
    if not reason:
        raise ConfigError(f"{cohort} {image} is to be excluded without a reason", "Say why: --reason '...'.")
    new = Exclusion(cohort, image, reason, user_name(), datetime.now(UTC).isoformat(timespec="seconds"))
    with _locked(path):
        known = read_exclusions(path) if path.exists() else ()
        before = next((one for one in known if one.id == new.id), None)
        if before is None or before.reason != reason:
            _write(path, (*(one for one in known if one.id != new.id), new))
    return before


def include(path: Path, cohort: str, image: str) -> Exclusion | None:
    """Take a scan out of the file; return what the file said of it, or None where it was not there.

    Raises:
        MetadataError: the file cannot be read.
        NoSpaceError: the disk is full; the file is as it was.
    """
    with _locked(path):
        known = read_exclusions(path)
        before = next((one for one in known if one.id == (cohort, image)), None)
        if before is not None:
            _write(path, [one for one in known if one.id != before.id])
    return before


def check_exclusions(path: Path | None, exclusions: Sequence[Exclusion], found: Found) -> None:
    """Check that every line of the file is of a scan that there is, or was rejected.

    Raises:
        MetadataError: naming the line's scan and the nearest that there is.
    """
    known = {(scan.cohort, scan.image) for scan in found.scans}
    known |= {(one.cohort, one.image) for one in (*found.rejected, *found.excluded)}
    for one in exclusions:
        if one.id not in known:
            problem = f"{path} excludes {one.cohort} {one.image}, but the sources have no such scan"
            near = nearest_scan(one.image, found.scans)
            fix = f"{near} Correct the line, or take it out: brainage qc include {one.image}"
            raise MetadataError(problem, fix.strip())


def nearest_scan(image: str, scans: Collection[Scan | Rejected]) -> str:
    """Return `Did you mean the image "x" of COHORT?` for the id that is nearest to a misspelt one, else nothing."""
    cohorts = {scan.image: scan.cohort for scan in scans}
    plain = {name.casefold(): name for name in cohorts}
    close = difflib.get_close_matches(image.casefold(), plain, n=1, cutoff=0.5)
    if not close:  # people also type the subject
        close = [scan.image.casefold() for scan in scans if scan.subject.casefold() == image.casefold()][:1]
    return f'Did you mean the image "{plain[close[0]]}" of {cohorts[plain[close[0]]]}?' if close else ""


def excuse(found: Found, exclusions: Sequence[Exclusion]) -> Found:
    """Take what is excluded out of what the sources reject: it is left out by hand and has not failed."""
    reasons = {one.id: REASON + one.reason for one in exclusions}
    excluded = [
        replace(one, reason=reasons[one.cohort, one.image])
        for one in found.rejected
        if (one.cohort, one.image) in reasons
    ]
    rejected = [one for one in found.rejected if (one.cohort, one.image) not in reasons]
    return replace(found, rejected=tuple(rejected), excluded=(*found.excluded, *excluded))


def leave_out(assignments: Sequence[Assignment], exclusions: Sequence[Exclusion]) -> list[Assignment]:
    """Take the excluded scans out of their splits, after everybody has a split: nobody else moves by it."""
    reasons = {one.id: one.reason for one in exclusions}
    return [
        replace(a, split=None, reason=REASON + reasons[a.scan.cohort, a.scan.image])
        if (a.scan.cohort, a.scan.image) in reasons
        else a
        for a in assignments
    ]


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep out others who would write the file at the same time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        yield


def _write(path: Path, exclusions: Sequence[Exclusion]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(EXCLUSION_COLUMNS)
    writer.writerows(astuple(one) for one in sorted(exclusions, key=lambda one: one.id))
    with atomic_write(path) as file:
        file.write(text.getvalue().encode())
