"""Tables about scans, row by row with their line numbers: CSV, TSV or Parquet; nothing is guessed or skipped."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from brainage_ray.config.read import nearest
from brainage_ray.data.safety import read_parquet
from brainage_ray.errors import MetadataError

PARQUET = (".parquet", ".pq")
"""How the names of such files end; all others are text."""

_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32",
          codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}  # fmt: skip
"""Byte order marks; UTF-32's come first, for one of them begins like one of UTF-16's."""


@dataclass(frozen=True)
class Row:
    """One row of a table."""

    where: str
    """File and line, for messages: people.csv, line 3."""
    line: int
    """In a text file the line where the row ends, in Parquet the number of the row; the first is 2 and 1."""
    values: Mapping[str, str]
    """By column, without blanks around; empty where nothing is known."""
    fault: str = ""
    """What is wrong with the row as such; then the values may be in other columns than their own."""

    @property
    def name(self) -> str:
        """File without folders, and line: what an input is called that has no id."""
        return Path(self.where).name

    def check(self) -> Row:
        """Return the row.

        Raises:
            MetadataError: it has more or fewer values than there are columns.
        """
        if self.fault:
            raise MetadataError(self.fault, "Correct the line; put values that contain commas in quotes.")
        return self


@dataclass(frozen=True)
class Layout:
    """What a table should look like."""

    setting: str
    """Key in data.sources that names the file, for messages."""
    required: tuple[str, ...] = ()
    """Columns that must be there."""
    optional: tuple[str, ...] = ()
    """Columns that are read where they are there."""
    separator: str = ","
    """Between the values of a text file."""
    encoding: str | None = None
    """Of a text file; by default UTF-8, or what its byte order mark says."""


def read_rows(path: Path, layout: Layout) -> list[Row]:
    """Read all rows of a table; in text, empty lines are skipped and counted.

    Raises:
        MetadataError: there is no such file, it cannot be read as such a table, or a column is missing or there twice.
    """
    with _reading(path, layout.setting):
        return list(_parquet(path, layout) if path.suffix in PARQUET else _text(path, layout))


def read_column(path: Path, setting: str) -> list[tuple[int, str]]:
    """Return (line, first value) of each line that is not empty, the first too, whatever is between its values.

    Raises:
        MetadataError: there is no such file, or it is no text in UTF-8.
    """
    with _reading(path, setting):
        lines = io.StringIO(_decode(path.read_bytes(), None))
        values = ((number, _first(line)) for number, line in enumerate(lines, start=1))
        return [(number, value) for number, value in values if value]


def _first(line: str) -> str:
    return re.split(r"[,;\t]", line, maxsplit=1)[0].strip().strip('"').strip()


@contextmanager
def _reading(path: Path, setting: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise MetadataError(f"there is no table {path}", f"Correct `{setting}` in data.sources.") from None
    except UnicodeDecodeError as error:
        problem = f"{path} cannot be read: byte {error.start + 1} is not {error.encoding.upper()}"
        fix = "Save it in UTF-8; a `table` source can name another: `encoding: cp1252` in data.sources."
        raise MetadataError(problem, fix) from None
    except (OSError, ValueError, MemoryError) as error:  # Arrow's and pandas' errors are ValueErrors
        reason = " ".join(str(error).split())
        raise MetadataError(f"{path} cannot be read: {reason}", "Save it as CSV in UTF-8, or as Parquet.") from None


def _parquet(path: Path, layout: Layout) -> Iterator[Row]:
    table = read_parquet(path, dtype_backend="pyarrow")
    names = [str(name) for name in table.columns]
    _check_columns(path, names, layout)
    for number, values in enumerate(table.itertuples(index=False, name=None), start=1):
        texts = ["" if pd.isna(value) is True else _text_of(value) for value in values]
        yield Row(f"{path}, row {number}", number, dict(zip(names, texts, strict=True)))


def _text_of(value: Any) -> str:
    """Write a value as a CSV has it: a table with a gap keeps whole numbers as floats, but subject 1.0 is subject 1."""
    whole = isinstance(value, float) and value.is_integer()
    return str(int(value) if whole else value).strip()


def _text(path: Path, layout: Layout) -> Iterator[Row]:
    """Yield the rows; where a quote is opened and not closed, its line is at fault and the next is read on its own."""
    lines = list(io.StringIO(_decode(path.read_bytes(), layout.encoding), newline=""))
    names: list[str] = []
    gaps: dict[str, str] = {}
    end = 0
    while end < len(lines):
        start, (values, end) = end, _record(lines, end, layout.separator)
        if not any(values) and end == start + 1:
            continue
        if not names:
            names = values
            if end == start:
                raise ValueError("its first line opens a quote and does not close it")
            _check_columns(path, names, layout)
            # not of all names: a wide head over many short rows would fill the memory
            gaps = {name: "" for name in names if name in (*layout.required, *layout.optional)}
            continue
        fault = "" if len(values) == len(names) else f"has {len(values)} values for {len(names)} columns"
        swallowed = end > start + 1 and bool(fault or _broken(dict(zip(names, values, strict=False)), layout))
        if swallowed or end == start:
            values, end = [value.strip() for value in lines[start].split(layout.separator)], start + 1
            fault = "opens a quote and does not close it"
        where = f"{path}, line {end}"
        known = gaps | dict(zip(names, values, strict=False))
        yield Row(where, end, known, f"{where} {fault}" if fault else "")
    if not names:
        columns = f": {layout.separator.join(layout.required)}" if layout.required else ""
        raise MetadataError(f"{path} is empty", f"Its first line names the columns{columns}.")


def _record(lines: Sequence[str], start: int, separator: str) -> tuple[list[str], int]:
    """Return the values of the record that begins with a line, and the line after it: the same if it has no end."""
    reader = csv.reader((lines[i] for i in range(start, len(lines))), delimiter=separator, strict=True)
    try:
        return [value.strip() for value in next(reader)], start + reader.line_num
    except csv.Error:
        return [lines[start]], start


def _broken(values: Mapping[str, str], layout: Layout) -> bool:
    """Tell whether a value that is read has several lines: it has swallowed rows."""
    return any(len(values.get(name, "").splitlines()) > 1 for name in (*layout.required, *layout.optional))


def _decode(content: bytes, encoding: str | None) -> str:
    marked = next((name for mark, name in _MARKS.items() if content.startswith(mark)), "utf-8")
    zeros = ValueError("it holds bytes of zero, as UTF-16 without a byte order mark and files that are no text do")
    if (encoding or marked) == "utf-8" and b"\0" in content:
        raise zeros
    text = content.decode(encoding or marked)
    if "\0" in text:
        raise zeros
    return text


def _check_columns(path: Path, names: Sequence[str], layout: Layout) -> None:
    wanted = _SEPARATORS[layout.separator]
    for mark, name in _SEPARATORS.items():
        if len(names) == 1 and names[0] not in layout.required and name != wanted and mark in names[0]:
            fix = f"Save it with {wanted}, and with a decimal point in the ages (in a spreadsheet: under English)."
            raise MetadataError(f"{path} has {name} between its values, not {wanted}", fix)
    for column in layout.required:
        if column not in names:
            unused = [name for name in names if name and name not in layout.required + layout.optional]
            problem = f'{path} has no column "{column}"; it has {", ".join(names)}'
            raise MetadataError(problem, f"{nearest(column, unused)} Name the column {column}.".strip())
    twice = next((name for i, name in enumerate(names) if name and name in names[:i]), None)
    if twice is not None:
        raise MetadataError(f'{path} has two columns "{twice}"', "Keep one of them.")
