"""The cells of the paper's two tables: repeats of one quantity of one arm, beside the published numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from brainage_ray.errors import MetadataError
from brainage_ray.evaluation.metrics import sample_sd
from brainage_ray.report.reference import Published, read_reference
from brainage_ray.report.run_results import ARMS, TRAIN_ONLY, VALIDATION_MAE, Run
from brainage_ray.report.text import NOTHING, number

MARK = "\N{NOT EQUAL TO}"
DIGITS = 3


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


def published_numbers() -> dict[str, dict[str, Published]]:
    """Return the published numbers, by arm and quantity."""
    rest: Any = yaml.safe_load((files("brainage_ray.report") / "published_tables.yaml").read_text(encoding="utf-8"))[
        "arms"
    ]
    arms = read_reference().beside(ARMS)
    if not arms:
        raise RuntimeError("reference.yaml has other arms than run_results.ARMS")
    return {
        arm: {key: Published.model_validate(value) for key, value in rest[arm].items()}
        | {
            "validation_mae": row.search_validation_mae,
            "refit_test_mae": row.refit_test_mae,
            "refit_test_p": row.refit_test_p,
        }
        for arm, row in arms.items()
    }


def make_cell(arm: str, quantity: Quantity, published: Published, rows: Sequence[Run], path: Path) -> Cell:
    """Gather the repeats of one quantity.

    Raises:
        MetadataError: only some of the runs have a value, whose mean would be of fewer repeats.
    """
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
