"""What was done, in sentences that take their numbers from the experiment."""

from __future__ import annotations

from collections.abc import Mapping

from brainage_ray.config import (
    BackboneConfig,
    Experiment,
    ImportedWeights,
    PreprocessingConfig,
    SegmentationPretraining,
)
from brainage_ray.data.slicing import SMALLEST_COVER
from brainage_ray.evaluation.analysis import Analysis
from brainage_ray.report.inputs import ReportInputs
from brainage_ray.report.text import count, listed, setting

_SPLIT_RULES = {
    "by_subject": "People were shared out by chance, stratified by diagnosis and age",
    "adni_standard": "ADNI-1's standard training set validates, its standard test set tests, all later phases train",
    "table": "The source's table says who trains, validates and tests",
}
_ROLLOVER = {
    "refuse": "nobody is in two of the splits",
    "exclude_from_training": "people who would be in training and elsewhere as well were left out of training",
    "as_published": "people who are in training and elsewhere as well were left where the publication has them, "
    "so that the test is not independent",
}
_EXTRACTIONS = {
    "template": "the brain was found by BET and the mask of the template {} (ANTs, three affine rounds and SyN)",
    "hd_bet": "the brain was found by HD-BET",
    "synthstrip": "the brain was found by SynthStrip",
}
_OPTIMIZERS = {"adam": "Adam", "adamw": "AdamW", "sgd": "SGD with Nesterov momentum"}
_LOSSES = {"mse": "mean squared error", "l1": "mean absolute error", "huber": "Huber loss"}
_SAMPLERS = {
    "grid": "Every point of the grid",
    "random": "Random draws",
    "tpe": "Optuna's multivariate TPE",
    "gp": "Optuna's Gaussian process",
    "cmaes": "CMA-ES",
    "nsga2": "NSGA-II",
}
_SCHEDULERS = {
    "none": "no trial stopped early",
    "asha": "ASHA stops the worse half of the trials early",
    "hyperband": "Hyperband's brackets of halving stop trials early",
    "median": "trials below the median of those before them are stopped early",
    "pbt": "population-based training gives poor trials the weights and settings of good ones",
}
_BIAS = {"cole": "Cole's line (2018)", "de_lange": "de Lange and Cole's line (2020)"}
_ORIGIN = {"grid": "the lowest slice of the template's grid upwards", "brain_top": "the top of the brain downwards"}


def methods(inputs: ReportInputs) -> Mapping[str, str]:
    """Return a paragraph by heading."""
    experiment = inputs.experiment
    return {
        "Slices": _slices(experiment),
        "Arms": _arms(experiment),
        "Training": _training(experiment),
        "Search": " ".join(filter(None, (_search(experiment), inputs.search_sentence, _budget(inputs)))),
        "Final models": _refit(experiment),
        "Evaluation": _evaluation(inputs),
        "Statistics": _statistics(inputs),
    }


def _slices(experiment: Experiment) -> str:
    split, made = experiment.data.split, slices_sentence(experiment.data.preprocessing)
    return f"{made[:-1]}{_cases(experiment)}. {_SPLIT_RULES[split.rule]}; {_ROLLOVER[split.rollover]}."


def slices_sentence(made: PreprocessingConfig) -> str:
    """Say how a scan becomes slices."""
    low, high = made.slice_range_mm
    rows, columns = made.slice_shape
    return (
        f"{_anatomy(made)}Each scan was brought to {made.voxel_mm:g} mm voxels and cut into axial slices from "
        f"{low:g} mm up to but not including {high:g} mm, counted from {_ORIGIN[made.slice_origin]}, one every "
        f"{made.slice_step_mm:g} mm, {rows} \N{MULTIPLICATION SIGN} {columns} pixels each."
    )


def _cases(experiment: Experiment) -> str:
    """Say which slices segmentation learns from, behind a semicolon; "" where nothing does."""
    segmented = any(isinstance(stage, SegmentationPretraining) for stage in experiment.pretraining.values())
    return f"; of a tumour case, all that the brain covers by {100 * SMALLEST_COVER:g} % or more" if segmented else ""


def _anatomy(made: PreprocessingConfig) -> str:
    """Return a sentence on the steps before slices, with a space behind it; empty where there are none."""
    template = made.template if isinstance(made.template, str) else made.template.name
    steps = [_EXTRACTIONS[made.brain_extraction].format(template)] if made.brain_extraction != "none" else []
    steps += ["its bias field was corrected by N4 (ANTs)"] if made.bias_correction == "n4" else []
    if made.registration != "none":
        steps.append(f"it was registered to the template {template} by ANTs ({made.registration}, mutual information)")
    return f"For each scan of age, {listed(steps)}. " if steps else ""


