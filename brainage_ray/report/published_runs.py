"""The paper's two tables from a file of per-run results, each number beside the published one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from jinja2 import BaseLoader, Environment, StrictUndefined

from brainage_ray.data.files import no_space
from brainage_ray.errors import ConfigError, MetadataError
from brainage_ray.evaluation.metrics import sample_sd
from brainage_ray.report.reference import Published, reference_for
from brainage_ray.report.run_results import ARMS, LEARNING_RATE, TRAIN_ONLY, VALIDATION_MAE, Run, read_runs
from brainage_ray.report.table import Row, Table
from brainage_ray.report.text import NOTHING, count, listed, number, setting

MARK = "\N{NOT EQUAL TO}"
DIGITS = 3
PUBLISHED = "Published"
NOTE = (
    "Mean \N{PLUS-MINUS SIGN} standard deviation (n \N{MINUS SIGN} 1) and largest over the repeats. Refitted: fitted "
    "on training and validation, last epoch; else fitted on training alone, the epoch that is best on validation. "
    "Learning rate and repeats: training alone; refitted, where they differ. "
    f"{MARK} is further from the published number than its {DIGITS} decimals."
)


@dataclass(frozen=True)
class Quantity:
    """One column of a table: the runs and the column of the file that it is made of."""

    key: str
    """As in published_tables.yaml and in the CSV."""
    title: str
    prefix: str
    """Of the group."""
    column: str


TABLES = {
    "mae": (
        "Mean absolute error, years",
        (
            Quantity("validation_mae", "Validation MAE", TRAIN_ONLY, VALIDATION_MAE),
            Quantity("test_mae", "Test MAE", TRAIN_ONLY, "besttest_ps_MAE"),
            Quantity("refit_test_mae", "Refitted test MAE", "", "lasttest_ps_MAE"),
        ),
    ),
    "p": (
        "p of MCI against AD, Mann-Whitney U on the brain-age delta",
        (
            Quantity("validation_p", "Validation p", TRAIN_ONLY, "val_mci_ad_pvalue"),
            Quantity("test_p", "Test p", TRAIN_ONLY, "test_mci_ad_pvalue"),
            Quantity("refit_test_p", "Refitted test p", "", "test_mci_ad_pvalue"),
        ),
    ),
}
"""Name of the files: title and columns. A model of training alone is the one that is best on validation; a refitted
one is its last epoch, since no validation is left to choose by."""


@dataclass(frozen=True)
class Cell:
    """One quantity of one arm, over the repeats."""

    arm: str
    quantity: Quantity
    values: tuple[float, ...]
    published: Published
    reason: str = ""
    """Why a number is missing."""

    @property
    def numbers(self) -> dict[str, float | None]:
        """Mean, sample standard deviation and largest; None where there is none."""
        mean = float(np.mean(self.values)) if self.values else None
        return {"mean": mean, "sd": sample_sd(self.values), "max": max(self.values, default=None)}

    @property
    def differences(self) -> dict[str, tuple[float, float]]:
        """Those that are further from the published ones than three decimals round: (ours, published)."""
        pairs = {name: (ours, getattr(self.published, name)) for name, ours in self.numbers.items()}
        known = {name: (a, b) for name, (a, b) in pairs.items() if a is not None and b is not None}
        return {name: (a, b) for name, (a, b) in known.items() if abs(a - b) > 0.5 * 10**-DIGITS + 1e-9}

    @property
    def text(self) -> str:
        """Mean, sd and largest, each with a mark where it differs."""
        if not self.values:
            return NOTHING
        shown = {k: number(v, DIGITS) + (f" {MARK}" if k in self.differences else "") for k, v in self.numbers.items()}
        return f"{shown['mean']} \N{PLUS-MINUS SIGN} {shown['sd']}, max {shown['max']}"

    @property
    def published_text(self) -> str:
        """What the paper prints."""
        p = self.published
        spread = "" if p.sd is None else f" \N{PLUS-MINUS SIGN} {number(p.sd, DIGITS)}"
        return number(p.mean, DIGITS) + spread + ("" if p.max is None else f", max {number(p.max, DIGITS)}")


def write_published_tables(runs: Path, out: Path) -> list[Path]:
    """Make the paper's two tables from the results of its runs.

    Args:
        runs: a CSV (UTF-8, commas), one row a run, with the columns Group, lasttest_ps_MAE, besttest_ps_MAE,
            test_mci_ad_pvalue and val_mci_ad_pvalue, MAE in years; learning_rate and bestval_ps_MAE (validation MAE)
            are read where they are there, other columns left alone.
        out: a folder; gets index.html, report.md, and mae and p as .csv and .tex.

    Returns:
        The paths of the files.

    Raises:
        MetadataError: the file is missing, empty or lacks a column; a group is unknown; a value is no number, not
            finite, outside of its range, or missing in some runs of a group.
        ConfigError: out is a file.
        NoSpaceError: the disk is full.
    """
    rows = read_runs(runs)
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out} is a file", "Name a folder for the tables.")
    published = _published()
    tables, cells = [], []
    for name, (title, quantities) in TABLES.items():
        by_arm = {arm: [_cell(arm, q, published[arm][q.key], rows, runs) for q in quantities] for arm in ARMS}
        tables.append(_table(name, title, by_arm, rows))
        cells += [cell for row in by_arm.values() for cell in row]
    content = {"runs": runs.name, "sentences": _sentences(rows, cells), "tables": tables, "differences": _differ(cells)}
    texts = {"index.html": _html(content), "report.md": _markdown(content)}
    for table in tables:
        texts |= {f"{table.name}.csv": table.to_csv(), f"{table.name}.tex": _tex(table)}
    with no_space(out):
        out.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (out / name).write_text(text, encoding="utf-8")
    return [out / name for name in texts]


def _published() -> dict[str, dict[str, Published]]:
    """Return the published numbers, by arm and quantity."""
    rest: Any = yaml.safe_load(_resource("published_tables.yaml"))["arms"]
    reference = reference_for(ARMS)
    if reference is None:
        raise RuntimeError("reference.yaml has other arms than run_results.ARMS")
    return {
        arm: {key: Published.model_validate(value) for key, value in rest[arm].items()}
        | {
            "validation_mae": row.search_validation_mae,
            "refit_test_mae": row.refit_test_mae,
            "refit_test_p": row.refit_test_p,
        }
        for arm, row in reference.arms.items()
    }


def _cell(arm: str, quantity: Quantity, published: Published, rows: Sequence[Run], path: Path) -> Cell:
    """Gather the repeats of one quantity; a value that only some of them lack is an error, not a smaller mean."""
    group, column = quantity.prefix + ARMS[arm], quantity.column
    runs = [run for run in rows if run.group == group]
    values = tuple(value for run in runs if (value := run.values.get(column)) is not None)
    if values and len(values) < len(runs):
        line = next(run.line for run in runs if run.values[column] is None)
        problem = f"{path}, line {line}: {column} is empty, but other runs of {group} have it"
        raise MetadataError(problem, "Fill it in or take the run out.")
    reason = "one repeat has no standard deviation" if len(values) == 1 else ""
    if not values:
        has = runs and column in runs[0].values
        reason = f"{column} is empty" if has else f"the file has no column {column}" if runs else f"no runs of {group}"
    return Cell(arm, quantity, values, published, reason)


def _table(name: str, title: str, by_arm: Mapping[str, Sequence[Cell]], rows: Sequence[Run]) -> Table:
    header = ["Arm", "Learning rate", "Repeats"]
    for cell in next(iter(by_arm.values())):
        header += [cell.quantity.title, PUBLISHED]
    body = [
        Row((arm, *_settings(arm, rows), *(text for cell in cells for text in (cell.text, cell.published_text))), arm)
        for arm, cells in by_arm.items()
    ]
    reasons = [cell for cells in by_arm.values() for cell in cells if cell.reason]
    numbers = pd.DataFrame([_numbers(arm, cells, rows) for arm, cells in by_arm.items()])
    return Table(name, title, tuple(header), tuple(body), (NOTE, *_whys(reasons)), numbers)


def _whys(cells: Sequence[Cell]) -> list[str]:
    """Say each reason once a quantity, with the arms whose numbers it keeps away."""
    arms: dict[tuple[str, str], list[str]] = {}
    for cell in cells:
        arms.setdefault((cell.quantity.title, cell.reason), []).append(cell.arm)
    return [
        f"{NOTHING} {title} of {'all arms' if len(names) == len(ARMS) else listed(names)}: {reason}."
        for (title, reason), names in arms.items()
    ]


def _settings(arm: str, rows: Sequence[Run]) -> tuple[str, str]:
    """Write learning rates and repeats: those on training alone, then the refitted ones where they differ."""
    rates, repeats = [], []
    for prefix in (TRAIN_ONLY, ""):
        runs = [run for run in rows if run.group == prefix + ARMS[arm]]
        known = {rate for run in runs if (rate := run.values.get(LEARNING_RATE)) is not None}
        rates.append(listed([setting(rate) for rate in sorted(known)]) or NOTHING)
        repeats.append(str(len(runs)))
    return tuple(f"{a}; {b}" if a != b else a for a, b in (rates, repeats))  # type: ignore[return-value]


def _numbers(arm: str, cells: Sequence[Cell], rows: Sequence[Run]) -> dict[str, str]:
    found = dict(zip(("arm", "learning_rate", "repeats"), (arm, *_settings(arm, rows)), strict=True))
    for cell in cells:
        key = cell.quantity.key
        for name, value in cell.numbers.items():
            found[f"{key}_{name}"] = _plain(value)
            if (published := getattr(cell.published, name)) is not None:
                found[f"{key}_{name}_published"] = _plain(published)
        found[f"{key}_differs"] = " ".join(cell.differences)
        found[f"{key}_reason"] = cell.reason
    return found


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:.{DIGITS}f}"


def _sentences(rows: Sequence[Run], cells: Sequence[Cell]) -> list[str]:
    compared = [
        name for cell in cells for name, value in cell.numbers.items()
        if value is not None and getattr(cell.published, name) is not None
    ]  # fmt: skip
    differ = sum(len(cell.differences) for cell in cells)
    groups = len({run.group for run in rows})
    if not compared:
        return [f"{count(len(rows), 'run')} of {count(groups, 'group')}; none of the published numbers can be checked."]
    return [
        f"{count(len(rows), 'run')} of {count(groups, 'group')} give {len(compared)} of the published numbers; "
        f"{len(compared) - differ} agree to {DIGITS} decimals, {differ} {'does' if differ == 1 else 'do'} not."
    ]


def _differ(cells: Sequence[Cell]) -> list[str]:
    return [
        f"{cell.arm}, {cell.quantity.title}: {name} {number(ours, DIGITS)}, published {number(theirs, DIGITS)}"
        for cell in cells
        for name, (ours, theirs) in cell.differences.items()
    ]


def _markdown(content: Mapping[str, Any]) -> str:
    parts = [f"# The paper's two tables, from {content['runs']}", *content["sentences"]]
    for table in content["tables"]:
        parts += [f"## {table.title}", table.to_markdown()]
    if content["differences"]:
        parts += ["## Where they differ", "\n".join(f"- {difference}" for difference in content["differences"])]
    return "\n\n".join(parts) + "\n"


def _tex(table: Table) -> str:
    return table.to_tex().replace(MARK, r"$\neq$").replace("\N{PLUS-MINUS SIGN}", r"$\pm$")


def _html(content: Mapping[str, Any]) -> str:
    environment = Environment(loader=BaseLoader(), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = environment.from_string(_resource("published_runs.html.j2"))
    return template.render(content, css=_resource("page.css"), mark=MARK, published=PUBLISHED)


def _resource(name: str) -> str:
    return (files("brainage_ray.report") / name).read_text(encoding="utf-8")
