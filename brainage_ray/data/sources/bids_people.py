"""Who is in a BIDS dataset, and how old at each session: `participants.tsv` and `sub-XX_sessions.tsv`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import date
from pathlib import Path

from brainage_ray.config import BidsSource
from brainage_ray.data.sources.fields import (
    DAYS_A_YEAR,
    NO_AGE_FIX,
    UNKNOWN,
    number_or_none,
    parse_age,
    parse_date,
    parse_sex,
)
from brainage_ray.data.sources.rows import Layout, Row, read_rows
from brainage_ray.errors import MetadataError

_UNITS_A_YEAR = {"y": 1.0, "year": 1.0, "yr": 1.0, "month": 12.0, "mo": 12.0, "week": 365.25 / 7, "wk": 365.25 / 7,
                 "day": 365.25, "d": 365.25}  # fmt: skip
_OTHER_SEX = {"o", "other"}


class People:
    """The participants of a dataset.

    BIDS only recommends participants.tsv. Without it, ages and diagnoses are those of the sessions.

    Args:
        source: the dataset.
        images: folder of the subjects' folders: the dataset's root, or that of a pipeline.

    Raises:
        MetadataError: participants.tsv lacks a column or cannot be read as a whole, or is missing and no table of
            sessions has ages; or no table has the column of the diagnosis that the experiment names.
    """

    def __init__(self, source: BidsSource, images: Path) -> None:
        self._root, self._images, self._default = source.root, images, source.default_diagnosis
        self._path = self._root / "participants.tsv"
        self.rows = self._read_participants()
        self._by_id: dict[str, list[Row]] = {}
        for row in self.rows:
            self._by_id.setdefault(row.values["participant_id"], []).append(row)
        self._columns = (source.diagnosis_column,) if source.diagnosis_column else ("diagnosis", "group")
        self._check_column(source.diagnosis_column)
        self._units_a_year = _units_a_year(self._root / "participants.json")

    def _read_participants(self) -> list[Row]:
        if not self._path.exists() and "age" in self._session_columns():
            return []
        return read_rows(self._path, Layout("root", ("participant_id",), ("age", "sex", "site"), "\t"))

    def _session_columns(self) -> set[str]:
        """Return the columns that any table of sessions has; one that cannot be read rejects its own scans later."""
        columns: set[str] = set()
        for path in self._root.glob("sub-*/sub-*_sessions.tsv"):
            with suppress(MetadataError):
                columns.update(*(row.values for row in self.sessions(path.parent.name)))
        return columns

    def _check_column(self, name: str | None) -> None:
        columns = {column for row in self.rows[:1] for column in row.values}
        if name is None or name in columns or name in (columns := columns | self._session_columns()):
            return
        there = f"there are {', '.join(sorted(columns))}" if columns else "there are none"
        problem = f'bids: neither {self._path} nor any sessions.tsv has a column "{name}"; {there}'
        raise MetadataError(problem, "Correct `diagnosis_column` in data.sources.")

    def row(self, subject: str) -> Row:
        """Return the row of a participant; an empty one where there is no participants.tsv.

        Raises:
            MetadataError: there is none, or more than one, or it is broken.
        """
        rows = self._by_id.get(subject, [])
        if not self._path.exists():
            return Row(str(self._path), 0, {})
        if not rows:
            raise MetadataError(f"bids: {self._path} has no {subject}", "Add the row, or move the folder away.")
        if len(rows) > 1:
            lines = ", ".join(str(row.line) for row in rows)
            raise MetadataError(f"{self._path}: {subject} is in lines {lines}", "Keep the row that is right.")
        return rows[0].check()

    def sessions(self, subject: str) -> list[Row]:
        """Return the rows of a participant's sessions; none where there is no such file.

        Raises:
            MetadataError: the file is not as it should be.
        """
        path = self._root / subject / f"{subject}_sessions.tsv"
        if not path.is_file():
            return []
        return read_rows(path, Layout("root", ("session_id",), ("age", "days", "acq_time"), "\t"))

    def session(self, sessions: Sequence[Row], session: str) -> Row | None:
        """Return the row of one session, None where the file has none.

        Raises:
            MetadataError: there are two, or it is broken.
        """
        rows = [row for row in sessions if row.values["session_id"] == session]
        if len(rows) > 1:
            raise MetadataError(f"{rows[1].where}: {session} is there twice", "Keep the row that is right.")
        return rows[0].check() if rows else None

    def age_years(self, subject: str, session: str) -> float:
        """Return the age at a session: its own, or the participant's and the time that went by since the first.

        Args:
            subject: participant id.
            session: session id, or empty.

        Raises:
            MetadataError: a value is not what it should be, or nothing says the age: the one age of participants.tsv
                is that of the first session.
        """
        rows = self.sessions(subject)
        own = self.session(rows, session)
        if own and own.values.get("age", "") not in UNKNOWN:
            return self._years(own)
        row = self.row(subject)
        if row.values.get("age", "") in UNKNOWN:
            where = f"{row.where}: {subject}" if row.line else f"bids: {subject} {session}"
            raise MetadataError(f"{where} has no age, nor does a table of sessions say one", NO_AGE_FIX)
        age = self._years(row)
        elapsed = _elapsed_years(rows, own)
        if elapsed is not None:
            return parse_age(f"{age + elapsed:.4f}", own.where if own else row.where)
        if session != self._first_session(subject):
            problem = (
                f"bids: nothing says the age of {subject} at {session}: that of {row.where} is of the first session"
            )
            raise MetadataError(problem, f"Say `age`, `days` or `acq_time` in sub-XX_sessions.tsv. {NO_AGE_FIX}")
        return age

    def _first_session(self, subject: str) -> str | None:
        """Return the session with the lowest number, the only one, or empty where there are none; None: unknown."""
        sessions = [path.name for path in (self._images / subject).glob("ses-*")]
        numbers = {session: re.search(r"\d+$", session) for session in sessions}
        if len(sessions) < 2:
            return sessions[0] if sessions else ""
        if not all(numbers.values()):
            return None
        return min(sessions, key=lambda session: int(found[0]) if (found := numbers[session]) else 0)

    def sex(self, subject: str) -> str:
        """Return M, F or empty.

        Raises:
            MetadataError: it is something else.
        """
        row = self.row(subject)
        text = row.values.get("sex", "")
        return "" if text.lower() in {*UNKNOWN, *_OTHER_SEX} else parse_sex(text, row.where)

    def diagnosis(self, subject: str, session: str) -> str:
        """Return the diagnosis at a session, else the participant's, else the default.

        Raises:
            MetadataError: a row is broken.
        """
        own = self.session(self.sessions(subject), session)
        rows = [row for row in (own, self.row(subject)) if row]
        for row in rows:
            for column in self._columns:
                if (text := row.values.get(column, "")) not in UNKNOWN:
                    return text
        return self._default

    def _years(self, row: Row) -> float:
        text = row.values["age"]
        if self._units_a_year != 1:
            text = f"{_number(text, row.where) / self._units_a_year:.4f}"
        return parse_age(text, row.where)


def _elapsed_years(rows: Sequence[Row], own: Row | None) -> float | None:
    """Return the years since the first session, by `days` or else by `acq_time`."""
    if own is None:
        return None
    if (days := own.values.get("days", "")) not in UNKNOWN:
        return _number(days, own.where) / DAYS_A_YEAR
    known = [row for row in rows if row.values.get("acq_time", "") not in UNKNOWN]
    times: list[date] = [parse_date(row.values["acq_time"], row.where) for row in known]
    if own not in known or len(known) < len(rows):  # the first may be the one that is not dated
        return None
    return (times[known.index(own)] - min(times)).days / DAYS_A_YEAR


def _number(text: str, where: str) -> float:
    number = number_or_none(text)
    if number is None:
        raise MetadataError(f'{where}: "{text}" is not a number', "Correct it, or write n/a.")
    return number


def _units_a_year(path: Path) -> float:
    """Return how many units of `age` make a year, by participants.json; years are BIDS's own."""
    try:
        about = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return 1.0
    except (OSError, ValueError, RecursionError) as error:
        raise MetadataError(f"{path} is not readable as JSON: {error}", "Correct it.") from None
    age = about.get("age") if isinstance(about, Mapping) else None
    unit = str(age.get("Units", "years") if isinstance(age, Mapping) else "years")
    for name in (unit.lower(), unit.lower().removesuffix("s")):
        if name in _UNITS_A_YEAR:
            return _UNITS_A_YEAR[name]
    raise MetadataError(f'{path}: the age is in "{unit}"', "Write years, months, weeks or days.")
