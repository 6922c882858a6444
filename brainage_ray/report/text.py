"""How numbers, lists and durations are written."""

from __future__ import annotations

from collections.abc import Sequence

NOTHING = "\N{EM DASH}"


def number(value: float | None, digits: int = 2) -> str:
    """Write a number with a true minus sign, or a dash for None."""
    if value is None:
        return NOTHING
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("-")
    return text.replace("-", "\N{MINUS SIGN}")


def mean_sd(mean: float | None, sd: float | None, digits: int = 2) -> str:
    """Write mean (sd), without the bracket where there is no sd."""
    return number(mean, digits) if mean is None or sd is None else f"{number(mean, digits)} ({number(sd, digits)})"


def p_value(p: float | None) -> str:
    """Write a p-value with three decimals."""
    if p is None:
        return NOTHING
    return "<0.001" if p < 0.001 else number(p, 3)


def p_mean_max(mean: float | None, largest: float | None) -> str:
    """Write mean (max) of p-values over seeds."""
    return NOTHING if mean is None else f"{p_value(mean)} ({p_value(largest)})"


def duration(seconds: float) -> str:
    """Write a wall-clock time in its two largest units."""
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{number(seconds, 1)} s"
    minutes = int(seconds // 60)
    if minutes < 60:
        return f"{minutes} min {int(seconds % 60)} s"
    hours = minutes // 60
    return f"{hours} h {minutes % 60} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def count(n: int, noun: str, plural: str = "") -> str:
    """Write a number with its noun: 1 scan, 2 scans."""
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"


def listed(items: Sequence[str]) -> str:
    """Join words: a, b and c."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else ""


def setting(value: object) -> str:
    """Write a setting's value: 0.0001 as 1e-4, others as they are."""
    if isinstance(value, float):
        text = f"{value:.3g}"
        mantissa, e, exponent = f"{value:.2e}".partition("e")
        small = value != 0 and (abs(value) < 1e-2 or abs(value) >= 1e5)
        return f"{float(mantissa):g}{e}{int(exponent)}" if small else text
    return str(value)
