"""A table, and the ways to write it: CSV, LaTeX and Markdown; the page's template writes HTML."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from brainage_ray.report.text import count

LONGEST = 60
"""Rows that the page shows; the CSV has all."""

_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": "$<$", ">": "$>$", "\N{MINUS SIGN}": "$-$",
    "\N{EM DASH}": "---", "\N{EN DASH}": "--", "\N{MULTIPLICATION SIGN}": r"$\times$", "\N{ASTERISK OPERATOR}": "$*$",
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One row; `arm` gives it a colour, `aside` sets it apart from the experiment's own results."""

    cells: tuple[str, ...]
    arm: str = ""
    aside: bool = False


@dataclass(frozen=True)
class Table:
    """A table as it is printed, and the numbers behind it."""

    name: str
    """Of its files."""
    title: str
    header: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    numbers: pd.DataFrame | None = None
    """For the CSV, unrounded; None: the printed cells."""
    text_columns: int = 1
    """So many first columns hold words, the others numbers."""

    @property
    def shown(self) -> tuple[Row, ...]:
        """The rows that the page has room for."""
        return self.rows[:LONGEST]

    @property
    def remarks(self) -> tuple[str, ...]:
        """The notes, and one more where rows are left out."""
        if len(self.rows) <= LONGEST:
            return self.notes
        return (*self.notes, f"The first {LONGEST} of {count(len(self.rows), 'row')}; tables/{self.name}.csv has all.")

    def to_csv(self) -> str:
        """Return the numbers, or else the printed cells, as CSV."""
        if self.numbers is not None:
            return str(self.numbers.to_csv(index=False, lineterminator="\n"))
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerows([self.header, *(row.cells for row in self.rows)])
        return buffer.getvalue()

    def to_markdown(self) -> str:
        """Return a pipe table and its notes."""
        words = self.text_columns
        rule = ("---",) * words + ("---:",) * (len(self.header) - words)
        rows = [self.header, rule, *(row.cells for row in self.shown)]
        lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |" for cells in rows]
        return "\n".join([*lines, *(f"\n{note}" for note in self.remarks)])

    def to_tex(self) -> str:
        r"""Return a booktabs table for \input, with caption and label."""
        body: list[str] = []
        for i, row in enumerate(self.rows):
            if row.aside and i and not self.rows[i - 1].aside:
                body.append(r"\midrule")
            body.append(_tex_row(row.cells))
        columns = "l" * self.text_columns + "r" * (len(self.header) - self.text_columns)
        caption = escape_tex(" ".join([self.title.rstrip(".") + ".", *self.notes]))
        return "\n".join([
            r"\begin{table}", r"\centering", rf"\caption{{{caption}}}", rf"\label{{tab:{self.name}}}",
            rf"\begin{{tabular}}{{{columns}}}", r"\toprule", _tex_row(self.header), r"\midrule",
            *body, r"\bottomrule", r"\end{tabular}", r"\end{table}", "",
        ])  # fmt: skip


def escape_tex(text: str) -> str:
    """Return text that LaTeX prints as it is."""
    return "".join(_TEX.get(character, character) for character in text)


def _tex_row(cells: Sequence[str]) -> str:
    return " & ".join(escape_tex(cell) for cell in cells) + r" \\"
