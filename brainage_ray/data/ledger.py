"""Two ledgers: what became of every scan that went in, and who opened the test split when."""

from __future__ import annotations

import getpass
import json
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Literal

import pandas as pd

import brainage_ray
from brainage_ray.data.files import atomic_write, no_space, printable
from brainage_ray.data.safety import read_parquet
from brainage_ray.data.scan import Rejected, Scan
from brainage_ray.errors import DataError, MetadataError

Status = Literal["done", "failed", "excluded"]
STATUSES: tuple[Status, ...] = ("done", "failed", "excluded")
"""What can become of a scan; the ledger's counts add up to the inputs."""

COLUMNS = ("cohort", "subject", "session", "image", "status", "reason")
"""Of the ledger's table."""

UNREADABLE: Mapping[str, Any] = {
    "time": "?", "user": "?", "host": "?", "model": "unreadable line", "commit": "?", "store": "?",
}  # fmt: skip
"""What stands for a line of the test ledger that was cut short."""

QUALITY_CONTROL = "quality control"
"""Stands for the model in a line of the test ledger where a person looked at the images, and no model did."""

_FAULT = "This is a fault of the program; please report it."


class Ledger:
    """What became of every input: inputs = done + failed + excluded, each with a reason.

    Args:
        inputs: all scans that the sources found.
        rejected: all inputs that the sources could not make scans of; they are failed from the start.
        excluded: those of them that a person leaves out; they are excluded from the start.

    Raises:
        MetadataError: two scans have the same image id in the same cohort.
    """

    def __init__(
        self, inputs: Iterable[Scan], rejected: Iterable[Rejected] = (), excluded: Iterable[Rejected] = ()
    ) -> None:
        self._no_scans = [*(_row(one, "failed") for one in rejected), *(_row(one, "excluded") for one in excluded)]
        self._scans: dict[tuple[str, str], Scan] = {}
        self._rows: dict[tuple[str, str], tuple[Status, str]] = {}
        for scan in inputs:
            if (other := self._scans.setdefault(_id(scan), scan)) is not scan:
                problem = f"{scan.cohort} has the image {scan.image} twice: {other.subject} and {scan.subject}"
                raise MetadataError(problem, "Name each image once in the source's table.")

    def record(self, scan: Scan, status: Status, reason: str = "") -> None:
        """Write down what became of a scan.

        Raises:
            DataError: the scan is no input or has been recorded, or a scan is left out without a reason.
        """
        if _id(scan) not in self._scans:
            raise DataError(f"{scan.cohort} {scan.image} is not among the inputs of the ledger", _FAULT)
        if _id(scan) in self._rows:
            known = self._rows[_id(scan)][0]
            raise DataError(f"{scan.cohort} {scan.image} is in the ledger already, as {known}", _FAULT)
        if status != "done" and not reason:
            raise DataError(f"{scan.cohort} {scan.image} is {status} without a reason", _FAULT)
        self._rows[_id(scan)] = (status, printable(reason))

    def table(self) -> pd.DataFrame:
        """Return one row an input: cohort, subject, session, image, status and reason, sorted by cohort and image.

        Raises:
            DataError: some input has no status, so that the sums would not agree.
        """
        if missing := sorted(self._scans.keys() - self._rows.keys()):
            cohort, image = missing[0]
            problem = f"{len(missing)} scans have no status in the ledger, the first is {cohort} {image}"
            raise DataError(problem, _FAULT)
        rows = [(s.cohort, s.subject, s.session, s.image, *self._rows[key]) for key, s in self._scans.items()]
        ordered = sorted([*rows, *self._no_scans], key=lambda row: (row[0], row[3], *row))
        return pd.DataFrame(ordered, columns=list(COLUMNS)).astype(str)

    def counts(self) -> dict[str, int]:
        """Return how many inputs there are, and how many of them are done, failed and excluded."""
        statuses = [status for status, _ in self._rows.values()] + [row[4] for row in self._no_scans]
        return {"inputs": len(self._scans) + len(self._no_scans)} | {
            status: statuses.count(status) for status in STATUSES
        }

    def write(self, path: Path) -> None:
        """Write the table as Parquet or CSV, by the path's suffix."""
        table = self.table()
        with atomic_write(path) as file:
            if path.suffix == ".csv":
                table.to_csv(file, index=False)
            else:
                table.to_parquet(file, index=False)