def _arms(experiment: Experiment) -> str:
    parts = []
    for name, arm in experiment.arms.items():
        start = f"pre-trained on {listed(list(arm.pretraining))}" if arm.pretraining else "from random weights"
        parts.append(f"{name}: {backbone_name(arm.backbone)}, {start}")
    return ". ".join([*parts, *_stages(experiment)]) + "."


def backbone_name(backbone: BackboneConfig) -> str:
    """Name an architecture."""
    depth = backbone.depth
    name = f"U-Net encoder with {depth} stages" if backbone.kind == "unet" else f"ResNet-{depth}"
    return name if backbone.width == 1 else f"{name} at {backbone.width:g} of the published width"


def _stages(experiment: Experiment) -> list[str]:
    texts = []
    for name, stage in experiment.pretraining.items():
        if isinstance(stage, ImportedWeights):
            texts.append(f"Stage {name}: imported weights, SHA-256 {stage.sha256[:12]}")
        elif isinstance(stage, SegmentationPretraining):
            texts.append(
                f"Stage {name}: tumour segmentation, Dice + cross-entropy, "
                f"{count(stage.training.max_epochs, 'epoch')}, {count(stage.seeds, 'seed')}"
            )
    return texts


def _training(experiment: Experiment) -> str:
    training = experiment.training
    augmented = training.augmentation != type(training.augmentation)()
    return (
        f"{_OPTIMIZERS[training.optimizer.name]}, learning rate {setting(training.optimizer.lr)} where the search "
        f"does not change it, {training.schedule.name} schedule, {_LOSSES[training.loss]} on the standardised age, "
        f"{training.batch_size} slices a step, up to {count(training.max_epochs, 'epoch')}, {training.precision}, "
        f"{'with' if augmented else 'without'} augmentation. Scans of {listed(list(training.diagnoses))} train, "
        "validate and count for the MAE."
    )


def _search(experiment: Experiment) -> str:
    search = experiment.search
    smooth = f", smoothed over {search.smooth_epochs} epochs" if search.smooth_epochs > 1 else ""
    return (
        f"One study an arm, all in the same space: {listed(list(search.space.parameters))}. "
        f"{_SAMPLERS[search.sampler]}, {_SCHEDULERS[search.scheduler]}, "
        f"{count(search.seeds_per_trial, 'seed')} a trial. The objective is the mean "
        f"absolute error on the validation split{smooth}{_delta(experiment)}. {choice_sentence(experiment)} "
        "The test split was closed all the while."
    )


def choice_sentence(experiment: Experiment) -> str:
    """Say what was chosen among, by what rule, and at what epoch."""
    search = experiment.search
    judged = "the mean over a trial's seeds"
    text = ""
    if search.finalists:
        seeds = f"{search.finalist_seeds} fresh seeds"
        text = (
            f"The {search.finalists} best complete trials of each arm were trained again with {seeds} that no trial "
            "had; the choice, the epochs and the validation error that is stated rest on these alone, as the lowest of "
            "many values of a search is too low. The people are the same, so that the choice among the finalists still "
            "leans on them. "
        )
        judged = "the mean over the fresh seeds"
    rule = "the lowest error was taken"
    if search.choice == "one_standard_error":
        rule = (
            "the cheapest was taken (fewest weights, then epochs, then settings that differ from the experiment's own) "
            "whose error is within one standard error of the lowest (Breiman 1984); the standard error is that of the "
            "paired difference over people and seeds"
        )
    if search.delta_is_objective:
        rule = (
            "the largest AUC of the delta was taken whose error is within one standard error of the lowest (paired, "
            "over people and seeds) and that no other beats in both; of equals the lowest error, then the cheapest"
        )
    return f"{text}Of the complete trials {rule}. The number of epochs is where {judged} is lowest."


def _delta(experiment: Experiment) -> str:
    return ", and how well the brain-age delta tells AD from CN there" if experiment.search.delta_is_objective else ""


def _budget(inputs: ReportInputs) -> str:
    """Return a sentence on the searches that their budget ended; "" where there are none."""
    ended = [
        f"that of {arm} after {sum(trial.state != 'running' for trial in study.trials)} of {study.wanted} trials "
        f"({study.ended})"
        for arm, study in inputs.studies.items()
        if study.ended
    ]
    return f"A budget ended {'a search' if len(ended) == 1 else 'searches'} early: {'; '.join(ended)}." if ended else ""


def _refit(experiment: Experiment) -> str:
    seeds = experiment.refit.seeds
    return (
        f"Each arm was fitted again on train + validation with the settings and epochs of its chosen trial, "
        f"{count(len(seeds), 'time')} (seeds {listed([str(seed) for seed in seeds])}), without early stopping. "
        "Epochs are kept, so that the steps grow with the data."
    )


