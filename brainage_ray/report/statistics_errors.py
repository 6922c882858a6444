"""Tables of how large the errors are: by arm, between arms, by what arms are made of, and by kind of people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import pandas as pd

from brainage_ray.evaluation.analysis import Analysis
from brainage_ray.evaluation.biomarker import BiomarkerCorrelation
from brainage_ray.evaluation.regression import RegressionSummary
from brainage_ray.evaluation.shift import GroupShift, Shift
from brainage_ray.report.statistics_cells import MINUS, because, by_arm, estimate, flat, interval
from brainage_ray.report.table import Row, Table
from brainage_ray.report.text import NOTHING, count, listed, mean_sd, number, p_value

_PLURALS = {"site": "sites", "sex": "sexes", "age decade": "age decades"}
_LINE = ("rmse_years", "r", "r2", "slope", "intercept_years")


def regression_table(analysis: Analysis, diagnoses: Sequence[str]) -> Table | None:
    """Make the table of RMSE, r, R2 and slope, or None where no scan counts.

    Args:
        analysis: of the experiment.
        diagnoses: whose scans count.
    """
    results = [(arm.arm, arm.regression) for arm in analysis.arms]
    first = results[0][1]
    if not first.n_scans:
        return None
    several = max(len(result.seeds) for _, result in results) > 1
    names = ("RMSE, years", "r", "R\N{SUPERSCRIPT TWO}")
    header = ("Arm", *(h for name in names for h in ((name, "Ensemble") if several else (name,))), "Slope")
    rows = tuple(Row((arm, *_regression_cells(result, several)), arm=arm) for arm, result in results)
    models = (
        "Mean (sd) over the models of the seeds; ensemble: of the brain ages averaged over them, its slope is the mean."
        if several else "One model an arm."
    )  # fmt: skip
    notes = (
        f"{models} {count(first.n_scans, 'scan')} of {listed(list(diagnoses))}. R\N{SUPERSCRIPT TWO} = 1 {MINUS} SSE / "
        "SST of the brain ages as they are. Slope: years of brain age a year of age by least squares, 1 is perfect and "
        "less is regression towards the mean.",
        *because(getattr(r, k).reason for _, r in results for k in _LINE if getattr(r, k).ensemble is None),
    )
    numbers = pd.DataFrame([{"arm": arm, **_regression_numbers(result)} for arm, result in results])
    return Table("regression", "Brain age against chronological age", header, rows, notes, numbers)


def _regression_cells(result: RegressionSummary, several: bool) -> tuple[str, ...]:
    cells: list[str] = []
    for one in (result.rmse_years, result.r, result.r2):
        cells += [mean_sd(one.mean, one.sd), number(one.ensemble)] if several else [number(one.mean)]
    return (*cells, mean_sd(result.slope.mean, result.slope.sd))


def _regression_numbers(result: RegressionSummary) -> dict[str, object]:
    columns: dict[str, object] = {"n_scans": result.n_scans}
    for key in _LINE:
        record = flat(asdict(getattr(result, key)), result.seeds)
        columns |= {name.replace("per_seed", key) if "per_seed" in name else f"{key}_{name}": value
                    for name, value in record.items()}  # fmt: skip
    return columns


def comparisons_table(analysis: Analysis) -> Table | str | None:
    """Make the table of every pair of arms; the reason where no pair could be tested, None for one arm."""
    pairs = analysis.comparisons
    if not pairs or all(pair.p is None for pair in pairs):
        return pairs[0].reason if pairs else None
    rows = []
    for pair in pairs:
        p = (p_value(pair.p), p_value(pair.p_adjusted))
        rows.append((pair.first, (pair.second, estimate(pair.difference_years, pair.interval), *p)))
    notes = (
        f"Difference: test MAE of the first arm less that of the second, below 0 the first is better; "
        f"{count(pairs[0].n_persons, 'person', 'people')}, each in both arms. Interval and p (two-sided): Student's t "
        "with the variance of a bootstrap that draws people and, within each arm, seeds. Corrected p: Holm over all "
        "pairs of arms.",
        *because(pair.reason for pair in pairs),
    )
    header = ("First arm", "Second arm", "Difference [95 % CI], years", "p", "Corrected p")
    numbers = pd.DataFrame([flat(asdict(pair)) for pair in pairs])
    return Table("arms", "Every pair of arms", header, by_arm(rows), notes, numbers, text_columns=2)


def pretraining_table(analysis: Analysis) -> Table | str | None:
    """Make the table of what backbone and pre-training add to the error; else the reason, or None for one arm."""
    result = analysis.pretraining
    if result is None or result.n_arms < 2:
        return None
    if all(effect.p is None for effect in result.effects):
        return next((effect.reason for effect in result.effects if effect.years is not None), result.reason)
    rows = []
    for effect in result.effects:
        what = effect.level if effect.factor == "backbone" else f"with {MINUS} without ({effect.level})"
        what = f"{what}; {effect.note}" if effect.note else what
        rows.append(Row((effect.factor, what, estimate(effect.years, effect.interval), p_value(effect.p))))
    notes = (
        f"Change of the MAE, the other factors being equal; below 0 it helps. Mixed model of the absolute error of "
        f"{count(result.n_persons, 'person', 'people')} in {count(result.n_arms, 'arm')} with a random intercept a "
        "person (REML); intervals and p (two-sided, not corrected) allow for people and seeds. "
        f"Standard deviation between people {number(result.person_sd_years)}, within "
        f"{number(result.residual_sd_years)} years.",
        *because(f"{effect.factor}: {effect.reason}" for effect in result.effects if effect.reason),
    )
    header = ("Factor", "Compared", "Change of MAE [95 % CI], years", "p")
    numbers = pd.DataFrame([flat(asdict(effect)) for effect in result.effects])
    return Table(
        "pretraining", "What backbone and pre-training add to the error", header, tuple(rows), notes, numbers, 2
    )


def biomarker_table(analysis: Analysis) -> Table | str | None:
    """Make the table of the arms' MAE beside their separation; else the reason, or None for one arm or diagnosis."""
    found = analysis.biomarker
    if found is None or len(found.arms) < 2:
        return None
    if found.spearman is None:
        return found.reason
    order = sorted(zip(found.mae_years, found.auc, found.arms, strict=True))
    rows = [Row((arm, number(mae, 3), number(auc, 3)), arm=arm) for mae, auc, arm in order]
    spearman = estimate(found.spearman, found.spearman_interval)
    rows.append(Row(("Spearman's rho [95 % CI]", "", spearman), aside=True))
    rows.append(Row(("Kendall's tau [95 % CI]", "", estimate(found.kendall, found.kendall_interval)), aside=True))
    notes = (
        f"From the smallest error to the largest. AUC: chance that a person with {found.second} has a larger delta "
        f"than one with {found.first}, mean over the seeds. Rank correlations over {len(found.arms)} arms, "
        f"{MINUS}1 where the smaller error always separates better; intervals: percentiles of a bootstrap over "
        f"people, arms and seeds as they are. Kendall's p, two-sided: {p_value(found.kendall_p)}.",
        *because([found.reason]),
    )
    table = pd.DataFrame({"arm": found.arms, "mae_years": found.mae_years, "auc": found.auc})
    whole = {key: value for key, value in flat(asdict(found)).items() if key not in ("first", "second", "reason")}
    numbers = pd.concat([table, pd.DataFrame([{"arm": "all arms", **whole}])], ignore_index=True)
    header = ("Arm", "Test MAE, years", f"AUC, {found.first} vs {found.second}")
    return Table("biomarker", "Error and separation", header, tuple(rows), notes, numbers)


