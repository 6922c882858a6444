"""The tables of results, in the layout of the paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import pandas as pd

from brainage_ray.evaluation.comparisons import PairComparison
from brainage_ray.evaluation.metrics import sample_sd
from brainage_ray.evaluation.summary import ArmSummary, Summary
from brainage_ray.report.inputs import ReportInputs, StudyReport
from brainage_ray.report.reference import Reference
from brainage_ray.report.table import Row, Table
from brainage_ray.report.text import NOTHING, listed, mean_sd, number, p_mean_max

_PUBLISHED = {"MCI", "AD"}
"""The diagnoses that the publication compares."""


def validation_mae(study: StudyReport, window: int) -> tuple[float | None, float | None]:
    """Return the chosen trial's validation MAE, and its standard deviation over the trial's seeds, years.

    Args:
        study: of one arm.
        window: epochs of the moving average that the search takes, search.smooth_epochs.
    """
    trial = study.selected
    if trial is None or trial.best_value is None:
        return None, None
    end = trial.best_epoch or 0
    seeds = trial.seed_values[max(0, end - window) : end]
    return trial.best_value, sample_sd(np.mean(seeds, axis=0)) if len(seeds) else None


def mae_table(inputs: ReportInputs, reference: Reference | None) -> Table:
    """Make Table 1: validation and test MAE by arm, the null model, and published rows where they belong."""
    summary = inputs.summary
    header = ("Arm", "Validation MAE", "Test MAE", "Worst seed", "Ensemble")
    published = ("Published validation*", "Published test*") if reference else ()
    rows = [Row(_mae_cells(inputs, arm, reference), arm=arm.arm) for arm in summary.arms]
    null = (f"Null model: always {number(summary.null.age_years, 1)}", "", number(summary.null.mae_years))
    rows.append(Row(_pad(null, len(header) + len(published)), aside=True))
    if reference:
        works = sorted(reference.literature_test_mae.items(), key=lambda item: item[1])
        rows += [Row((f"{work}*", *[""] * 5, number(mae)), aside=True) for work, mae in works]
    return Table(
        "mae", "Mean absolute error, years", header + published, tuple(rows), _mae_notes(inputs, reference),
        _mae_numbers(inputs),
    )  # fmt: skip


def delta_table(summary: Summary, reference: Reference | None) -> Table:
    """Make Table 2: the delta by diagnosis, and whether it tells two groups apart."""
    groups = summary.arms[0].deltas
    header = ["Arm", *(f"{group.diagnosis} (n = {group.n_scans})" for group in groups)]
    shown = _shown_pair(summary.arms[0])
    if shown:
        header += [f"{shown.first} vs {shown.second}: p", "Corrected p", "AUC [95 % CI]"]
    published = reference.arms if reference and shown and {shown.first, shown.second} == _PUBLISHED else None
    header += ["Published p*"] if published else []
    rows = []
    for arm in summary.arms:
        cells = [arm.arm, *(mean_sd(group.mean_years, group.sd_years, 1) for group in arm.deltas)]
        pair = arm.pair(shown.first, shown.second) if shown else None
        cells += _pair_cells(pair) if pair else ()
        if published:
            p = published[arm.arm].refit_test_p
            cells.append(p_mean_max(p.mean, p.max))
        rows.append(Row(tuple(cells), arm=arm.arm))
    return Table(
        "delta", "Brain-age delta on the test split, years", tuple(header), tuple(rows),
        _delta_notes(summary, published is not None), _delta_numbers(summary.arms),
    )  # fmt: skip


def _shown_pair(arm: ArmSummary) -> PairComparison | None:
    """Return the pair that was published where the experiment compares it, else the last one."""
    return arm.pair("MCI", "AD") or arm.pair("AD", "MCI") or (arm.pairs[-1] if arm.pairs else None)


def pairs_table(summary: Summary) -> Table | None:
    """Make the table of all pairs of diagnoses, or None where there is no more than one pair."""
    if len(summary.arms[0].pairs) < 2:
        return None
    rows = [
        Row((arm.arm, f"{pair.first} vs {pair.second}", *_pair_cells(pair), number(pair.rank_biserial_mean)), arm.arm)
        for arm in summary.arms
        for pair in arm.pairs
    ]
    numbers = pd.DataFrame([{"arm": arm.arm, **asdict(pair)} for arm in summary.arms for pair in arm.pairs])
    header = ("Arm", "Pair", "p", "Corrected p", "AUC [95 % CI]", "Rank-biserial")
    notes = ("AUC is the chance that a person of the second group has the larger delta; rank-biserial = 2 AUC "
             "\N{MINUS SIGN} 1.",)  # fmt: skip
    return Table("pairs", "Every pair of diagnoses", header, tuple(rows), notes, numbers, text_columns=2)


def _mae_cells(inputs: ReportInputs, arm: ArmSummary, reference: Reference | None) -> tuple[str, ...]:
    study = inputs.studies.get(arm.arm)
    validation = mean_sd(*validation_mae(study, inputs.experiment.search.smooth_epochs)) if study else NOTHING
    test = mean_sd(arm.mae.mean_years, arm.mae.sd_years)
    cells = (arm.arm, validation, test, number(arm.mae.max_years), number(arm.mae.ensemble_years))
    if reference is None:
        return cells
    row = reference.arms[arm.arm]
    both = (row.search_validation_mae, row.refit_test_mae)
    return (*cells, *(mean_sd(published.mean, published.sd) for published in both))


def _mae_notes(inputs: ReportInputs, reference: Reference | None) -> tuple[str, ...]:
    summary = inputs.summary
    seeds = len(summary.arms[0].mae.seeds)
    notes = [
        f"Test: mean (sd) over {seeds} refitted models, {summary.null.n_scans} scans of "
        f"{listed(list(summary.mae_diagnoses))}; worst seed: the largest of their MAEs; ensemble: brain ages averaged "
        "over the seeds. Validation: the trial that the search chose, mean (sd) over its seeds where it has several."
    ]
    notes += [f"{NOTHING} {arm.arm}: {arm.mae.reason}." for arm in summary.arms if arm.mae.reason]
    if reference:
        notes.append(f"* Other data, not comparable row by row: {reference.citation} ({reference.data}).")
    return tuple(notes)


def _mae_numbers(inputs: ReportInputs) -> pd.DataFrame:
    rows = []
    for arm in inputs.summary.arms:
        study = inputs.studies.get(arm.arm)
        mean, sd = validation_mae(study, inputs.experiment.search.smooth_epochs) if study else (None, None)
        validation = {"arm": arm.arm, "validation_mean_years": mean, "validation_sd_years": sd}
        seeds = zip(arm.mae.seeds, arm.mae.per_seed_years, strict=False)
        test = {f"test_{key}": value for key, value in asdict(arm.mae).items() if key.endswith("_years")}
        test.pop("test_per_seed_years")
        rows.append(validation | test | {f"test_seed_{seed}_years": value for seed, value in seeds})
    rows.append({"arm": "null model", "test_mean_years": inputs.summary.null.mae_years})
    return pd.DataFrame(rows)


def _pair_cells(pair: PairComparison) -> tuple[str, str, str]:
    if pair.auc_interval is None:
        auc = number(pair.auc_mean)
    else:
        low, high = pair.auc_interval
        auc = f"{number(pair.auc_mean)} [{number(low)}, {number(high)}]"
    adjusted = p_mean_max(pair.p_adjusted_mean, pair.p_adjusted_max)
    return p_mean_max(pair.p_mean, pair.p_max), adjusted, auc


def _delta_notes(summary: Summary, published: bool) -> tuple[str, ...]:
    notes = ["Delta: mean over people and seeds (sd between people)."]
    if summary.arms[0].pairs:
        notes[0] += " p: two-sided Mann-Whitney U for each seed, mean (largest) over the seeds."
    arm = summary.arms[0]
    reasons = [group.reason for group in arm.deltas] + [pair.reason for pair in arm.pairs]
    why = list(dict.fromkeys(reason for reason in reasons if reason))
    notes += [f"{NOTHING} {listed(why)}."] if why else []
    notes += ["* Other data, see Table 1."] if published else []
    return tuple(notes)


def _delta_numbers(arms: Sequence[ArmSummary]) -> pd.DataFrame:
    return pd.DataFrame([{"arm": arm.arm, **asdict(group)} for arm in arms for group in arm.deltas])


def _pad(cells: tuple[str, ...], width: int) -> tuple[str, ...]:
    return cells + ("",) * (width - len(cells))