def _row(one: Rejected, status: Status) -> tuple[str, str, str, str, Status, str]:
    return (one.cohort, one.subject, one.session, one.image, status, printable(one.reason))


def read_ledger(path: Path) -> pd.DataFrame:
    """Return the table that `Ledger.write` wrote.

    Raises:
        DataError: it cannot be read, or a column or a status is not a ledger's.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False) if path.suffix == ".csv" else read_parquet(path)
    except (OSError, ValueError) as error:  # pandas' and Arrow's own errors are ValueErrors
        problem = f"the ledger {path} cannot be read: {' '.join(str(error).split())}"
        raise DataError(problem, "Delete it and prepare the data again.") from error
    if tuple(table.columns) != COLUMNS or not table["status"].isin(STATUSES).all():
        raise DataError(f"{path} is not a ledger of scans ({', '.join(table.columns)})", "Prepare the data again.")
    return table


@dataclass(frozen=True)
class TestLedger:
    """One JSON line for each time that the test split was opened."""

    __test__: ClassVar[bool] = False  # for pytest: the name is no test

    path: Path
    """Of the file; made on first use."""

    def record(self, model: str, store_hash: str) -> dict[str, Any]:
        """Append who opens the test split of which store, when, and for which model; it is on the disk on return.

        A line that a kill or a full disk cut short is ended first, so that it spoils no other.

        Raises:
            NoSpaceError: the disk is full.
        """
        entry = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "user": user_name(),
            "host": platform.node(),
            "model": model,
            "commit": code_version(),
            "store": store_hash,
        }
        with no_space(self.path.parent):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(("\n" if self._ends_in_half_a_line() else "") + json.dumps(entry) + "\n")
                file.flush()
                os.fsync(file.fileno())
        return entry

    def entries(self) -> list[Mapping[str, Any]]:
        """Return all lines, oldest first; none where the test split was never opened.

        A line that cannot be read was an opening too: it is there as UNREADABLE.
        """
        if not self.path.exists():
            return []
        text = self.path.read_text(encoding="utf-8", errors="replace")
        return [_entry(line) for line in text.split("\n") if line.strip()]

    def _ends_in_half_a_line(self) -> bool:
        with self.path.open("rb") as file:
            if not file.seek(0, os.SEEK_END):
                return False
            file.seek(-1, os.SEEK_END)
            return file.read() != b"\n"


def _entry(line: str) -> Mapping[str, Any]:
    try:
        entry = json.loads(line)
    except ValueError:
        return UNREADABLE
    return entry if isinstance(entry, dict) else UNREADABLE


PACKED_COMMIT = "brainage_commit.txt"
"""Beside the package, where it was sent to a cluster without its repository: the commit that it is."""


def code_version() -> str:
    """Return the git commit that this package runs from, with -dirty where files changed; else its version."""
    package = Path(brainage_ray.__file__).resolve().parent
    try:
        top = _git(package, "rev-parse", "--show-toplevel")
        if Path(top) == package.parent:
            return _git(package, "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*")
    except (OSError, subprocess.CalledProcessError):
        pass
    packed = package.parent / PACKED_COMMIT
    return packed.read_text().strip() if packed.is_file() else brainage_ray.__version__


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def user_name() -> str:
    """Return who runs this: the login name, else the number of the user."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return str(os.getuid())


def _id(scan: Scan) -> tuple[str, str]:
    return scan.cohort, scan.image