def biomarker_answer(found: BiomarkerCorrelation) -> str:
    """Say in words whether arms with the smaller error separate better."""
    if found.spearman is None or found.spearman_interval is None:
        return f"That cannot be told: {found.reason}."
    low, high = found.spearman_interval
    what = "MAE and AUC over the arms are "
    if low <= 0 <= high:
        what += "not seen to go together"
    else:
        what += "related: the smaller the error, the " + ("better" if high < 0 else "worse") + " the separation"
    return f"{what} (Spearman's rho {number(found.spearman)}, {interval(found.spearman_interval)})."


def shift_tests_table(analysis: Analysis) -> Table | None:
    """Make the table of the tests by factor, or None where no factor has two groups to compare."""
    factors = [i for i, shift in enumerate(analysis.arms[0].shift) if shift.mae_test.p is not None]
    if not factors:
        return None
    names = [analysis.arms[0].shift[i].factor.capitalize() for i in factors]
    header = ("Arm", *(f"{name}: {what}" for name in names for what in ("p of MAE", "p of delta")))
    rows, numbers = [], []
    for arm in analysis.arms:
        tests = [(arm.shift[i], what) for i in factors for what in ("mae", "delta")]
        rows.append(Row((arm.arm, *(p_value(getattr(s, f"{what}_test").p) for s, what in tests)), arm=arm.arm))
        numbers += [{"arm": arm.arm, "factor": s.factor, "of": what, **_test_numbers(s, what)} for s, what in tests]
    notes = (
        "Is the mean the same in all groups of five people or more? Labels permuted over people, one value a person, "
        "the statistic is the share of variance between the groups; not corrected. Small p: the error, or the sign of "
        "it, depends on that factor.",
        *because(s.mae_test.reason for arm in analysis.arms for s in (arm.shift[i] for i in factors)),
    )
    return Table(
        "shift_tests", "Do errors depend on the kind of people?", header, tuple(rows), notes, pd.DataFrame(numbers)
    )