def _evaluation(inputs: ReportInputs) -> str:
    experiment, summary = inputs.experiment, inputs.summary
    one = experiment.evaluation.one_scan_per_subject == "baseline"
    visits = "One scan a person counts, the first" if one else "Every visit counts as if independent"
    text = (
        f"A scan's brain age is the {experiment.evaluation.aggregate} over its slices; the brain-age delta is brain "
        f"age minus chronological age. {visits}: {count(summary.n_scans, 'scan')}"
    )
    text += f", {count(summary.n_repeat_scans, 'later visit')} left aside. " if summary.n_repeat_scans else ". "
    if summary.n_ungrouped_scans:
        text += f"{count(summary.n_ungrouped_scans, 'scan')} of other diagnoses are in no table. "
    text += f"The null model answers the median age of the {count(summary.null.n_training, 'scan')} that trained."
    if summary.arms[0].pairs:
        corrected = {"holm": "corrected by Holm's method over the pairs within each seed", "none": "not corrected"}
        text += (
            " Deltas were compared between diagnoses by two-sided Mann-Whitney U for each seed, p-values "
            f"{corrected[experiment.statistics.correction]}. The AUC's interval is Hanley and McNeil's (1982)."
        )
    return text


def _statistics(inputs: ReportInputs) -> str:
    analysis, settings = inputs.analysis, inputs.experiment.statistics
    resampled = f"Bootstraps and permutations take {settings.draws:,} draws from seed {settings.seed}"
    resampled += f", the rank correlation {_biomarker_draws(settings.draws):,}." if _ranks(analysis) else "."
    parts = [
        "Intervals are 95 % confidence intervals, tests two-sided unless they say otherwise.",
        resampled,
        *_over_arms(analysis),
        *_over_diagnoses(inputs),
        *_of_bias(inputs),
        "Errors by site, sex and age decade have bias-corrected and accelerated intervals over people (Efron 1987) and "
        "permutation tests of the variance between groups.",
    ]
    return " ".join(parts)


def _biomarker_draws(draws: int) -> int:
    return min(draws, 2_000)  # evaluation.analysis


def _ranks(analysis: Analysis) -> bool:
    return analysis.biomarker is not None and analysis.biomarker.spearman is not None


def _over_arms(analysis: Analysis) -> list[str]:
    parts = []
    if any(pair.p is not None for pair in analysis.comparisons):
        parts.append(
            "Arms were compared on the same people by Student's t with the variance of a bootstrap over people and "
            "seeds, p corrected by Holm's method over the pairs of arms."
        )
    effect = analysis.pretraining
    if effect and any(one.p is not None for one in effect.effects):
        factors = [one.factor for one in effect.effects if one.p is not None]
        parts.append(
            f"A linear mixed model of the absolute error, fitted by REML, had {listed(factors)} as "
            f"{'factors' if len(factors) > 1 else 'a factor'} and a random "
            "intercept a person; its standard errors allow for people (sandwich) and seeds."
        )
    if _ranks(analysis):
        parts.append("Error and separation were correlated over the arms by Spearman's rho and Kendall's tau.")
    return parts


def _over_diagnoses(inputs: ReportInputs) -> list[str]:
    first, statistics = inputs.analysis.arms[0], inputs.experiment.statistics
    parts = []
    if first.omnibus.p:
        parts.append("All diagnoses at once were tested by Kruskal-Wallis and by Jonckheere's one-sided trend test.")
    if any(pair.p is not None for pair in first.contrasts.contrasts):
        model = first.contrasts
        errors = "cluster-robust" if model.standard_errors == "cluster" else "HC3"
        covariates = listed(list(model.adjusted_for)) or "nothing"
        parts.append(f"Contrasts are adjusted for {covariates} by least squares with {errors} standard errors.")
    if any(pair.p for pair in first.people):
        parts.append(
            "Over all scans of a person, whole people were permuted among those with as many scans (Winkler 2015)."
        )
    if parts and any(pair.p for pair in first.people):
        holm = "corrected by Holm's method" if statistics.correction == "holm" else "not corrected"
        parts.append(f"p of the pairs is {holm} there too.")
    return parts


def _of_bias(inputs: ReportInputs) -> list[str]:
    lines = [arm.corrected.correction for arm in inputs.analysis.arms if arm.corrected]
    if not lines:
        return ["The delta is not corrected for regression to the mean."]
    return [
        f"Regression to the mean was taken out by {_BIAS[lines[0].method]}, fitted for each arm on "
        f"{count(lines[0].n, 'healthy validation scan')} as the models of the search read them, never on the test "
        "split; raw numbers stand beside the corrected ones."
    ]
