"""One page a scan: its brain age, its slices, where it lies among others, and what speaks against it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from typing import Any, TypeGuard

import numpy as np
from jinja2 import BaseLoader, Environment, StrictUndefined
from matplotlib.axes import Axes

from brainage_ray.evaluation.outlook import MEASURES, Seen
from brainage_ray.report.figure import BAND, MUTED, PALETTE, FigureSpec, Panel, inline_panels
from brainage_ray.report.text import NOTHING, number

PAGE_VERSION = 1
"""Goes up when a page changes: then it is written anew."""


@dataclass(frozen=True)
class Pictures:
    """What is drawn of a scan, WebP as base64."""

    plain: str
    overlay: str
    """Empty where there is none."""
    full_years: float
    """Attribution in full colour, years a pixel."""


@dataclass(frozen=True)
class ScanPage:
    """All that a page is made of."""

    key: str
    """Digest of all the rest: a page with the same key is not written again."""
    name: str
    row: Mapping[str, Any]
    """As predict returns it."""
    slice_years: Sequence[Sequence[float]]
    """By seed and slice."""
    positions_mm: Sequence[float]
    pictures: Pictures
    ranges: Mapping[str, Seen]
    cohort: Sequence[tuple[float, float]]
    """(age, brain age) of validation scans, years."""
    made: Sequence[tuple[str, str]]
    """What and value, of the model."""
    order: str
    """What the slices run from and to."""


def scan_html(page: ScanPage) -> str:
    """Return the page of one scan: it needs no other file."""
    row = page.row
    return _render("scan.html.j2", {
        "page": page,
        "row": row,
        "brain_age": _years(row.get("brain_age_years"), 1),
        "interval": _interval(row),
        "facts": _facts(row),
        "flags": [flag for flag in str(row.get("flags") or "").split("; ") if flag],
        "notes": [note for note in str(row.get("notes") or "").split("; ") if note],
        "measures": _measures(page),
        "figures": [(spec, inline_panels(spec)) for spec in (_among(page), _by_slice(page)) if spec],
    })  # fmt: skip


def index_html(model: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the page that lists all scans.

    Args:
        model: its name.
        rows: as predict returns them, with page: the name of the scan's page, or empty.
    """
    shown = [
        {"page": row["page"], "name": row["name"], "status": row["status"],
         "age": _years(row.get("age_years"), 1), "brain_age": _years(row.get("brain_age_years"), 1),
         "interval": _interval(row), "delta": _signed(row.get("delta_years")),
         "why": row.get("error") or row.get("flags") or ""}
        for row in rows
    ]  # fmt: skip
    counts = [(status, sum(row["status"] == status for row in rows)) for status in ("ok", "flagged", "failed")]
    return _render("scans.html.j2", {"model": model, "rows": shown, "counts": [c for c in counts if c[1]]})


