"""The page of quality control: every scan as a montage with its numbers, outliers first."""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import BaseLoader, Environment, StrictUndefined

from brainage_ray.data.files import atomic_write, no_space
from brainage_ray.data.quality import OUTLIER_Z
from brainage_ray.data.quality_table import MEASURES, Measure, cohort_medians
from brainage_ray.report.text import NOTHING, count, listed, number

INLINE = 200
"""Up to so many scans the pictures are inside the page, which then is one file to send; beyond, beside it."""

LEFT_OUT = 60
"""Rows of the list of what was left out; left_out.csv has all."""

THUMBNAILS = "thumbnails"


@dataclass(frozen=True)
class QcInputs:
    """All that the page is made of."""

    experiment: str
    date: str
    scans: pd.DataFrame
    """What rate_scans returns, why (of `reasons`) and thumbnail: a file's name in the folder of thumbnails, or empty
    where none is shown."""
    left_out: pd.DataFrame
    """Rows of the ledger that are not done: cohort, subject, session, image, status, reason."""
    undo: Sequence[tuple[str, str]]
    """Cohort and image of the scans that `brainage qc include` can bring back."""
    command: Sequence[str]
    """Options that name the experiment and workspace to `brainage qc exclude` and `include`."""
    exclusions: str
    """Path of the file of exclusions; empty where the experiment names none."""
    order: str
    """What the slices of a montage run from and to."""
    test_images: bool
    """Whether the test split's images are shown."""

    @cached_property
    def ambiguous(self) -> frozenset[str]:
        """Image ids that more than one cohort has: their commands name the cohort."""
        ids = pd.concat([self.scans["image"], self.left_out["image"]])
        return frozenset(ids[ids.duplicated()])


def write_qc_page(inputs: QcInputs, folder: Path) -> Path:
    """Write the page beside its thumbnails, which are there already.

    Args:
        inputs: all that it is made of.
        folder: gets index.html, scans.csv and left_out.csv.

    Returns:
        The path of index.html, which is written last.

    Raises:
        NoSpaceError: the disk is full.
    """
    with no_space(folder):
        _write_csv(inputs.scans, folder / "scans.csv")
        _write_csv(inputs.left_out, folder / "left_out.csv")
        page = folder / "index.html"
        with atomic_write(page) as file:
            file.write(_html(inputs, folder / THUMBNAILS).encode())
    return page


def reasons(rated: pd.DataFrame) -> list[str]:
    """Say of each scan which of its numbers lies furthest from its cohort; nothing where it has no number.

    Args:
        rated: what rate_scans returns.
    """
    medians = cohort_medians(rated)
    return [_reason(row, medians) for row in rated.to_dict("records")]


def _reason(scan: Mapping[Any, Any], medians: pd.DataFrame) -> str:
    measure = next((m for m in MEASURES if m.column == scan["worst"]), None)
    if measure is None:
        return ""
    z = scan[measure.z]
    side = "above" if z > 0 else "below"
    value, middle = (_value(measure, x) for x in (scan[measure.column], medians.loc[scan["cohort"], measure.column]))
    return f"{measure.name} {value}: {abs(z):.1f} robust sd {side} {scan['cohort']}'s median, {middle}"


def _value(measure: Measure, value: float) -> str:
    if pd.isna(value):
        return NOTHING
    text = number(float(value), measure.digits)
    return f"{text}\N{NO-BREAK SPACE}ml" if measure.unit == "ml" else text


def _write_csv(table: pd.DataFrame, path: Path) -> None:
    with atomic_write(path) as file:
        file.write(table.to_csv(index=False, lineterminator="\n").encode())