def _test_numbers(shift: Shift, what: str) -> dict[str, object]:
    record = asdict(shift.mae_test if what == "mae" else shift.delta_test)
    return record | {"groups": " ".join(record["groups"])}


def shift_tables(analysis: Analysis) -> tuple[Table, ...]:
    """Make one table a factor of MAE and mean delta by group; none for a factor with one group."""
    return tuple(_shift_table(analysis, i) for i, shift in enumerate(analysis.arms[0].shift) if len(shift.groups) > 1)


def _shift_table(analysis: Analysis, i: int) -> Table:
    found = [(arm.arm, group) for arm in analysis.arms for group in arm.shift[i].groups]
    factor = analysis.arms[0].shift[i].factor
    notes = (
        "Mean over the seeds; intervals: bias-corrected and accelerated bootstrap over people.",
        *because(group.reason for _, group in found),
    )
    header = ("Arm", factor.capitalize(), "People", "Scans", "MAE [95 % CI], years", "Mean delta [95 % CI], years")
    numbers = pd.DataFrame([
        {"arm": arm, factor.replace(" ", "_"): group.group, **flat(asdict(group))} for arm, group in found
    ]).drop(columns="group")  # fmt: skip
    title, name = f"Errors by {factor}", f"shift_{factor.replace(' ', '_')}"
    return Table(name, title, header, by_arm([(a, _shift_cells(g)) for a, g in found]), notes, numbers, text_columns=2)


def _shift_cells(group: GroupShift) -> tuple[str, ...]:
    if group.mae_years is None:
        return group.group, str(group.n_persons), str(group.n_scans), NOTHING, NOTHING
    errors = estimate(group.mae_years, group.mae_interval), estimate(group.delta_years, group.delta_interval)
    return _range(group.group), str(group.n_persons), str(group.n_scans), *errors


def _range(group: str) -> str:
    """Write a decade with an en dash."""
    low, dash, high = group.partition("-")
    return f"{low}\N{EN DASH}{high}" if dash and low.isdigit() and high.isdigit() else group
