"""The tables of results, in the layout of the paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from brainage_ray.evaluation.comparisons import PairComparison
from brainage_ray.evaluation.metrics import sample_sd
from brainage_ray.evaluation.summary import ArmSummary, Summary
from brainage_ray.report.inputs import ReportInputs, StudyReport
from brainage_ray.report.reference import Published, PublishedArm, Reference
from brainage_ray.report.statistics_cells import by_arm, grouped, signed
from brainage_ray.report.table import Row, Table
from brainage_ray.report.text import NOTHING, count, listed, mean_sd, number, p_mean_max

_PUBLISHED = {"MCI", "AD"}
"""The diagnoses that the publication compares."""


def validation_mae(study: StudyReport, window: int) -> tuple[float | None, float | None]:
    """Return the chosen settings' validation MAE and its standard deviation, years, over the fresh seeds or their own.

    Args:
        study: of one arm.
        window: epochs of the moving average that the search takes, search.smooth_epochs.
    """
    trial = study.judged
    if trial is None or trial.best_value is None:
        return None, None
    end = trial.best_epoch or 0
    seeds = trial.seed_values[max(0, end - window) : end]
    return trial.best_value, sample_sd(np.mean(seeds, axis=0)) if len(seeds) else None


def mae_table(inputs: ReportInputs, reference: Reference) -> Table:
    """Make Table 1: validation and test MAE by arm, the null model, the classical baseline, and the literature."""
    summary = inputs.summary
    arms = [arm.arm for arm in summary.arms]
    published = reference.beside(arms)
    columns = ("Published*", "Difference") if published else ()
    header = ("Arm", "Validation MAE", *columns, "Test MAE", *columns, "Worst seed", "Ensemble")
    rows = [Row(_mae_cells(inputs, arm, published.get(arm.arm)), arm=arm.arm) for arm in summary.arms]
    test = header.index("Test MAE")
    null = f"Null model: always {number(summary.null.age_years, 1)}"
    rows.append(Row(_aside(null, {test: number(summary.null.mae_years)}, header), aside=True))
    ridge = inputs.analysis.ridge
    if ridge:
        rows.append(Row(_aside("Ridge on tissue shares", {test: number(ridge.mae_years)}, header), aside=True))
    works, beside = reference.works(arms), test + 1 if published else test
    rows += [Row(_aside(f"{work}*", {beside: number(mae)}, header), aside=True) for work, mae in works]
    return Table(
        "mae", "Mean absolute error, years", header, tuple(rows), _mae_notes(inputs, reference),
        _mae_numbers(inputs, reference),
    )  # fmt: skip


def delta_table(summary: Summary, reference: Reference) -> Table:
    """Make Table 2: the delta by diagnosis, and whether it tells two groups apart."""
    groups = summary.arms[0].deltas
    header = ["Arm", *(grouped(group.diagnosis, group.n_scans) for group in groups)]
    shown = _shown_pair(summary.arms[0])
    if shown:
        header += [f"{shown.first} vs {shown.second}: p", "Corrected p", "AUC [95 % CI]"]
    pair_published = shown is not None and {shown.first, shown.second} == _PUBLISHED
    published = reference.beside(arm.arm for arm in summary.arms) if pair_published else {}
    header += ["Published p*", "Difference"] if published else []
    rows = []
    for arm in summary.arms:
        cells = [arm.arm, *(mean_sd(group.mean_years, group.sd_years, 1) for group in arm.deltas)]
        pair = arm.pair(shown.first, shown.second) if shown else None
        cells += _pair_cells(pair) if pair else ()
        if published:
            p = published[arm.arm].refit_test_p
            cells += [p_mean_max(p.mean, p.max), signed(_less(pair.p_mean if pair else None, p.mean), 3)]
        rows.append(Row(tuple(cells), arm=arm.arm))
    return Table(
        "delta", "Brain-age delta on the test split, years", tuple(header), tuple(rows),
        _delta_notes(summary, bool(published)), _delta_numbers(summary.arms, shown, published),
    )  # fmt: skip


def _shown_pair(arm: ArmSummary) -> PairComparison | None:
    """Return the pair that was published where the experiment compares it, else the last one."""
    return arm.pair("MCI", "AD") or arm.pair("AD", "MCI") or (arm.pairs[-1] if arm.pairs else None)


def pairs_table(summary: Summary) -> Table | None:
    """Make the table of all pairs of diagnoses, or None where there is no more than one pair."""
    if len(summary.arms[0].pairs) < 2:
        return None
    rows = [
        (arm.arm, (f"{pair.first} vs {pair.second}", *_pair_cells(pair), number(pair.rank_biserial_mean)))
        for arm in summary.arms
        for pair in arm.pairs
    ]
    numbers = pd.DataFrame([{"arm": arm.arm, **asdict(pair)} for arm in summary.arms for pair in arm.pairs])
    header = ("Arm", "Pair", "p", "Corrected p", "AUC [95 % CI]", "Rank-biserial")
    notes = ("AUC is the chance that a person of the second group has the larger delta; rank-biserial = 2 AUC "
             "\N{MINUS SIGN} 1.",)  # fmt: skip
    return Table("pairs", "Every pair of diagnoses", header, by_arm(rows), notes, numbers, text_columns=2)


def _mae_cells(inputs: ReportInputs, arm: ArmSummary, row: PublishedArm | None) -> tuple[str, ...]:
    study = inputs.studies.get(arm.arm)
    validation = validation_mae(study, inputs.experiment.search.smooth_epochs) if study else (None, None)
    test = (arm.mae.mean_years, arm.mae.sd_years)
    return (
        arm.arm,
        *_beside(validation, row.search_validation_mae if row else None),
        *_beside(test, row.refit_test_mae if row else None),
        number(arm.mae.max_years),
        number(arm.mae.ensemble_years),
    )


def _beside(ours: tuple[float | None, float | None], published: Published | None) -> tuple[str, ...]:
    """Write mean (sd), and the published one and the difference of the means where there is one."""
    if published is None:
        return (mean_sd(*ours),)
    return mean_sd(*ours), mean_sd(published.mean, published.sd), signed(_less(ours[0], published.mean))


def _less(ours: float | None, published: float) -> float | None:
    return None if ours is None else ours - published


def _mae_notes(inputs: ReportInputs, reference: Reference) -> tuple[str, ...]:
    summary = inputs.summary
    seeds = len(summary.arms[0].mae.seeds)
    notes = [
        f"Test: mean (sd) over {seeds} refitted models, {summary.null.n_scans} scans of "
        f"{listed(list(summary.mae_diagnoses))}; worst seed: the largest of their MAEs; ensemble: brain ages averaged "
        f"over the seeds. Validation: the settings that the search chose, mean (sd) over {_validation_seeds(inputs)}."
    ]
    notes += [f"{NOTHING} {arm.arm}: {arm.mae.reason}." for arm in summary.arms if arm.mae.reason]
    if ridge := inputs.analysis.ridge:
        notes.append(f"Ridge: the classical baseline, ridge regression on the shares of dark, grey and bright brain by "
                     f"height, fitted on the same {count(ridge.n_training, 'scan')} as the final models.")  # fmt: skip
        notes += [f"{NOTHING} Ridge: {ridge.reason}."] if ridge.reason else []
    note = (f"* Other data, not comparable row by row: {reference.citation} ({reference.data}), and the work that it "
            "quotes, each on people of its own.")  # fmt: skip
    published = reference.beside(arm.arm for arm in summary.arms)
    notes.append(f"{note} Difference: ours less theirs." if published else note)
    return tuple(notes)


def _validation_seeds(inputs: ReportInputs) -> str:
    search = inputs.experiment.search
    if search.finalists:
        return f"{search.finalist_seeds} fresh seeds"
    return "the trial's seeds where it has several"


def _mae_numbers(inputs: ReportInputs, reference: Reference) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    arms = [arm.arm for arm in inputs.summary.arms]
    published = reference.beside(arms)
    for arm in inputs.summary.arms:
        study = inputs.studies.get(arm.arm)
        mean, sd = validation_mae(study, inputs.experiment.search.smooth_epochs) if study else (None, None)
        validation = {"arm": arm.arm, "validation_mean_years": mean, "validation_sd_years": sd}
        seeds = zip(arm.mae.seeds, arm.mae.per_seed_years, strict=False)
        test = {f"test_{key}": value for key, value in asdict(arm.mae).items() if key.endswith("_years")}
        test.pop("test_per_seed_years")
        by_seed = {f"test_seed_{seed}_years": value for seed, value in seeds}
        rows.append(
            validation | test | by_seed | _published_numbers(published.get(arm.arm), (mean, arm.mae.mean_years))
        )
    rows.append({"arm": "null model", "test_mean_years": inputs.summary.null.mae_years})
    if ridge := inputs.analysis.ridge:
        rows.append({"arm": "ridge", "test_mean_years": ridge.mae_years})
    rows += [{"arm": work, "published_test_mean_years": mae} for work, mae in reference.works(arms)]
    return pd.DataFrame(rows)


def _published_numbers(row: PublishedArm | None, ours: tuple[float | None, float | None]) -> dict[str, float | None]:
    if row is None:
        return {}
    columns: dict[str, float | None] = {}
    both = (("validation", row.search_validation_mae), ("test", row.refit_test_mae))
    for (name, published), mean in zip(both, ours, strict=True):
        columns[f"published_{name}_mean_years"] = published.mean
        columns[f"{name}_difference_years"] = _less(mean, published.mean)
    return columns


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
    notes += ["* Other data, see Table 1. Difference: our mean p less theirs."] if published else []
    return tuple(notes)


def _delta_numbers(
    arms: Sequence[ArmSummary], shown: PairComparison | None, published: Mapping[str, PublishedArm]
) -> pd.DataFrame:
    """One row an arm and diagnosis; what belongs to the pair of diagnoses stands in each row of its arm."""
    rows = []
    for arm in arms:
        pair = arm.pair(shown.first, shown.second) if shown else None
        beside: dict[str, float | str | None] = {}
        if pair:
            beside = {"pair": f"{pair.first} vs {pair.second}", "p_mean": pair.p_mean, "p_max": pair.p_max}
        if published:
            p = published[arm.arm].refit_test_p
            difference = _less(pair.p_mean if pair else None, p.mean)
            beside |= {"published_p_mean": p.mean, "published_p_max": p.max, "p_difference": difference}
        rows += [{"arm": arm.arm, **asdict(group), **beside} for group in arm.deltas]
    return pd.DataFrame(rows)


def _aside(name: str, cells: Mapping[int, str], header: Sequence[str]) -> tuple[str, ...]:
    """Return a row with a name and some cells by their column, the others empty."""
    return (name, *(cells.get(i, "") for i in range(1, len(header))))
