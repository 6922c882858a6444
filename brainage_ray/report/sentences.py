"""The summary in three sentences at most, each true whatever came out."""

from __future__ import annotations

from brainage_ray.evaluation.choice import Verdict
from brainage_ray.evaluation.comparisons import PairComparison
from brainage_ray.evaluation.pretraining_effect import BACKBONE, PretrainingEffect
from brainage_ray.evaluation.summary import ArmSummary
from brainage_ray.report.inputs import ReportInputs
from brainage_ray.report.result_tables import validation_mae
from brainage_ray.report.statistics_cells import interval, signed
from brainage_ray.report.text import count, listed, number, p_value

ALPHA = 0.05
"""A pair is called separated where the largest corrected p over the seeds is below this."""


def champion(inputs: ReportInputs) -> str:
    """Return the arm that was chosen on the validation split.

    Without a verdict it is the one with the lowest validation MAE, of equals the first by name; without a search the
    first arm: the test split never chooses.
    """
    if inputs.verdict is not None:
        return inputs.verdict.champion
    values = {arm: trial.best_value for arm, study in inputs.studies.items() if (trial := study.judged)}
    known = {arm: value for arm, value in values.items() if value is not None}
    return min(known, key=lambda arm: (known[arm], arm)) if known else inputs.summary.arms[0].arm


def summary_sentences(inputs: ReportInputs) -> tuple[str, ...]:
    """Say how the chosen arm does on test, whether pre-training helped, and what its delta tells.

    Returns:
        Three sentences; two where nothing was pre-trained.
    """
    arm = inputs.summary.arm(champion(inputs))
    helped = _helped(inputs.analysis.pretraining)
    separates = _separates(arm, inputs.experiment.statistics.correction)
    return (_tested(inputs, arm), *([helped] if helped else []), separates)


def _tested(inputs: ReportInputs, arm: ArmSummary) -> str:
    """Say how the chosen arm does on test; first of all that nothing was won where it loses to the null model."""
    summary, null, mae = inputs.summary, inputs.summary.null, arm.mae
    chosen = _chosen(inputs, arm.arm)
    if mae.mean_years is None or null.mae_years is None:
        return f"The {summary.split} split has {mae.reason}, so there is no error of {arm.arm} to report."
    seeds = f"sd {number(mae.sd_years)} over {len(mae.seeds)} seeds" if mae.sd_years is not None else "one seed"
    scans = f"{count(mae.n_scans, 'scan')} of {listed(list(summary.mae_diagnoses))}"
    error = f"a mean absolute error of {number(mae.mean_years)} years on the test split"
    lost = sum(value >= null.mae_years for value in mae.per_seed_years)
    mixed = 0 < lost < len(mae.seeds)
    but = f", no better than the null model in {lost} of {count(len(mae.seeds), 'seed')}" if mixed else ""
    told = f"{error} ({seeds}; {scans}){but}"
    answers = f"a null model that always answers {number(null.age_years, 1)}"
    if not _beats_null(arm, null.mae_years):
        size = "as large as" if number(mae.mean_years) == number(null.mae_years) else "larger than"
        return (
            f"{_nothing_won(inputs, arm.arm)}: {chosen} has {told}, {size} the {number(null.mae_years)} of {answers}."
        )
    return f"{chosen} reaches {told}, against {number(null.mae_years)} for {answers}."


def _beats_null(arm: ArmSummary, null_years: float) -> bool:
    """Tell whether an arm errs less than the null model by as much as the report prints."""
    mean = arm.mae.mean_years
    return mean is not None and round(mean, 2) < round(null_years, 2)


def _nothing_won(inputs: ReportInputs, arm: str) -> str:
    """Say that no arm, or else not the one that is told of, is better than the null model."""
    arms, null = inputs.summary.arms, inputs.summary.null
    who = "The chosen arm is not" if arm in inputs.studies else "The first arm is not"
    if not any(_beats_null(one, null.mae_years or 0.0) for one in arms):
        who = "No arm is" if len(arms) > 1 else "The one arm is not"
    return f"{who} better than predicting the median age for everybody"


