"""The mark on every table where people leak, as published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pandas as pd

from brainage_ray.report.table import Table

MARK = "\N{DAGGER}"


def marked(table: Table, sentence: str) -> Table:
    """Return a table with the mark in its title, the sentence below it and in a column of its CSV.

    Args:
        table: of a report.
        sentence: what leaks; empty: the table stays as it is.
    """
    if not sentence:
        return table
    numbers = table.numbers
    if numbers is None:
        numbers = pd.DataFrame([row.cells for row in table.rows], columns=list(table.header))
    return replace(
        table,
        title=f"{table.title} {MARK}",
        notes=(*table.notes, f"{MARK} {sentence}"),
        numbers=numbers.assign(leak=sentence),
    )


def leak_notes(leaks: Mapping[str, str]) -> list[str]:
    """Return a note for each experiment whose data leak.

    Args:
        leaks: sentence by experiment.
    """
    return [f"{MARK} {name}: {sentence}" for name, sentence in leaks.items()]
