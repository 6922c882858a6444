"""The statistics of an experiment, question by question: what is asked, the tables that answer, what could not be."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from brainage_ray.report.inputs import ReportInputs
from brainage_ray.report.slice_results import rules_table
from brainage_ray.report.statistics_bias import bias_deltas_table, bias_pairs_table, bias_table
from brainage_ray.report.statistics_deltas import (
    contrasts_table,
    diagnoses_table,
    people_table,
    reliability_table,
    slopes_table,
)
from brainage_ray.report.statistics_errors import (
    biomarker_answer,
    biomarker_table,
    comparisons_table,
    pretraining_table,
    regression_table,
    shift_tables,
    shift_tests_table,
)
from brainage_ray.report.table import Table
from brainage_ray.report.text import listed
from brainage_ray.report.uncertainty_results import scans_table, uncertainty_table


@dataclass(frozen=True)
class Topic:
    """One question of a reviewer."""

    key: str
    """By which the page finds its figures."""
    title: str
    intro: str
    """What the tables answer, in a sentence or two."""
    tables: tuple[Table, ...]
    missing: str = ""
    """What could not be computed, and why."""


def topics(inputs: ReportInputs) -> tuple[Topic, ...]:
    """Return the questions that the experiment can be asked; those with nothing to tell are left out."""
    every = (_errors(inputs), _arms(inputs), _diagnoses(inputs), _bias(inputs), _biomarker(inputs), _followed(inputs),
             _people(inputs), _slices(inputs), _uncertainty(inputs))  # fmt: skip
    return tuple(topic for topic in every if topic.tables or topic.missing)


def _topic(key: str, title: str, intro: str, made: Iterable[tuple[str, Table | str | None]]) -> Topic:
    """Take the tables that were made, and the reasons of those that were not, by what they would have shown."""
    made = list(made)
    tables = tuple(table for _, table in made if isinstance(table, Table))
    missing = [f"{what} ({why})" for what, why in made if isinstance(why, str) and why]
    return Topic(key, title, intro if tables else "", tables, f"Not computed: {listed(missing)}." if missing else "")


def _errors(inputs: ReportInputs) -> Topic:
    return _topic(
        "errors",
        "Does brain age follow age?",
        "The mean absolute error of Table 1 does not tell a model that errs by chance from one that pulls everybody "
        "towards the middle: these do.",
        [("the regression", regression_table(inputs.analysis, inputs.summary.mae_diagnoses))],
    )


def _arms(inputs: ReportInputs) -> Topic:
    return _topic(
        "arms",
        "Do the arms differ, and does pre-training help?",
        "All arms read the same people, and both people and seeds are a sample: the intervals allow for both.",
        [
            ("what pre-training adds", pretraining_table(inputs.analysis)),
            ("the pairs of arms", comparisons_table(inputs.analysis)),
        ],
    )


def _diagnoses(inputs: ReportInputs) -> Topic:
    analysis, correction = inputs.analysis, inputs.experiment.statistics.correction
    compared = len(analysis.arms[0].intervals) > 1
    intro = (
        "Is the brain-age delta larger in the sicker groups, and is it so at equal age, sex and site, and when all "
        "visits of a person count?"
    )
    return _topic(
        "diagnoses",
        "Does the delta tell diagnoses apart?" if compared else "How large is the delta?",
        intro if compared else "The mean delta of people like those who trained should be near 0.",
        [
            ("the delta by diagnosis", diagnoses_table(analysis)),
            ("the adjusted contrasts", contrasts_table(analysis, correction)),
            ("the test over all scans", people_table(analysis, correction)),
        ],
    )


def _bias(inputs: ReportInputs) -> Topic:
    analysis, summary, statistics = inputs.analysis, inputs.summary, inputs.experiment.statistics
    missing = any(arm.corrected is None for arm in analysis.arms) and statistics.bias_correction != "none"
    nothing = "no predictions of the search's own models in the validation split"
    return _topic(
        "bias",
        "Does regression to the mean make the difference?",
        "Models make the young too old and the old too young, so that groups of different age differ in delta for no "
        "other reason. Raw and corrected numbers stand side by side; no sentence of the summary uses the corrected "
        "ones.",
        [
            ("the bias correction" + _of_some(inputs), nothing if missing else None),
            ("the bias correction", bias_table(analysis, summary)),
            ("the corrected delta", bias_deltas_table(analysis, summary)),
            ("the corrected pairs", bias_pairs_table(analysis, summary, statistics.correction)),
        ],
    )


def _of_some(inputs: ReportInputs) -> str:
    lacking = [arm.arm for arm in inputs.analysis.arms if arm.corrected is None]
    return f" of {listed(lacking)}" if 0 < len(lacking) < len(inputs.analysis.arms) else ""


def _biomarker(inputs: ReportInputs) -> Topic:
    found = inputs.analysis.biomarker
    answer = biomarker_answer(found) if found else ""
    return _topic(
        "biomarker",
        "Is the better brain-age model the better biomarker?",
        f"If it were, the arms with the smaller error would separate the sickest groups better. {answer}",
        [("the rank correlation of error and separation", biomarker_table(inputs.analysis))],
    )


def _slices(inputs: ReportInputs) -> Topic:
    return _topic(
        "slices",
        "Which slices tell the age?",
        "A scan's brain age is put together from its slices: where along the brain they err, and what another rule of "
        "putting them together would give.",
        [("the rules of aggregation", rules_table(inputs.analysis, list(inputs.experiment.arms)))],
    )


def _uncertainty(inputs: ReportInputs) -> Topic:
    arms = list(inputs.experiment.arms)
    return _topic(
        "uncertainty",
        "How sure is a single brain age?",
        "The seeds' models and a scan's slices disagree, and where they disagree more the brain age should be less "
        "certain.",
        [
            ("the uncertainty", uncertainty_table(inputs.analysis, arms)),
            ("the scans", scans_table(inputs.analysis, arms)),
        ],
    )


def _followed(inputs: ReportInputs) -> Topic:
    return _topic(
        "followed",
        "What do the same people's other scans say?",
        "If the delta is a mark of disease it grows as the disease does, and a repeat scan gives the same delta again.",
        [
            ("the change over years", slopes_table(inputs.analysis)),
            ("the repeat scans", reliability_table(inputs.analysis)),
        ],
    )


def _people(inputs: ReportInputs) -> Topic:
    tables = [shift_tests_table(inputs.analysis), *shift_tables(inputs.analysis)]
    return _topic(
        "people",
        "Is the error the same for all kinds of people?",
        f"Test scans of {listed(list(inputs.summary.mae_diagnoses))} by site, sex and age decade: a model that reads "
        "the scanner, or that serves one sex better, shows here.",
        [("", table) for table in tables],
    )
