"""All that a report is made of, as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pandas as pd
from numpy.typing import NDArray

from brainage_ray.config import Experiment
from brainage_ray.config.run import SettingsChange
from brainage_ray.data.audit import AuditReport
from brainage_ray.evaluation.analysis import Analysis
from brainage_ray.evaluation.choice import Verdict
from brainage_ray.evaluation.summary import Summary

Curve = Sequence[Mapping[str, float]]
"""Metrics of each epoch, the first epoch first."""


@dataclass(frozen=True)
class TrialReport:
    """One trial of a search."""

    number: int
    params: Mapping[str, Any]
    """Value by dotted path."""
    state: Literal["complete", "pruned", "failed", "running"]
    values: Sequence[float] = ()
    """Validation MAE of each epoch, years, mean over the seeds."""
    seed_values: Sequence[Sequence[float]] = ()
    """The same by epoch and seed."""
    best_value: float | None = None
    """Best validation MAE after smoothing, years."""
    best_epoch: int | None = None
    """Epoch, from 1, at which the window of best_value ends."""
    seconds: float = 0.0
    reason: str = ""
    """Why it failed."""
    delta_auc: float | None = None
    """How well the brain-age delta tells AD from CN at best_epoch; where that is an objective."""
    changes: Sequence[SettingsChange] = ()
    """Of the settings while it trained; `params` are those that it began with."""


@dataclass(frozen=True)
class StudyReport:
    """The search of one arm and what was chosen from it."""

    trials: Sequence[TrialReport]
    selected_trial: int
    """Number of the trial that was chosen."""
    params: Mapping[str, Any]
    """The settings that the final models got, value by dotted path."""
    epochs: int
    """The epochs that the final models got."""
    changes: Sequence[SettingsChange] = ()
    """Of those settings while they trained."""
    wanted: int = 0
    """How many trials the search was to have."""
    ended: str = ""
    """Why its budget ended it before; "" where it did not."""
    again: TrialReport | None = None
    """The chosen settings, trained again with fresh seeds; None: no finalists were."""
    why: str = ""
    """Among what it was chosen, and by what rule."""

    @property
    def judged(self) -> TrialReport | None:
        """The trainings whose value was chosen by and is stated."""
        return self.again or self.selected

    @property
    def selected(self) -> TrialReport | None:
        """The chosen trial, or None where it is not in the list."""
        return next((trial for trial in self.trials if trial.number == self.selected_trial), None)


@dataclass(frozen=True)
class PretrainingReport:
    """One run of a pre-training stage."""

    stage: str
    backbone: str
    """unet or resnet50."""
    seed: int
    curve: Curve
    """With validation_dice_<class> where there is a validation set."""


@dataclass(frozen=True)
class Transfer:
    """How weights went over into an encoder, counted in names."""

    into: str
    """An arm, or a backbone and the stages that its weights went through."""
    source: str
    """The stages before, or where the weights were fetched."""
    loaded: int
    missing: int
    """Batch counters alone: a missing weight is an error."""
    left_out: int
    names: Sequence[str] = ()
    """What was left out, where that is known by name."""


@dataclass(frozen=True)
class SampleSlices:
    """Slices of some people of one diagnosis."""

    diagnosis: str
    images: NDArray[Any]
    """[n, height, width], as the models see them: anterior at the top, 0 outside the brain."""
    ages_years: Sequence[float]
    """[n]"""


@dataclass(frozen=True)
class TrainingHours:
    """What the trainings of a stage held, summed over all of them, also where they ran side by side."""

    training: float
    """Hours."""
    gpu: float
    """GPU-hours: hours times the GPUs, or the share of one, that each training held."""


@dataclass(frozen=True)
class Provenance:
    """Where, when and from what the numbers were made."""

    date: str
    """As the report prints it."""
    git_commit: str
    """Of the code that trained; several with commas."""
    data_hash: str
    """Of the slice store."""
    versions: Mapping[str, str]
    """By package."""
    hardware: Mapping[str, str]
    """For example {"GPU": "1 x NVIDIA H200"}."""
    stage_seconds: Mapping[str, float]
    """Wall clock by stage, in the order of the stages."""
    training_hours: Mapping[str, TrainingHours] = field(default_factory=dict)
    """By stage that trains."""


@dataclass(frozen=True)
class ReportInputs:
    """All that a report is made of."""

    experiment: Experiment
    summary: Summary
    analysis: Analysis
    predictions: pd.DataFrame
    """One row per arm, seed and scan; columns as in evaluation.predictions.COLUMNS."""
    studies: Mapping[str, StudyReport]
    """By arm."""
    curves: Mapping[str, Mapping[int, Curve]]
    """Of the final models, by arm and seed."""
    manifest: pd.DataFrame
    """The slice store's scans with an age: person, session, split, diagnosis, age_years, sex."""
    ledger: pd.DataFrame
    """What became of every scan: cohort, subject, session, image, status, reason."""
    provenance: Provenance
    verdict: Verdict | None = None
    """Whether one arm is better than the others on the validation split; None: nothing was compared."""
    search_sentence: str = ""
    """What a trial tells Optuna, as a sentence."""
    pretraining: Sequence[PretrainingReport] = ()
    transfers: Sequence[Transfer] = ()
    cases: Mapping[str, int] | None = None
    """Segmentation cases by cohort."""
    samples: Sequence[SampleSlices] = ()
    test_openings: Sequence[Mapping[str, Any]] = ()
    """Lines of the test set's ledger: time, user, host, model, commit, store."""
    audit: AuditReport | None = None
    """For leaks; None: there was none."""
