"""Finished experiments side by side, as tables and as files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import BaseLoader, Environment, StrictUndefined

from brainage_ray.data.files import no_space
from brainage_ray.errors import ConfigError
from brainage_ray.evaluation.arms import ArmComparison
from brainage_ray.evaluation.comparisons import PairComparison
from brainage_ray.evaluation.metrics import MaeSummary
from brainage_ray.report.figure import PALETTE
from brainage_ray.report.leak_mark import MARK, leak_notes
from brainage_ray.report.table import Row, Table
from brainage_ray.report.text import NOTHING, count, listed, mean_sd, number, p_mean_max, p_value, setting

SHORT = 8
"""Letters of a data hash or a commit in the printed table; the CSV has all of them."""


@dataclass(frozen=True)
class ComparedArm:
    """One arm of one experiment."""

    experiment: str
    arm: str
    validation_mae_years: float
    mae: MaeSummary
    """On the test split."""
    pair: PairComparison | None
    """The two sickest diagnoses; None where the experiment compares none."""
    settings: Mapping[str, Any]
    """That the search chose, by dotted path."""
    epochs: int
    data_hash: str
    commits: tuple[str, ...]
    """That the final models were trained by."""
    leak: str = ""
    """A sentence, where the experiment's data leak as published."""


@dataclass(frozen=True)
class PairedArm:
    """An arm that two experiments have, on the test scans that both predicted."""

    arm: str
    n_scans: int
    comparison: ArmComparison
    """Its first and second are the experiments; its p_adjusted is Holm's over all rows of the table."""


@dataclass(frozen=True)
class Comparison:
    """Finished experiments side by side."""

    experiments: tuple[str, ...]
    arms: tuple[ComparedArm, ...]
    differences: Mapping[str, tuple[str | None, ...]]
    """Fields of the experiment files in which they differ, by dotted path: JSON, or None where there is no such field;
    one an experiment."""
    paired: tuple[PairedArm, ...]
    unpaired: tuple[str, ...]
    """Sentences: which two could not be compared scan by scan, and why."""

    @property
    def leaks(self) -> dict[str, str]:
        """A sentence by each experiment whose data leak as published."""
        return {arm.experiment: arm.leak for arm in self.arms if arm.leak}


def comparison_tables(comparison: Comparison) -> list[Table]:
    """Make the tables: results and settings by arm; the fields that differ; paired differences, where there are any."""
    tables = [_arms_table(comparison), _differences_table(comparison)]
    return [*tables, _paired_table(comparison)] if comparison.paired else tables


def write_comparison(comparison: Comparison, out: Path) -> Path:
    """Write a page, the same as Markdown, and each table as CSV.

    Args:
        comparison: what to write.
        out: a folder; gets index.html, report.md and tables/*.csv.

    Returns:
        The path of the page.

    Raises:
        ConfigError: out is a file.
        NoSpaceError: the disk is full.
    """
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out} is a file", "Name a folder for the comparison.")
    tables = comparison_tables(comparison)
    page = out / "index.html"
    with no_space(out):
        (out / "tables").mkdir(parents=True, exist_ok=True)
        for table in tables:
            (out / "tables" / f"{table.name}.csv").write_text(table.to_csv(), encoding="utf-8")
        (out / "report.md").write_text(_markdown(comparison, tables), encoding="utf-8")
        page.write_text(_html(comparison, tables), encoding="utf-8")
    return page


def _arms_table(comparison: Comparison) -> Table:
    header = ("Experiment", "Arm", "Validation MAE", "Test MAE", "Scans", "Pair", "p", "AUC [95 % CI]",
              "Chosen settings", "Data", "Commit")  # fmt: skip
    rows = [Row(_arm_cells(arm), arm=arm.arm) for arm in comparison.arms]
    notes = [
        "MAE in years. Test: mean (sd) over the seeds, on the scans that count for the MAE. p: two-sided Mann-Whitney "
        "U for each seed between the pair of diagnoses, mean (largest) over the seeds; AUC: mean over the seeds."
    ]
    notes += [f"{NOTHING} {arm.experiment}, {arm.arm}: {why}." for arm in comparison.arms for why in _reasons(arm)]
    numbers = pd.DataFrame([_arm_numbers(arm) for arm in comparison.arms])
    notes += leak_notes(comparison.leaks)
    return Table("arms", "Experiments and their arms", header, tuple(rows), tuple(notes), numbers, text_columns=2)


