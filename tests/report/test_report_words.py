from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from report_inputs import experiment_of, inputs_of, predictions_of, study_of

from brainage_ray.report.methods import methods
from brainage_ray.report.sentences import champion, summary_sentences
from brainage_ray.report.text import count, duration, listed, mean_sd, number, p_mean_max, p_value, setting


@pytest.fixture(scope="module")
def inputs():
    return inputs_of(2, 2, people=90)


def test_the_winner_is_chosen_on_validation_whatever_the_test_says(inputs):
    studies = {"unet": study_of(3.4), "unet+brats": study_of(3.0)}
    changed = replace(inputs, studies=studies)
    assert champion(changed) == "unet+brats"
    first = summary_sentences(changed)[0]
    best = studies["unet+brats"].selected.best_value
    assert first.startswith(f"unet+brats, the best of 2 arms on the validation split ({best:.2f} years), reaches")
    assert f"error of {inputs.summary.arm('unet+brats').mae.mean_years:.2f} years on the test split" in first
    assert f"against {inputs.summary.null.mae_years:.2f} for a null model" in first


def test_without_a_search_no_arm_is_called_best(inputs):
    first = summary_sentences(replace(inputs, studies={}))[0]
    assert first.startswith("unet, which no search chose, reaches")
    assert "best" not in first


def test_a_searched_arm_that_is_alone_is_not_the_best_of_any(inputs):
    first = summary_sentences(replace(inputs, studies={"unet": inputs.studies["unet"]}))[0]
    assert "years on the validation split) reaches" in first
    assert "best" not in first


@pytest.mark.parametrize(
    ("years", "interval", "words"),
    [
        (-0.31, (-0.5, -0.12), "lowers the error by 0.31 years (\N{MINUS SIGN}0.31, 95"),
        (-0.003, (-0.004, -0.002), "lowers the error by less than 0.01 years"),
        (0.31, (0.12, 0.5), "raises the error by 0.31 years (+0.31, 95"),
        (-0.31, (-0.7, 0.08), "shows no effect on the error beyond chance (\N{MINUS SIGN}0.31 years, 95"),
    ],
)
def test_whether_pretraining_helped_is_told_by_its_interval(inputs, years, interval, words):
    effect = inputs.analysis.pretraining
    changed = replace(effect, effects=(replace(effect.effects[1], years=years, interval=interval),))
    second = summary_sentences(replace(inputs, analysis=replace(inputs.analysis, pretraining=changed)))[1]
    assert second.startswith(f"Pre-training on brats {words}")
    assert "\N{NO-BREAK SPACE}% CI " in second


def test_with_one_seed_whether_pretraining_helped_cannot_be_told():
    second = summary_sentences(inputs_of(2, 1, people=40))[1]
    assert second.startswith("Whether pre-training on brats helps cannot be told: one seed of")


def test_without_pretraining_nothing_is_said_of_it():
    assert len(summary_sentences(inputs_of(1, 2, people=40))) == 2


def erring(years: dict[str, float]):
    """Arms that make everybody so many years too old."""
    predictions = predictions_of(list(years), 2, 60)
    predictions["brain_age_years"] = predictions["age_years"] + predictions["arm"].map(years)
    return inputs_of(predictions=predictions, experiment=experiment_of(len(years), 2))


@pytest.fixture(scope="module")
def one_loses():
    """The second arm on validation loses to the null model on test; the first does not."""
    return erring({"unet": 1.0, "unet+brats": 30.0})


def test_losing_to_the_null_model_is_said_first(one_loses):
    alone = summary_sentences(erring({"unet": 30.0}))[0]
    assert alone.startswith("The one arm is not better than predicting the median age for everybody: unet (")
    assert "has a mean absolute error of 30.00 years" in alone
    null = one_loses.summary.null
    assert f"larger than the {null.mae_years:.2f} of a null model that always answers {null.age_years:.1f}." in alone
    both = summary_sentences(erring({"unet": 30.0, "unet+brats": 31.0}))[0]
    assert both.startswith("No arm is better than predicting the median age for everybody: unet, the best of 2 arms")
    assert "reaches" not in both


