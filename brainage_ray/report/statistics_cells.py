"""Cells, notes and CSV columns that the tables of the statistics share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from brainage_ray.report.table import Row
from brainage_ray.report.text import NOTHING, count, number

MINUS = "\N{MINUS SIGN}"
MOST_REASONS = 4
"""That a note gives; the CSV has all."""


def signed(value: float | None, digits: int = 2) -> str:
    """Write a difference with its sign, or a dash for None."""
    text = number(value, digits)
    return f"+{text}" if value is not None and value > 0 and float(f"{value:.{digits}f}") else text


def interval(low_high: tuple[float, float], digits: int = 2) -> str:
    """Write a confidence interval in a sentence: 95 % CI 0.10 to 0.32."""
    low, high = (number(value, digits) for value in low_high)
    return f"95\N{NO-BREAK SPACE}% CI {low} to {high}"


def estimate(value: float | None, low_high: tuple[float, float] | None, digits: int = 2) -> str:
    """Write an estimate and its confidence interval; a dash for what there is not."""
    if value is None:
        return NOTHING
    inside = NOTHING if low_high is None else ", ".join(number(edge, digits) for edge in low_high)
    return f"{number(value, digits)} [{inside}]"


def grouped(name: str, n: int) -> str:
    """Write a group and its size, in one piece."""
    return f"{name} (n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{n:,})"


def because(reasons: Iterable[str]) -> tuple[str, ...]:
    """Return the note that says why cells hold a dash; none where no reason is given."""
    why = list(dict.fromkeys(reason for reason in reasons if reason))
    more = [f"{count(len(why) - MOST_REASONS, 'more reason')} in the CSV"] if len(why) > MOST_REASONS else []
    return (f"{NOTHING} {'; '.join([*why[:MOST_REASONS], *more])}.",) if why else ()


def by_arm(rows: Sequence[tuple[str, tuple[str, ...]]]) -> tuple[Row, ...]:
    """Make rows from (arm, other cells); of consecutive rows of one arm the first alone names it."""
    names = ["", *(arm for arm, _ in rows)]
    return tuple(
        Row(("" if arm == names[i] else arm, *cells), arm="" if arm == names[i] else arm)
        for i, (arm, cells) in enumerate(rows)
    )


def flat(record: Mapping[str, Any], seeds: Sequence[int] = ()) -> dict[str, Any]:
    """Return a record with one number a key: intervals as _low and _high, pairs as _first and _second.

    Args:
        record: of a dataclass.
        seeds: where a tuple has one value each, that key becomes one a seed, key_seed_0; it is left out where empty.
    """
    columns: dict[str, Any] = {}
    for key, value in record.items():
        if "interval" in key:
            columns[f"{key}_low"], columns[f"{key}_high"] = value or (None, None)
        elif not isinstance(value, tuple):
            columns[key] = value
        elif key in ("n_people", "n_scans", "n_seeds"):
            columns[f"{key}_first"], columns[f"{key}_second"] = value
        else:
            columns |= {f"{key}_seed_{seed}": one for seed, one in zip(seeds, value, strict=False)}
    return columns
