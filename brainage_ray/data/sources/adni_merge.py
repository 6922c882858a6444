"""`ADNIMERGE.csv`: one row a visit, with the diagnosis at that visit and the age at baseline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from brainage_ray.data.sources.adni_ids import phase_of_protocol
from brainage_ray.data.sources.fields import DAYS_A_YEAR, parse_age, parse_date, parse_sex
from brainage_ray.data.sources.rows import Layout, Row, read_rows

SAME_VISIT_DAYS = 183
"""A visit says what a scan's diagnosis is when it is at most half a year away: ADNI's visits are half a year apart."""

_REQUIRED = ("RID", "EXAMDATE", "DX", "AGE", "PTGENDER")
_OPTIONAL = ("PTID", "VISCODE", "COLPROT", "DX_bl", "EXAMDATE_bl", "Years_bl")
_UNKNOWN = ("", "NA", "NaN", "-4")
_DIAGNOSES = {"Dementia": "AD", "NL": "CN"}


@dataclass(frozen=True)
class Participant:
    """One person's visits."""

    rows: tuple[Row, ...]

    def age_years(self, day: date) -> float | None:
        """Return the age on a day: that at baseline and the time that went by since.

        The day of the baseline is EXAMDATE of the visit `bl`, else EXAMDATE_bl, else a visit's EXAMDATE less its
        Years_bl.

        Returns:
            None where the age or the day of the baseline is not known.

        Raises:
            MetadataError: a value is not what it should be.
        """
        aged = [row for row in self.rows if _known(row, "AGE")]
        baseline = self._baseline()
        if not aged or baseline is None:
            return None
        first = min(aged, key=lambda row: row.values.get("VISCODE") != "bl")
        age = parse_age(first.values["AGE"], first.where)
        return parse_age(f"{age + (day - baseline).days / DAYS_A_YEAR:.4f}", f"{first.where}, on {day}")

    def diagnosis(self, day: date) -> str:
        """Return CN, MCI or AD at the visit that a day belongs to, or empty; SMC for who came as SMC and is CN.

        Raises:
            MetadataError: a day is none.
        """
        row = self._nearest(day, lambda row: _known(row, "DX"))
        if row is None:
            return ""
        written = row.values["DX"].split(" to ")[-1]  # MCI to Dementia
        diagnosis = _DIAGNOSES.get(written, written)
        return "SMC" if diagnosis == "CN" and row.values.get("DX_bl") == "SMC" else diagnosis

    def phase(self, day: date) -> str:
        """Return the phase of the visit that a day belongs to, or empty.

        Raises:
            MetadataError: a day is none.
        """
        row = self._nearest(day, lambda row: bool(phase_of_protocol(row.values.get("COLPROT", ""))))
        return phase_of_protocol(row.values["COLPROT"]) if row else ""

    def sex(self) -> str:
        """Return M, F or empty.

        Raises:
            MetadataError: it is something else.
        """
        row = self.rows[0]
        return parse_sex(row.values["PTGENDER"], row.where) if _known(row, "PTGENDER") else ""

    def _baseline(self) -> date | None:
        for row in self.rows:
            if row.values.get("VISCODE") == "bl" and _known(row, "EXAMDATE"):
                return parse_date(row.values["EXAMDATE"], row.where)
        for row in self.rows:
            if _known(row, "EXAMDATE_bl"):
                return parse_date(row.values["EXAMDATE_bl"], row.where)
        for row in self.rows:
            if _known(row, "EXAMDATE") and _known(row, "Years_bl"):
                years = parse_age(row.values["Years_bl"], f"{row.where}, Years_bl")
                return parse_date(row.values["EXAMDATE"], row.where) - timedelta(days=years * DAYS_A_YEAR)
        return None

    def _nearest(self, day: date, says: Callable[[Row], bool]) -> Row | None:
        dated = [row for row in self.rows if _known(row, "EXAMDATE") and says(row)]
        away = [(abs((parse_date(row.values["EXAMDATE"], row.where) - day).days), i) for i, row in enumerate(dated)]
        nearest = min(away, default=None)
        return dated[nearest[1]] if nearest and nearest[0] <= SAME_VISIT_DAYS else None


@dataclass(frozen=True)
class AdniMerge:
    """The table, by participant."""

    participants: dict[int, Participant]
    """By RID."""
    broken: tuple[Row, ...] = ()
    """Rows that do not say whose they are."""

    def of(self, rid: int) -> Participant | None:
        """Return a participant, None where the table has none.

        Raises:
            MetadataError: a row of the participant is broken.
        """
        participant = self.participants.get(rid)
        for row in participant.rows if participant else ():
            row.check()
        return participant


def read_adnimerge(path: Path, given: bool) -> AdniMerge:
    """Read the table; without the file nobody is in it, unless the file was named.

    Raises:
        MetadataError: the file was named and is missing, or it cannot be read or lacks a column.
    """
    if not given and not path.is_file():
        return AdniMerge({})
    rows: dict[int, list[Row]] = {}
    broken = []
    for row in read_rows(path, Layout("adnimerge", _REQUIRED, _OPTIONAL)):
        rid = row.values["RID"]
        if rid.isascii() and rid.isdecimal():
            rows.setdefault(int(rid), []).append(row)
        else:
            broken.append(row)
    return AdniMerge({rid: Participant(tuple(of)) for rid, of in rows.items()}, tuple(broken))


def broken_reason(row: Row) -> str:
    """Say what is wrong with a row of AdniMerge.broken."""
    problem = row.fault or f'{row.where}: the RID is "{row.values["RID"]}", which is no number'
    return f"{problem}. Correct the line, or take it out."


def _known(row: Row, column: str) -> bool:
    return row.values.get(column, "") not in _UNKNOWN