def _html(inputs: QcInputs, thumbnails: Path) -> str:
    environment = Environment(loader=BaseLoader(), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    medians = cohort_medians(inputs.scans)
    shown = [m for m in MEASURES if inputs.scans[m.column].notna().any()]
    return environment.from_string(_resource("qc.html.j2")).render(
        inputs=inputs,
        sentences=_sentences(inputs),
        cohorts=_cohort_rows(medians, shown),
        measures=shown,
        missing=[m.name for m in MEASURES if m not in shown],
        filters={name: _choices(inputs.scans, name) for name in ("cohort", "split", "diagnosis")},
        left_out=_left_out(inputs),
        limit=OUTLIER_Z,
        data=_script(_data(inputs, thumbnails, shown)),
        css=_resource("page.css") + _resource("qc.css"),
        script=_resource("qc.js"),
    )


def _sentences(inputs: QcInputs) -> list[str]:
    scans = inputs.scans
    outliers = int(scans["outlier"].sum())
    cohorts = listed(sorted(scans["cohort"].unique()))
    left_out = inputs.left_out["status"].value_counts()
    gone = [f"{left_out[status]:,} {status}" for status in ("excluded", "failed") if status in left_out]
    is_are = "lies" if outliers == 1 else "lie"
    return [
        f"{count(len(scans), 'scan')} of {cohorts}" + (f"; {listed(gone)}." if gone else "."),
        f"{outliers or 'None'} {is_are} further than {OUTLIER_Z} robust standard deviations from the median of the "
        "cohort in one of the numbers.",
    ]


def _cohort_rows(medians: pd.DataFrame, shown: Sequence[Measure]) -> list[list[str]]:
    return [
        [str(cohort), f"{row['scans']:,.0f}", f"{row['outliers']:,.0f}", *(_value(m, row[m.column]) for m in shown)]
        for cohort, row in medians.iterrows()
    ]


def _choices(scans: pd.DataFrame, column: str) -> list[tuple[str, str]]:
    """Return values and what to call them, of a column that has more than one."""
    order = {"train": 0, "validation": 1, "test": 2, "CN": 0, "MCI": 1, "AD": 2, "": 9}
    found = sorted(scans[column].astype(str).unique(), key=lambda value: (order.get(value, 5), value))
    return [(value, value or "no diagnosis") for value in found] if len(found) > 1 else []


def _left_out(inputs: QcInputs) -> list[dict[str, str]]:
    undo = set(inputs.undo)
    rows = inputs.left_out.sort_values(["status", "cohort", "image"])
    # What a person excluded or what failed comes first: rules leave out thousands.
    rows = rows.assign(rule=[(r.status == "excluded" and (r.cohort, r.image) not in undo) for r in rows.itertuples()])
    return [
        {**{str(k): str(v) for k, v in row.items()},
         "command": _command("include", inputs, row["cohort"], row["image"])
         if (row["cohort"], row["image"]) in undo else ""}
        for row in rows.sort_values("rule", kind="stable").head(LEFT_OUT).to_dict("records")
    ]  # fmt: skip


def _command(verb: str, inputs: QcInputs, cohort: str, image: str) -> str:
    """Return the command that excludes or brings back a scan, to be pasted in a shell."""
    named = ["--cohort", cohort] if image in inputs.ambiguous else []
    return shlex.join(["brainage", "qc", verb, image, *named, *inputs.command])


def _data(inputs: QcInputs, thumbnails: Path, shown: Sequence[Measure]) -> dict[str, Any]:
    inline = len(inputs.scans) <= INLINE
    return {
        "measures": [{"name": m.name, "short": "Overlap" if m.unit == "Dice" else m.name} for m in shown],
        "limit": OUTLIER_Z,
        "scans": [_scan(inputs, row, shown) | {"picture": _picture(thumbnails, row["thumbnail"], inline)}
                  for row in inputs.scans.to_dict("records")],
    }  # fmt: skip


def _scan(inputs: QcInputs, row: Mapping[Any, Any], shown: Iterable[Measure]) -> dict[str, Any]:
    age = "" if pd.isna(row["age_years"]) else f"{number(row['age_years'], 1)} years"
    person = [row["subject"], row["session"]] if row["subject"] != row["image"] else [row["session"]]
    facts = [*person, age, row["sex"], row["diagnosis"], row["site"] and f"site {row['site']}", row["phase"]]
    return {
        "image": row["image"],
        "cohort": row["cohort"],
        "split": row["split"],
        "diagnosis": row["diagnosis"],
        "age": None if pd.isna(row["age_years"]) else float(row["age_years"]),
        "facts": [str(fact) for fact in facts if fact],
        "why": row["why"],
        "outlier": bool(row["outlier"]),
        "z": round(float(row["largest_z"]), 2),
        "values": [None if pd.isna(row[m.column]) else float(row[m.column]) for m in shown],
        "shown": [_value(m, row[m.column]) for m in shown],
        "zs": [None if pd.isna(row[m.z]) else round(float(row[m.z]), 2) for m in shown],
        "exclude": _command("exclude", inputs, row["cohort"], row["image"]),
    }


def _picture(thumbnails: Path, name: str, inline: bool) -> str:
    if not name or not inline:
        return f"{THUMBNAILS}/{name}" if name else ""
    return "data:image/webp;base64," + base64.b64encode((thumbnails / name).read_bytes()).decode()


def _script(data: Mapping[str, Any]) -> str:
    """Return JSON that cannot end the script element that it stands in."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _resource(name: str) -> str:
    return (files("brainage_ray.report") / name).read_text(encoding="utf-8")
