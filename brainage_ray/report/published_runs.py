"""The paper's two tables from a file of per-run results, each number beside the published one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import BaseLoader, Environment, StrictUndefined

from brainage_ray.data.files import no_space
from brainage_ray.errors import ConfigError
from brainage_ray.report.published_cells import DIGITS, MARK, TABLES, Cell, make_cell, published_numbers
from brainage_ray.report.run_results import ARMS, LEARNING_RATE, TRAIN_ONLY, Run, read_runs
from brainage_ray.report.table import Row, Table
from brainage_ray.report.text import NOTHING, count, listed, number, setting

PUBLISHED = "Published"
NOTE = (
    "Mean \N{PLUS-MINUS SIGN} standard deviation (n \N{MINUS SIGN} 1) and largest over the repeats. Refitted: fitted "
    "on training and validation, last epoch; else fitted on training alone, the epoch that is best on validation. "
    "Learning rate and repeats: training alone; refitted, where they differ. "
    f"{MARK} is further from the published number than its {DIGITS} decimals."
)


@dataclass(frozen=True)
class Difference:
    """A number that is not the published one."""

    arm: str
    quantity: str
    """Title of the column."""
    statistic: str
    """mean, sd or max."""
    ours: str
    published: str

    def __str__(self) -> str:
        """Write it as a sentence without its end."""
        return f"{self.arm}, {self.quantity}: {self.statistic} {self.ours}, published {self.published}"


@dataclass(frozen=True)
class PublishedTables:
    """What was written, and what it says."""

    files: tuple[Path, ...]
    """The page first."""
    sentence: str
    differences: tuple[Difference, ...]


def write_published_tables(runs: Path, out: Path) -> PublishedTables:
    """Make the paper's two tables from the results of its runs.

    Args:
        runs: a CSV (UTF-8, commas), one row a run, with the columns Group, lasttest_ps_MAE, besttest_ps_MAE,
            test_mci_ad_pvalue and val_mci_ad_pvalue, MAE in years; learning_rate and bestval_ps_MAE (validation MAE)
            are read where they are there, other columns left alone.
        out: a folder; gets index.html, report.md, and mae and p as .csv and .tex.

    Raises:
        MetadataError: the file is missing, empty or lacks a column; a group is unknown; a value is no number, not
            finite, outside of its range, or missing in some runs of a group.
        ConfigError: out is a file.
        NoSpaceError: the disk is full.
    """
    rows = read_runs(runs)
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out} is a file", "Name a folder for the tables.")
    published = published_numbers()
    tables, cells = [], []
    for name, (title, quantities) in TABLES.items():
        by_arm = {arm: [make_cell(arm, q, published[arm][q.key], rows, runs) for q in quantities] for arm in ARMS}
        tables.append(_table(name, title, by_arm, rows))
        cells += [cell for row in by_arm.values() for cell in row]
    sentence, differences = _sentence(rows, cells), _differ(cells)
    content = {"runs": runs.name, "sentence": sentence, "tables": tables, "differences": differences}
    texts = {"index.html": _html(content), "report.md": _markdown(content)}
    for table in tables:
        texts |= {f"{table.name}.csv": table.to_csv(), f"{table.name}.tex": _tex(table)}
    with no_space(out):
        out.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (out / name).write_text(text, encoding="utf-8")
    return PublishedTables(tuple(out / name for name in texts), sentence, differences)


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


def _sentence(rows: Sequence[Run], cells: Sequence[Cell]) -> str:
    compared = [
        name for cell in cells for name, value in cell.numbers.items()
        if value is not None and getattr(cell.published, name) is not None
    ]  # fmt: skip
    differ = sum(len(cell.differences) for cell in cells)
    agree = len(compared) - differ
    begin = f"{count(len(rows), 'run')} of {count(len({run.group for run in rows}), 'group')}"
    if not compared:
        return f"{begin}; none of the published numbers can be checked."
    return (
        f"{begin} give {len(compared)} of the published numbers; {agree} {'agrees' if agree == 1 else 'agree'} to "
        f"{DIGITS} decimals, {differ} {'does' if differ == 1 else 'do'} not."
    )


def _differ(cells: Sequence[Cell]) -> tuple[Difference, ...]:
    return tuple(
        Difference(cell.arm, cell.quantity.title, name, number(ours, DIGITS), number(theirs, DIGITS))
        for cell in cells
        for name, (ours, theirs) in cell.differences.items()
    )


def _markdown(content: Mapping[str, Any]) -> str:
    parts = [f"# The paper's two tables, from {content['runs']}", content["sentence"]]
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
