"""The tables of `brainage models`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

WIDE = 130
"""Columns of a terminal from which the delta and the ages have columns of their own."""
CAPTION = (
    "MAE in years, mean (sd over the seeds); delta in years, raw / corrected for regression to the mean; "
    "* chosen on validation"
)
Row = Mapping[str, Any]


def models_tables(rows: Sequence[Row], width: int) -> Iterator[Table]:
    """Yield one table an experiment.

    Args:
        rows: as tracking.list_models returns them.
        width: of the terminal, characters.
    """
    for name, some in groupby(rows, key=lambda row: row["name"]):
        yield _table(str(name), list(some), width >= WIDE)


def _table(name: str, rows: Sequence[Row], wide: bool) -> Table:
    leaks = list(dict.fromkeys(row["leak"] for row in rows if row.get("leak")))
    caption = "\n".join([CAPTION, *map(escape, leaks)])
    table = Table(title=escape(name), caption=caption, box=box.SIMPLE_HEAD, pad_edge=False)
    groups = list(dict.fromkeys(group for row in rows for group in row.get("deltas") or {}))
    table.add_column("arm", overflow="fold")
    for heading in ("validation", "test") if wide else ("MAE",):
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in [f"delta {group}" for group in groups] if wide else ["delta"] if groups else []:
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in ("ages", "date", "seeds", "aliases") if wide else ("learned from",):
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*map(escape, _wide(row, groups) if wide else _narrow(row, groups)))
    return table


def _wide(row: Row, groups: Sequence[str]) -> list[str]:
    return [
        _arm(row), *_errors(row), *(_delta(row, group) for group in groups), _ages(row), row["date"], _seeds(row),
        " ".join(row["aliases"]),
    ]  # fmt: skip


def _narrow(row: Row, groups: Sequence[str]) -> list[str]:
    """Stack in a cell what stands side by side where there is room."""
    validation, test = _errors(row)
    deltas = ["\n".join(f"{group} {_delta(row, group)}" for group in groups)] if groups else []
    learned = [part for part in (_ages(row), f"seeds {_seeds(row)}" if _seeds(row) else "", row["date"]) if part]
    return [_arm(row), f"validation {validation}\ntest {test}", *deltas, "\n".join(learned)]


def _arm(row: Row) -> str:
    return f"{row['arm']} *" if row["champion"] else str(row["arm"])


def _errors(row: Row) -> tuple[str, str]:
    return (
        _number(row.get("validation_mae"), row.get("validation_mae_sd")),
        _number(row.get("test_mae"), row.get("test_mae_sd")) + (" \N{DAGGER}" if row.get("leak") else ""),
    )


def _number(mean: float | None, sd: float | None) -> str:
    return "none" if mean is None else f"{mean:.2f}" + (f" ({sd:.2f})" if sd is not None else "")


def _delta(row: Row, group: str) -> str:
    """Write the raw delta, and behind a slash the one with regression to the mean taken out."""
    raw, corrected = (row.get("deltas") or {}).get(group, (None, None))
    shown = [f"{value:+.2f}" for value in (raw, corrected) if value is not None]
    return " / ".join(shown) or "none"


def _ages(row: Row) -> str:
    ages = row.get("age_years")
    return f"{ages[0]:.0f} to {ages[1]:.0f} years" if ages else ""


def _seeds(row: Row) -> str:
    return ", ".join(str(seed) for seed in row.get("seeds") or ())