def _arm_cells(arm: ComparedArm) -> tuple[str, ...]:
    pair = arm.pair
    return (
        arm.experiment + (f" {MARK}" if arm.leak else ""),
        arm.arm,
        number(arm.validation_mae_years),
        mean_sd(arm.mae.mean_years, arm.mae.sd_years),
        str(arm.mae.n_scans),
        f"{pair.first} vs {pair.second}" if pair else NOTHING,
        p_mean_max(pair.p_mean, pair.p_max) if pair else NOTHING,
        number(pair.auc_mean) + _interval(pair.auc_interval) if pair else NOTHING,
        ", ".join([*(f"{path.split('.')[-1]} {setting(v)}" for path, v in arm.settings.items()),
                   count(arm.epochs, "epoch")]),
        arm.data_hash[:SHORT],
        listed([_short(commit) for commit in arm.commits]) or NOTHING,
    )  # fmt: skip


def _short(commit: str) -> str:
    name, dash, dirty = commit.partition("-")
    return name[:SHORT] + dash + dirty


def _reasons(arm: ComparedArm) -> list[str]:
    return [reason for reason in (arm.mae.reason, arm.pair.reason if arm.pair else "") if reason]


def _arm_numbers(arm: ComparedArm) -> dict[str, Any]:
    """Return a row of the CSV: what has a value a seed stays in results.json."""
    pair = {} if arm.pair is None else asdict(arm.pair)
    low, high = pair.get("auc_interval") or (None, None)
    return {
        "experiment": arm.experiment,
        "arm": arm.arm,
        "validation_mae_years": arm.validation_mae_years,
        "test_mae_mean_years": arm.mae.mean_years,
        "test_mae_sd_years": arm.mae.sd_years,
        "seeds": len(arm.mae.seeds),
        "test_scans": arm.mae.n_scans,
        **{name: pair.get(name) for name in ("first", "second", "p_mean", "p_max", "auc_mean")},
        "auc_low": low,
        "auc_high": high,
        "data_hash": arm.data_hash,
        "commit": " ".join(arm.commits),
        "leak": arm.leak,
        "epochs": arm.epochs,
        **arm.settings,
    }


def _differences_table(comparison: Comparison) -> Table:
    rows = [
        Row((path, *(NOTHING if value is None else value for value in values)))
        for path, values in comparison.differences.items()
    ]
    missing = any(None in values for values in comparison.differences.values())
    note = "The rest of the experiment files is alike, but for name and description."
    notes = (f"{NOTHING} has no such field. {note}" if missing else note,)
    header = ("Field", *comparison.experiments)
    return Table("settings", "Fields in which the experiments differ", header, tuple(rows), notes)


def _paired_table(comparison: Comparison) -> Table:
    header = ("First", "Second", "Arm", "Scans", "Persons", "Difference [95 % CI]", "p", "Corrected p")
    rows, numbers = [], []
    for paired in comparison.paired:
        found = paired.comparison
        difference = number(found.difference_years) + _interval(found.interval)
        counts = (str(paired.n_scans), str(found.n_persons))
        cells = (
            *(name + (f" {MARK}" if name in comparison.leaks else "") for name in (found.first, found.second)),
            paired.arm,
            *counts,
            difference,
            p_value(found.p),
            p_value(found.p_adjusted),
        )
        rows.append(Row(cells, arm=paired.arm))
        numbers.append({"arm": paired.arm, "n_scans": paired.n_scans, **asdict(found)})
    notes = [
        "Test MAE of the first less that of the second, years, on the same scans: below 0 the first is better. "
        "Interval and p over persons and seeds; corrected: Holm over the rows."
    ]
    notes += [
        f"{NOTHING} {p.comparison.first} and {p.comparison.second}, {p.arm}: {p.comparison.reason}."
        for p in comparison.paired
        if p.comparison.reason
    ]
    notes += leak_notes(comparison.leaks)
    title = "Arms of the same name on the same test scans"
    return Table("paired", title, header, tuple(rows), tuple(notes), pd.DataFrame(numbers), text_columns=3)


def _interval(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f" [{number(interval[0])}, {number(interval[1])}]"


def _markdown(comparison: Comparison, tables: Sequence[Table]) -> str:
    parts = [f"# {listed(comparison.experiments)}"]
    for table in tables:
        parts += [f"## {table.title}", table.to_markdown() if table.rows else "\n\n".join(table.notes)]
    return "\n\n".join([*parts, *comparison.unpaired]) + "\n"


def _html(comparison: Comparison, tables: Sequence[Table]) -> str:
    environment = Environment(loader=BaseLoader(), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    folder = files("brainage_ray.report")
    template = environment.from_string((folder / "comparison.html.j2").read_text(encoding="utf-8"))
    names = dict.fromkeys(arm.arm for arm in comparison.arms)
    colours = {arm: f"arm{i % len(PALETTE)}" for i, arm in enumerate(names)}
    css = (folder / "page.css").read_text(encoding="utf-8")
    return template.render(
        experiments=comparison.experiments, tables=tables, unpaired=comparison.unpaired, arm_names=colours, css=css
    )
