"""Tables of what the brain-age delta tells of diagnoses: means, tests, adjusted, over all scans, over years."""

from __future__ import annotations

from dataclasses import asdict

import pandas as pd

from brainage_ray.evaluation.analysis import Analysis
from brainage_ray.evaluation.arm_analysis import ArmAnalysis
from brainage_ray.evaluation.contrasts import AdjustedContrasts
from brainage_ray.report.statistics_cells import because, by_arm, estimate, flat, grouped
from brainage_ray.report.table import Row, Table
from brainage_ray.report.text import count, listed, number, p_mean_max, p_value

_DIFFERENCE = "Difference: mean delta of the second group less that of the first."
_OVER_PAIRS = " Corrected p: Holm over the pairs of an arm."
_EPSILON = "\N{GREEK SMALL LETTER EPSILON}\N{SUPERSCRIPT TWO}"


def diagnoses_table(analysis: Analysis) -> Table:
    """Make the table of mean deltas with their intervals, and of the tests over all diagnoses at once."""
    first = analysis.arms[0]
    compared = len(first.intervals) > 1
    header = ["Arm", *(grouped(group.diagnosis, group.n_scans) for group in first.intervals)]
    header += ["Kruskal\N{EN DASH}Wallis p", _EPSILON, "Trend p"]
    rows = []
    for arm in analysis.arms:
        cells = [arm.arm, *(estimate(group.mean_years, group.interval_years) for group in arm.intervals)]
        cells += [p_value(arm.omnibus.p_max), number(arm.omnibus.epsilon_squared_mean)]
        rows.append(Row(tuple([*cells, p_value(arm.trend.p_increasing_max)] if compared else cells[:-2]), arm=arm.arm))
    notes = "Mean delta, averaged over the seeds, with Student's 95 % confidence interval over people."
    if compared:
        order = " < ".join(group.diagnosis for group in first.intervals)
        notes += (
            f" Kruskal-Wallis: do any diagnoses differ? Its effect size {_EPSILON} goes from 0 to "
            f"1, mean over the seeds. Trend: Jonckheere's test of {order}, one-sided: p is "
            "small where it grows along them. "
            "Each test is made for every seed and p is that of the worst one; a scan is the unit."
        )
    reasons = [group.reason for arm in analysis.arms for group in arm.intervals]
    reasons += [arm.omnibus.reason for arm in analysis.arms] if compared else []
    return Table(
        "delta_tests", "Mean delta by diagnosis, years", tuple(header if compared else header[:-3]), tuple(rows),
        (notes, *because(reasons)), pd.DataFrame([row for arm in analysis.arms for row in _diagnosis_numbers(arm)]),
    )  # fmt: skip


def _diagnosis_numbers(arm: ArmAnalysis) -> list[dict[str, object]]:
    """Return a row a diagnosis, and one for all."""
    seeds = arm.regression.seeds
    rows: list[dict[str, object]] = [{"arm": arm.arm, **flat(asdict(group))} for group in arm.intervals]
    tests: dict[str, object] = {}
    for name, test in (("kruskal", asdict(arm.omnibus)), ("trend", asdict(arm.trend))):
        kept = {key: value for key, value in test.items() if key not in ("diagnoses", "n_scans")}
        tests |= {f"{name}_{key}": value for key, value in flat(kept, seeds).items()}
    if len(arm.intervals) > 1:
        rows.append({"arm": arm.arm, "diagnosis": "all", "n_scans": sum(arm.omnibus.n_scans), **tests})
    return rows


def contrasts_table(analysis: Analysis, correction: str) -> Table | str | None:
    """Make the table of differences at equal age, sex and site; the reason where there is none, None for one group."""
    found = [(arm.arm, pair) for arm in analysis.arms for pair in arm.contrasts.contrasts]
    if not found or all(pair.p is None for _, pair in found):
        return found[0][1].reason if found else None
    holm = correction == "holm"
    rows = []
    for arm, pair in found:
        p = [p_value(pair.p), p_value(pair.p_adjusted)]
        both = f"{pair.first} vs {pair.second}"
        rows.append((arm, (both, estimate(pair.estimate_years, pair.interval_years), *(p if holm else p[:1]))))
    model = analysis.arms[0].contrasts
    notes = (
        f"{_DIFFERENCE} {adjustment(model)} p: two-sided t-test.{_OVER_PAIRS if holm else ''}",
        *because(pair.reason for _, pair in found),
    )
    header = ("Arm", "Pair", "Difference [95 % CI], years", "p", "Corrected p")
    numbers = pd.DataFrame([{"arm": arm, **flat(asdict(pair))} for arm, pair in found])
    equal = f"at equal {listed(list(model.adjusted_for))}" if model.adjusted_for else "not adjusted"
    return Table(
        "contrasts", f"Difference between diagnoses {equal}", header if holm else header[:-1], by_arm(rows), notes,
        numbers, text_columns=2,
    )  # fmt: skip