def test_an_arm_that_was_not_chosen_does_not_save_the_sentence(one_loses):
    studies = {"unet": study_of(3.4), "unet+brats": study_of(3.0)}
    first = summary_sentences(replace(one_loses, studies=studies))[0]
    assert first.startswith("The chosen arm is not better than predicting the median age for everybody: unet+brats,")
    won = summary_sentences(replace(one_loses, studies=dict(zip(studies, reversed(studies.values()), strict=True))))[0]
    assert won.startswith("unet, the best of 2 arms")
    assert "reaches" in won


@pytest.mark.parametrize(
    ("less", "words"),
    [
        (0.004, "No arm is better"),
        (0.0, "No arm is better"),
        (0.02, "reaches"),
    ],
)
def test_an_error_that_is_printed_as_the_null_models_own_is_no_win(inputs, less, words):
    null = round(inputs.summary.null.mae_years, 2)
    arms = tuple(
        replace(arm, mae=replace(arm.mae, mean_years=null - less, per_seed_years=(null - less,) * 2))
        for arm in inputs.summary.arms
    )
    summary = replace(inputs.summary, arms=arms, null=replace(inputs.summary.null, mae_years=null))
    first = summary_sentences(replace(inputs, summary=summary))[0]
    assert words in first
    assert ("as large as the" in first) == (less < 0.005)
    assert "larger than" not in first


def test_one_good_seed_is_not_all():
    predictions = predictions_of(["unet"], 2, 60)
    bad = predictions["seed"] == 1
    predictions.loc[bad, "brain_age_years"] = predictions.loc[bad, "age_years"] + 30
    inputs = inputs_of(predictions=predictions, experiment=experiment_of(1, 2))
    first = summary_sentences(inputs)[0]
    assert first.startswith("The one arm is not better than predicting the median age")
    assert "no better than the null model in 1 of 2 seeds" in first


def test_no_healthy_test_scan_means_no_error_to_report():
    predictions = predictions_of(["unet"], 2, 60).query("diagnosis != 'CN'")
    inputs = inputs_of(predictions=predictions, experiment=experiment_of(1, 2))
    assert "no scans of the diagnoses that count" in summary_sentences(inputs)[0]


def test_the_delta_is_said_to_separate_only_what_every_seed_separates():
    rng = np.random.default_rng(0)
    predictions = predictions_of(["unet"], 2, 200)
    older = predictions["diagnosis"].map({"CN": 0.0, "MCI": 0.0, "AD": 9.0})
    predictions["brain_age_years"] = predictions["age_years"] + older + rng.normal(0, 2, len(predictions))
    sentence = summary_sentences(inputs_of(predictions=predictions, experiment=experiment_of(1, 2)))[-1]
    assert "separates AD from CN" in sentence
    assert "but does not separate MCI from CN" in sentence
    assert "Holm" in sentence


def test_methods_take_their_numbers_from_the_experiment(inputs):
    text = methods(inputs)
    assert "2 mm voxels" in text["Slices"]
    assert "from 35 mm up to but not including 115 mm" in text["Slices"]
    assert "of a tumour case, all that the brain covers by 2 % or more" in text["Slices"]
    assert "left out of training" in text["Slices"]
    assert "unet+brats: U-Net encoder with 6 stages, pre-trained on brats" in text["Arms"]
    assert "learning rate 1e-4" in text["Training"]
    assert text["Search"].endswith(inputs.search_sentence)
    assert "2 times (seeds 0 and 1)" in text["Final models"]
    assert "median over its slices" in text["Evaluation"]
    assert "Holm" in text["Evaluation"]


def test_methods_name_the_statistics_that_were_used(inputs):
    text = methods(inputs)["Statistics"]
    assert "10,000 draws from seed 0" in text
    assert "had brats as factors" not in text
    for words in ("brats as a factor", "Kruskal-Wallis", "age and sex", "HC3", "Holm", "Lange and Cole's line (2020)",
                  "90 healthy validation scans", "Efron"):  # fmt: skip
        assert words in text
    assert "Spearman" not in text, "two arms have no rank correlation"
    assert "cluster" not in text


