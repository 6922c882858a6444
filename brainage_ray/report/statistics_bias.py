"""Tables of the correction for regression to the mean: its line, and raw beside corrected results."""

from __future__ import annotations

from dataclasses import asdict

import pandas as pd

from brainage_ray.evaluation.analysis import Analysis
from brainage_ray.evaluation.arm_analysis import Corrected
from brainage_ray.evaluation.deltas import GroupDelta
from brainage_ray.evaluation.metrics import MaeSummary
from brainage_ray.evaluation.summary import Summary
from brainage_ray.report.statistics_cells import because, by_arm, estimate, flat
from brainage_ray.report.table import Row, Table
from brainage_ray.report.text import NOTHING, mean_sd, number, p_mean_max

_METHODS = {"cole": "Cole (2018)", "de_lange": "de Lange and Cole (2020)"}
_NO_MAE = " It uses the chronological age, so that an error after it would flatter the model: none is given."


def _corrected(analysis: Analysis) -> list[tuple[str, Corrected]]:
    return [(arm.arm, arm.corrected) for arm in analysis.arms if arm.corrected is not None]


def bias_table(analysis: Analysis, summary: Summary) -> Table | str | None:
    """Make the table of the lines that correct the bias and, where it predicts an age, of the corrected MAE."""
    found = _corrected(analysis)
    if not found or all(one.correction.slope is None for _, one in found):
        return found[0][1].correction.reason if found else None
    predicts = any(one.mae for _, one in found)
    header = ("Arm", "Validation scans", "Slope", "Intercept, years") + (("MAE raw", "MAE corrected") * predicts)
    rows, numbers = [], []
    for arm, one in found:
        line, raw = one.correction, summary.arm(arm).mae
        cells = [str(line.n), number(line.slope, 3), number(line.intercept)]
        cells += [_mae(raw), _mae(one.mae)] if predicts else []
        rows.append(Row((arm, *cells), arm=arm))
        mae = {"mae_raw_years": raw.mean_years, "mae_corrected_years": one.mae.mean_years} if one.mae else {}
        numbers.append({"arm": arm, **asdict(line), **mae})
    method = found[0][1].correction.method
    corrected = (
        "brain age = slope \N{MULTIPLICATION SIGN} age + intercept is inverted"
        if method == "cole" else "delta = slope \N{MULTIPLICATION SIGN} age + intercept is subtracted"
    )  # fmt: skip
    notes = (
        f"After {_METHODS[method]}: the line {corrected}. It is fitted on healthy scans of the validation split "
        "alone, as the models of the chosen trial of the search read them, which were not fitted on them; never on the "
        f"test split.{'' if predicts else _NO_MAE}",
        *because(one.correction.reason for _, one in found),
    )
    return Table("bias", "Correction of the bias", header, tuple(rows), notes, pd.DataFrame(numbers))


def _mae(mae: MaeSummary | None) -> str:
    return mean_sd(mae.mean_years, mae.sd_years) if mae else NOTHING


def bias_deltas_table(analysis: Analysis, summary: Summary) -> Table | None:
    """Make the table of raw beside corrected deltas, or None where no arm is corrected."""
    found = [(arm, one) for arm, one in _corrected(analysis) if one.deltas]
    if not found:
        return None
    names = [group.diagnosis for group in found[0][1].deltas]
    header = ("Arm", *(f"{name} {what}" for name in names for what in ("raw", "corrected")))
    rows, numbers = [], []
    for arm, one in found:
        both = list(zip(summary.arm(arm).deltas, one.deltas, strict=True))
        cells = (mean_sd(group.mean_years, group.sd_years) for pair in both for group in pair)
        rows.append(Row((arm, *cells), arm=arm))
        numbers += [_raw_and_corrected(arm, raw, corrected) for raw, corrected in both]
    notes = (
        "Mean over people and seeds (sd between people).",
        *because(group.reason for _, one in found for group in one.deltas),
    )
    title = "Delta by diagnosis, raw and corrected for the bias, years"
    return Table("bias_delta", title, header, tuple(rows), notes, pd.DataFrame(numbers))


def _raw_and_corrected(arm: str, raw: GroupDelta, corrected: GroupDelta) -> dict[str, object]:
    return {
        "arm": arm,
        "diagnosis": raw.diagnosis,
        "n_scans": raw.n_scans,
        "raw_mean_years": raw.mean_years,
        "raw_sd_years": raw.sd_years,
        "corrected_mean_years": corrected.mean_years,
        "corrected_sd_years": corrected.sd_years,
    }


def bias_pairs_table(analysis: Analysis, summary: Summary, correction: str) -> Table | None:
    """Make the table of the pairs of diagnoses by raw and by corrected delta, or None where there are none."""
    found = [(arm, pair) for arm, one in _corrected(analysis) for pair in one.pairs]
    if all(pair.p_max is None for _, pair in found):
        return None
    rows, numbers = [], []
    for arm, pair in found:
        raw = summary.arm(arm).pair(pair.first, pair.second) or pair
        auc = [estimate(one.auc_mean, one.auc_interval) for one in (raw, pair)]
        p = [p_mean_max(one.p_adjusted_mean, one.p_adjusted_max) for one in (raw, pair)]
        rows.append((arm, (f"{pair.first} vs {pair.second}", *auc, *p)))
        seeds = summary.arm(arm).mae.seeds
        numbers.append({"arm": arm, "raw_auc_mean": raw.auc_mean, "raw_p_adjusted_mean": raw.p_adjusted_mean}
                       | flat(asdict(pair), seeds))  # fmt: skip
    over = "corrected by Holm over the pairs of an arm" if correction == "holm" else "not corrected over the pairs"
    notes = (
        "Raw and corrected refer to the bias. AUC: chance that a person of the second group has the larger delta, with "
        "Hanley and McNeil's interval. p: two-sided Mann-Whitney U for each seed, mean (largest) over the seeds, "
        f"{over}; a scan is the unit.",
        *because(pair.reason for _, pair in found),
    )
    header = ("Arm", "Pair", "AUC raw [95 % CI]", "AUC corrected [95 % CI]", "p raw", "p corrected")
    title = "Pairs of diagnoses, raw and corrected for the bias"
    return Table("bias_pairs", title, header, by_arm(rows), notes, pd.DataFrame(numbers), text_columns=2)