def _facts(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    known = [
        ("Age", _years(row.get("age_years"), 1)),
        ("Delta", _signed(row.get("delta_years"))),
        ("Delta, corrected", _signed(row.get("corrected_delta_years"))),
        ("SD over seeds", _years(row.get("brain_age_sd_years"), 1)),
    ]
    return [(what, value) for what, value in known if value != NOTHING]


def _interval(row: Mapping[str, Any]) -> str:
    low, high = row.get("low_years"), row.get("high_years")
    return f"{number(low, 1)} to {number(high, 1)}" if _known(low) and _known(high) else ""


def _measures(page: ScanPage) -> list[dict[str, Any]]:
    """Return each number with the range that the model saw, and where it lies on a strip, 0 to 100."""
    rows = []
    for measure in MEASURES:
        value, seen = page.row.get(measure.name), page.ranges.get(measure.name)
        if not _known(value) or seen is None:
            continue
        span = max(seen.high - seen.low, 0.1 * abs(seen.high), 1e-9)
        low, high = seen.low - span / 2, seen.high + span / 2
        below = measure.below is not None and value < seen.low * measure.below
        above = measure.above is not None and value > seen.high * measure.above
        rows.append({
            "name": measure.words[0].upper() + measure.words[1:],
            "value": f"{number(value, measure.digits)} {measure.unit}".strip(),
            "seen": f"{number(seen.low, measure.digits)} to {number(seen.high, measure.digits)}",
            "from": _share(seen.low, low, high), "to": _share(seen.high, low, high), "at": _share(value, low, high),
            "outside": below or above,
        })  # fmt: skip
    distance = page.row.get("distance")
    if _known(distance):
        rows.append({
            "name": "Distance in appearance", "value": f"{number(distance, 2)} limits", "seen": "up to 1",
            "from": 0.0, "to": 50.0, "at": _share(distance, 0, 2), "outside": distance > 1,
        })  # fmt: skip
    return rows


def _share(value: float, low: float, high: float) -> float:
    return round(100 * min(max((value - low) / (high - low), 0), 1), 1)


def _among(page: ScanPage) -> FigureSpec | None:
    if not page.cohort or not _known(page.row.get("brain_age_years")):
        return None
    age = _known(page.row.get("age_years"))
    where = "Disc: this brain" if age else "Line: this brain, whose age is not known"
    caption = (
        f"{where}, with its 95\N{NO-BREAK SPACE}% interval where there is one. Points: {len(page.cohort)} healthy "
        "people of the validation split, as models read them that were not fitted on them. Grey line: brain age = age."
    )
    return FigureSpec("among", "Among others", caption, [Panel("", partial(_draw_among, page=page))], size=(3.6, 3.2))


def _draw_among(axes: Axes, *, page: ScanPage) -> None:
    row, cohort = page.row, np.array(page.cohort)
    brain, age = float(row["brain_age_years"]), row.get("age_years")
    edges = [row["low_years"], row["high_years"]] if _interval(row) else []
    everything = [*cohort.ravel(), brain, *([age] if _known(age) else [])]
    limits = min(everything) - 3, max(everything) + 3
    axes.plot(limits, limits, color=MUTED, linewidth=0.9, zorder=1)
    axes.scatter(cohort[:, 0], cohort[:, 1], s=14, color=MUTED, alpha=0.55, linewidth=0, zorder=2)
    if _known(age):
        if edges:
            axes.vlines(age, *edges, color=PALETTE[0], linewidth=1.6, zorder=3)
        axes.scatter([age], [brain], s=64, color=PALETTE[0], linewidth=0, zorder=4)
    else:
        if edges:
            axes.axhspan(*edges, color=BAND, linewidth=0, zorder=0)
        axes.axhline(brain, color=PALETTE[0], linewidth=1.6, zorder=3)
    axes.set(xlim=limits, ylim=limits, xlabel="Age, years", ylabel="Brain age, years")
    axes.set_aspect("equal")


def _by_slice(page: ScanPage) -> FigureSpec | None:
    if not _known(page.row.get("brain_age_years")) or len(page.positions_mm) < 2:
        return None
    caption = "Age of each slice: thin lines one a seed, discs their mean. Line: the scan's brain age."
    return FigureSpec(
        "slices", "Slice by slice", caption, [Panel("", partial(_draw_slices, page=page))], size=(3.6, 3.2)
    )


def _draw_slices(axes: Axes, *, page: ScanPage) -> None:
    years, at = np.array(page.slice_years), np.array(page.positions_mm)
    for seed in years:
        axes.plot(at, seed, color=MUTED, linewidth=0.7, alpha=0.6, zorder=1)
    axes.axhline(float(page.row["brain_age_years"]), color=PALETTE[0], linewidth=1.4, zorder=2)
    axes.scatter(at, years.mean(axis=0), s=14, color=PALETTE[0], linewidth=0, zorder=3)
    axes.set(xlabel=f"Position, mm {page.order}", ylabel="Age, years")


def _known(value: Any) -> TypeGuard[float]:
    return value is not None and not (isinstance(value, float) and math.isnan(value))


def _years(value: Any, digits: int) -> str:
    return number(float(value), digits) if _known(value) else NOTHING


def _signed(value: Any) -> str:
    return f"{'+' if value > 0 else ''}{number(float(value), 1)}" if _known(value) else NOTHING


def _render(template: str, content: Mapping[str, Any]) -> str:
    environment = Environment(loader=BaseLoader(), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    css = _resource("page.css") + _resource("scan.css")
    return environment.from_string(_resource(template)).render(css=css, **content)


def _resource(name: str) -> str:
    return (files("brainage_ray.report") / name).read_text(encoding="utf-8")
