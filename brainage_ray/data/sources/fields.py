"""What all sources check alike: ages, sexes, dates and folders."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

from brainage_ray.errors import MetadataError

OLDEST_YEARS = 120.0
DAYS_A_YEAR = 365.25
UNKNOWN = ("", "n/a")
"""What stands for a value that nobody knows, in small letters; n/a is BIDS's word for it."""

NO_AGE_FIX = "Fill it in, or leave the scan out: brainage qc exclude IMAGE --reason 'no age'."

_US_DATE = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4})")
_SEX = {"m": "M", "male": "M", "f": "F", "female": "F", "": ""}


def parse_age(text: str, where: str) -> float:
    """Read an age in years.

    Args:
        text: as the file has it.
        where: file and line or element, for the message.

    Raises:
        MetadataError: it is unknown, or not a number from 0 to 120.
    """
    if text.lower() in UNKNOWN:
        raise MetadataError(f"{where}: there is no age", NO_AGE_FIX)
    age = number_or_none(text)
    if age is None:
        problem = f'{where}: the age is "{text}", which is not a number'
        raise MetadataError(problem, "Give years with a point for decimals, or take the scan out.")
    if not 0 <= age <= OLDEST_YEARS:
        problem = f"{where}: the age is {text} years, which is not between 0 and {OLDEST_YEARS:g}"
        raise MetadataError(problem, "Give years, not months or days, or take the scan out.")
    return age


def number_or_none(text: str) -> float | None:
    """Return the number that a text is, None where it is none; unlike Python, 7_1 is none."""
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


def parse_sex(text: str, where: str) -> str:
    """Read a sex, of which the report counts M and F.

    Args:
        text: as the file has it: m, f, male or female in any case, or empty.
        where: file and line or element, for the message.

    Returns:
        M, F or empty.

    Raises:
        MetadataError: it is something else.
    """
    if text.lower() not in _SEX:
        raise MetadataError(f'{where}: the sex is "{text}"', "Write M or F, or nothing where it is not known.")
    return _SEX[text.lower()]


def check_folder(folder: Path, what: str, key: str = "root") -> None:
    """Check that a folder is there.

    Args:
        folder: what has to be there.
        what: kind of the source, for the message.
        key: of data.sources that says where the folder is.

    Raises:
        MetadataError: there is no such folder, or it is a file.
    """
    if not folder.is_dir():
        problem = f"{what}: there is no folder {folder}" if not folder.exists() else f"{what}: {folder} is no folder"
        raise MetadataError(problem, f"Correct `{key}` in data.sources of the experiment.")


def parse_date(text: str, where: str) -> date:
    """Read a day: 2012-06-01, with or without a time, or 6/01/2012 as the IDA writes it (month first).

    Raises:
        MetadataError: it is no such day.
    """
    month_first = _US_DATE.fullmatch(text)
    iso = f"{month_first[3]}-{month_first[1]:0>2}-{month_first[2]:0>2}" if month_first else text[:10]
    try:
        return date.fromisoformat(iso)
    except ValueError:
        problem = f'{where}: "{text}" is no date'
        raise MetadataError(problem, "Dates look like 2012-06-01 or 6/01/2012 (month first); correct it.") from None