def adjustment(model: AdjustedContrasts) -> str:
    """Say what the contrasts are adjusted for, what is left out and why, and what the unit is."""
    errors = "cluster-robust by person" if model.standard_errors == "cluster" else "HC3"
    covariates = " + ".join(["diagnosis", *model.adjusted_for])
    text = (
        f"Least squares of the delta, averaged over the seeds, on {covariates}; {errors} standard errors; "
        f"{count(model.n_scans, 'scan')} of {count(model.n_people, 'person', 'people')}."
    )
    left_out = [
        f"{name} ({'not asked for' if why == 'not given' else why})" for name, why in model.left_out
    ]  # fmt: skip
    text += f" Not adjusted for {listed(left_out)}." if left_out else ""
    if model.pooled_sites:
        text += f" {count(len(model.pooled_sites), 'site')} with one scan share a coefficient."
    if model.n_left_out:
        scans = count(model.n_left_out, "scan")
        text += f" {scans} without sex or site, or alone in a level, left aside."
    return text


def people_table(analysis: Analysis, correction: str) -> Table | str | None:
    """Make the table of tests over all scans of a person; the reason where there is none, None for one group."""
    found = [(arm, pair) for arm in analysis.arms for pair in arm.people]
    if not found or all(pair.p_max is None for _, pair in found):
        return found[0][1].reason if found else None
    holm = correction == "holm"
    rows = []
    for arm, pair in found:
        sizes = (" / ".join(f"{n:,}" for n in group) for group in (pair.n_people, pair.n_scans))
        p = (p_mean_max(pair.p_mean, pair.p_max), p_mean_max(pair.p_adjusted_mean, pair.p_adjusted_max))
        cells = (f"{pair.first} vs {pair.second}", *sizes, number(pair.estimate_mean), *(p if holm else p[:1]))
        rows.append((arm.arm, cells))
    left_out = max(pair.n_left_out for _, pair in found)
    notes = (
        f"{_DIFFERENCE} Over all scans; p: two-sided permutation test for each seed, in which people change their "
        "diagnosis with others who have as many scans, mean (largest) over the seeds."
        f"{_OVER_PAIRS if holm else ''} A person belongs to the diagnosis of the first scan"
        + (f"; up to {count(left_out, 'scan')} a pair after a change of it are left out." if left_out else "."),
        *because(pair.reason for _, pair in found),
    )
    header = ("Arm", "Pair", "People", "Scans", "Difference, years", "p", "Corrected p")
    numbers = pd.DataFrame([{"arm": arm.arm, **flat(asdict(pair), arm.regression.seeds)} for arm, pair in found])
    return Table(
        "people", "Over all scans of a person", header if holm else header[:-1], by_arm(rows), notes, numbers,
        text_columns=2,
    )  # fmt: skip


def slopes_table(analysis: Analysis) -> Table | str:
    """Make the table of the change of the delta over years, or the reason where nobody was followed."""
    first = analysis.arms[0].slopes
    followed = [i for i, group in enumerate(first) if group.n_persons]
    if not followed:
        return "nobody was scanned twice, half a year apart"
    header = ("Arm", *(grouped(first[i].diagnosis, first[i].n_persons) for i in followed))
    groups = [(arm, [arm.slopes[i] for i in followed]) for arm in analysis.arms]
    rows = tuple(
        Row((arm.arm, *(estimate(g.mean_years_per_year, g.interval) for g in found)), arm=arm.arm)
        for arm, found in groups
    )
    notes = (
        "Mean [95 % CI] of the slopes of people with two scans or more, half a year apart at least: least squares in "
        "each person, averaged over the seeds; Student's t over people, n of them by the diagnosis of the first scan.",
        *because(group.reason for _, found in groups for group in found),
    )
    numbers = pd.DataFrame([
        {"arm": arm.arm, **flat(asdict(group), arm.regression.seeds)} for arm in analysis.arms for group in arm.slopes
    ])  # fmt: skip
    return Table("slopes", "Change of the delta, years a year", header, rows, notes, numbers)


def reliability_table(analysis: Analysis) -> Table | str:
    """Make the table of how well a repeat scan repeats the delta, or the reason where there are none."""
    found = [(arm.arm, arm.reliability) for arm in analysis.arms]
    if all(one.ensemble.icc is None for _, one in found):
        return found[0][1].ensemble.reason
    rows, numbers = [], []
    for arm, one in found:
        whole = one.ensemble
        rows.append(Row((arm, estimate(whole.icc, whole.interval, 3), number(one.mean_icc, 3)), arm=arm))
        numbers.append({"arm": arm, "mean_icc_over_seeds": one.mean_icc, **flat(asdict(whole))})
    first = found[0][1].ensemble
    notes = (
        "Intraclass correlation ICC(1) of the delta: one-way random, single scan, interval by the F distribution; "
        f"{count(first.n_scans, 'scan')} of {count(first.n_persons, 'person', 'people')} who had two or more within "
        "90 days.",
        *because(one.ensemble.reason for _, one in found),
    )
    header = ("Arm", "ICC of the ensemble [95 % CI]", "Mean ICC of the seeds")
    return Table("reliability", "Repeat scans within 90 days", header, tuple(rows), notes, pd.DataFrame(numbers))