def test_methods_do_not_name_what_was_not_done():
    experiment = experiment_of(1, 1, evaluation={"diagnoses": ("CN",)}, statistics={"bias_correction": "none"})
    inputs = inputs_of(experiment=experiment, predictions=predictions_of(["unet"], 1, 60).query("diagnosis == 'CN'"))
    arm = replace(inputs.analysis.arms[0], corrected=None)
    text = methods(replace(inputs, analysis=replace(inputs.analysis, arms=(arm,))))["Statistics"]
    for words in ("Kruskal", "Contrasts", "permuted among", "mixed model", "Arms were compared", "Spearman", "Lange"):
        assert words not in text
    assert "not corrected for regression to the mean" in text


def test_scans_that_are_in_no_table_are_said(inputs):
    predictions = predictions_of(["unet"], 1, 60)
    experiment = experiment_of(1, 1, evaluation={"diagnoses": ("CN", "AD")})
    text = methods(inputs_of(1, 1, predictions=predictions, experiment=experiment))["Evaluation"]
    others = (predictions["diagnosis"] == "MCI").sum()
    assert f"60 scans. {others} scans of other diagnoses are in no table" in text


def test_methods_say_what_departs_from_good_practice(inputs):
    data = {"sources": [{"kind": "phantom"}], "split": {"rollover": "as_published"}}
    changed = experiment_of(
        2, 2, data=data, statistics={"correction": "none"}, evaluation={"one_scan_per_subject": "all"}
    )
    text = methods(replace(inputs, experiment=changed))
    assert "not independent" in text["Slices"]
    assert "not corrected" in text["Evaluation"]
    assert "as if independent" in text["Evaluation"]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (number(-0.004), "0.00"),
        (number(-1.25, 1), "\N{MINUS SIGN}1.2"),
        (number(None), "\N{EM DASH}"),
        (mean_sd(3.138, 0.069), "3.14 (0.07)"),
        (mean_sd(3.138, None), "3.14"),
        (p_value(0.0004), "<0.001"),
        (p_value(0.0254), "0.025"),
        (p_mean_max(0.091, 0.107), "0.091 (0.107)"),
        (duration(0.42), "0.4 s"),
        (duration(59), "59 s"),
        (duration(3599), "59 min 59 s"),
        (duration(3544 * 2), "1 h 58 min"),
        (duration(103.5 * 3600), "4 d 7 h"),
        (count(1, "scan"), "1 scan"),
        (count(2500, "scan"), "2,500 scans"),
        (listed(["a"]), "a"),
        (listed(["a", "b", "c"]), "a, b and c"),
        (listed([]), ""),
        (setting(1e-4), "1e-4"),
        (setting(2.74e-4), "2.74e-4"),
        (setting(0.5), "0.5"),
        (setting(64), "64"),
        (setting("adam"), "adam"),
    ],
)
def test_how_numbers_are_written(written, expected):
    assert written == expected


def test_methods_name_the_steps_before_slices(inputs):
    assert methods(inputs)["Slices"].startswith("Each scan was brought")
    made = {"brain_extraction": "template", "bias_correction": "n4", "registration": "rigid"}
    data = inputs.experiment.data
    changed = data.model_copy(update={"preprocessing": data.preprocessing.model_copy(update=made)})
    experiment = inputs.experiment.model_copy(update={"data": changed})
    text = methods(replace(inputs, experiment=experiment))["Slices"]
    assert text.startswith("For each scan of age, the brain was found by BET and the mask of the template icbm152")
    assert "N4 (ANTs) and it was registered to the template icbm152 by ANTs (rigid" in text


def test_methods_say_which_searches_a_budget_ended(inputs):
    arm, study = next(iter(inputs.studies.items()))
    done = sum(trial.state != "running" for trial in study.trials)
    short = replace(study, wanted=40, ended="2 hours spent search.budget.max_hours: 2")
    text = methods(replace(inputs, studies={**inputs.studies, arm: short}))["Search"]
    assert text.endswith(
        f"A budget ended a search early: that of {arm} after {done} of 40 trials "
        "(2 hours spent search.budget.max_hours: 2)."
    )
