"""The summary in three sentences, each true whatever came out."""

from __future__ import annotations

from brainage_ray.evaluation.comparisons import PairComparison
from brainage_ray.evaluation.summary import ArmSummary, Summary
from brainage_ray.report.inputs import ReportInputs
from brainage_ray.report.result_tables import validation_mae
from brainage_ray.report.text import count, listed, number, p_value

ALPHA = 0.05
"""A pair is called separated where the largest corrected p over the seeds is below this."""


def winner(inputs: ReportInputs) -> str:
    """Return the arm with the lowest validation MAE in the search; of equals the first by name.

    Without a search it is the first arm: the test split never chooses.
    """
    values = {arm: trial.best_value for arm, study in inputs.studies.items() if (trial := study.selected)}
    known = {arm: value for arm, value in values.items() if value is not None}
    return min(known, key=lambda arm: (known[arm], arm)) if known else inputs.summary.arms[0].arm


def summary_sentences(inputs: ReportInputs) -> tuple[str, str, str]:
    """Say which arm won on validation, how it does on test against the null model, and what its delta tells."""
    arm = inputs.summary.arm(winner(inputs))
    return _won(inputs, arm.arm), _tested(inputs.summary, arm), _separates(arm, inputs.experiment.statistics.correction)


def _won(inputs: ReportInputs, best: str) -> str:
    window = inputs.experiment.search.smooth_epochs
    values = {arm: validation_mae(study, window)[0] for arm, study in inputs.studies.items()}
    ranked = sorted((value, arm) for arm, value in values.items() if value is not None)
    if not ranked:
        return f"No search was made; the numbers below are those of {best}."
    text = f"On the validation split, {best} had the lowest mean absolute error, {number(values[best])} years"
    others = [(value, arm) for value, arm in ranked if arm != best]
    return f"{text}; {others[0][1]} came next with {number(others[0][0])}." if others else f"{text}."


def _tested(summary: Summary, arm: ArmSummary) -> str:
    null, mae = summary.null, arm.mae
    if mae.mean_years is None or null.mae_years is None:
        return f"The {summary.split} split has {mae.reason}, so there is no error to report."
    seeds = f"sd {number(mae.sd_years)} over {len(mae.seeds)} seeds" if mae.sd_years is not None else "one seed"
    scans = f"{count(mae.n_scans, 'scan')} of {listed(list(summary.mae_diagnoses))}"
    text = f"Refitted, it reaches {number(mae.mean_years)} years on the test split ({seeds}; {scans})"
    against = f"{number(null.mae_years)} for a null model that always answers {number(null.age_years, 1)}"
    lost = sum(value >= null.mae_years for value in mae.per_seed_years)
    if lost:
        text += f", no better than the null model in {lost} of {count(len(mae.seeds), 'seed')}"
    return f"{text}, against {against}."


def _separates(arm: ArmSummary, correction: str) -> str:
    corrected = ", corrected by Holm's method" if correction == "holm" else ", not corrected for the number of pairs"
    tested = [pair for pair in arm.pairs if pair.p_adjusted_max is not None]
    if not tested:
        why = listed(list(dict.fromkeys(pair.reason for pair in arm.pairs))) or "there is one group only"
        return f"Its brain-age delta cannot be compared between diagnoses: {why}."
    apart = [pair for pair in tested if (pair.p_adjusted_max or 0.0) < ALPHA]
    alike = [pair for pair in tested if pair not in apart]
    parts = [f"separates {listed([_describe(pair) for pair in apart])}"] if apart else []
    parts += [f"does not separate {listed([_describe(pair) for pair in alike])}"] if alike else []
    return f"Its brain-age delta {' but '.join(parts)}; p is that of the worst seed{corrected}."


def _describe(pair: PairComparison) -> str:
    p = p_value(pair.p_adjusted_max)
    p = f"<\N{NO-BREAK SPACE}{p[1:]}" if p.startswith("<") else f"=\N{NO-BREAK SPACE}{p}"
    return f"{pair.second} from {pair.first} (AUC {number(pair.auc_mean)}, p\N{NO-BREAK SPACE}{p})"