def _chosen(inputs: ReportInputs, best: str) -> str:
    """Name the arm, and say what chose it."""
    study = inputs.studies.get(best)
    value = validation_mae(study, inputs.experiment.search.smooth_epochs)[0] if study else None
    if value is None:
        return f"{best}, which no search chose,"
    if len(inputs.studies) < 2:
        return f"{best} ({number(value)} years on the validation split)"
    chosen = f"of {len(inputs.studies)} arms on the validation split ({number(value)} years)"
    if inputs.verdict is None:
        return f"{best}, the best {chosen},"
    if inputs.verdict.winner == best:
        return f"{best}, better than the others {chosen},"
    return f"{best}, chosen {chosen} though not told apart from {listed(_rivals(inputs.verdict))},"


def _rivals(verdict: Verdict) -> list[str]:
    """Return the arms that the champion was not told apart from."""
    beaten = {
        name
        for pair in verdict.comparisons
        for name in (pair.first, pair.second)
        if verdict.champion in (pair.first, pair.second) and pair.p_adjusted is not None and pair.p_adjusted < ALPHA
    }
    others = {pair.first for pair in verdict.comparisons} | {pair.second for pair in verdict.comparisons}
    return sorted((others | set(verdict.undecided)) - beaten - {verdict.champion})


def _helped(effect: PretrainingEffect | None) -> str:
    """Say of each stage of pre-training what it does to the error; nothing where there is none."""
    stages = [one for one in effect.effects if one.factor != BACKBONE] if effect else []
    if not stages:
        return ""
    told = [_changed(one.factor, one.years, one.interval) for one in stages if one.years is not None and one.interval]
    unknown = [one for one in stages if one.years is None or one.interval is None]
    text = f"Pre-training on {'; pre-training on '.join(told)}" if told else ""
    if unknown:
        names, reasons = listed([one.factor for one in unknown]), dict.fromkeys(one.reason for one in unknown)
        cannot = f"hether pre-training on {names} helps cannot be told: {'; '.join(reasons)}"
        text = f"{text}; w{cannot}" if told else f"W{cannot}"
    return f"{text}."


def _changed(stage: str, years: float, low_high: tuple[float, float]) -> str:
    low, high = low_high
    if low <= 0 <= high:
        return f"{stage} shows no effect on the error beyond chance ({signed(years)} years, {interval(low_high)})"
    verb = "lowers" if years < 0 else "raises"
    size = number(abs(years)) if round(abs(years), 2) else "less than 0.01"
    return f"{stage} {verb} the error by {size} years ({signed(years)}, {interval(low_high)})"


def _separates(arm: ArmSummary, correction: str) -> str:
    corrected = ", corrected by Holm's method" if correction == "holm" else ", not corrected for the number of pairs"
    tested = [pair for pair in arm.pairs if pair.p_adjusted_max is not None]
    if not tested:
        why = listed(list(dict.fromkeys(pair.reason for pair in arm.pairs))) or "there is one group only"
        return f"The brain-age delta of {arm.arm} cannot be compared between diagnoses: {why}."
    apart = [pair for pair in tested if (pair.p_adjusted_max or 0.0) < ALPHA]
    alike = [pair for pair in tested if pair not in apart]
    parts = [f"separates {listed([_describe(pair) for pair in apart])}"] if apart else []
    parts += [f"does not separate {listed([_describe(pair) for pair in alike])}"] if alike else []
    return f"The brain-age delta of {arm.arm} {' but '.join(parts)}; p is that of the worst seed{corrected}."


def _describe(pair: PairComparison) -> str:
    p = p_value(pair.p_adjusted_max)
    p = f"<\N{NO-BREAK SPACE}{p[1:]}" if p.startswith("<") else f"=\N{NO-BREAK SPACE}{p}"
    return f"{pair.second} from {pair.first} (AUC {number(pair.auc_mean)}, p\N{NO-BREAK SPACE}{p})"
