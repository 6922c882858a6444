"""Gathers what the report page is made of; the page itself is `brainage_ray.report`."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from brainage_ray import __version__
from brainage_ray.config import FitResult, SegmentationPretraining
from brainage_ray.config.base import digest
from brainage_ray.data import StoredSplit, TestLedger, atomic_write
from brainage_ray.pipeline.evaluate import TEST_LEDGER
from brainage_ray.pipeline.imported import import_nodes, read_transfer
from brainage_ray.pipeline.results import Results
from brainage_ray.pipeline.runs import team
from brainage_ray.pipeline.search import Searched
from brainage_ray.pipeline.select import source
from brainage_ray.pipeline.session import Session, read_timings
from brainage_ray.report import (
    Curve,
    PretrainingReport,
    Provenance,
    ReportInputs,
    SampleSlices,
    StudyReport,
    TrainingHours,
    Transfer,
    TrialReport,
    write_report,
)

PAGE = Path("report") / "index.html"
STAMP = ".key"
SAMPLES_PER_DIAGNOSIS = 4
NAMED = 5
"""Weights that were left out, by name; transfer.csv has all."""
VERSIONS = ("brainage-ray", "torch", "monai", "numpy", "ray", "optuna", "mlflow", "nilearn", "scipy", "statsmodels")
SEARCH_SENTENCE = (
    "A trial that was trained to its end is told to Optuna as complete with its best value, one that the "
    "scheduler stopped as pruned with what it had reported, and one that ended in NaN or an error as failed "
    "with the reason; only complete trials can be chosen."
)


def make_page(session: Session, results: Results, again: bool = False) -> Path:
    """Write the page, its figures and tables, and put them into MLflow; once for the same content, or again."""
    page = session.folder / PAGE
    if again or not page_is_current(session, results):
        write_report(_inputs(session, results), page.parent)
        session.tracking.tracker.log_files(page.parent, "report")
        with atomic_write(page.parent / STAMP) as file:  # last: where it is, the page is whole
            file.write(_key(session, results).encode())
    return page


def page_is_current(session: Session, results: Results) -> bool:
    """Tell whether the page is there and shows these results."""
    page, stamp = session.folder / PAGE, session.folder / PAGE.parent / STAMP
    return page.is_file() and stamp.is_file() and stamp.read_text() == _key(session, results)


def _key(session: Session, results: Results) -> str:
    searched = results.searched
    studies = [{arm: study.to_json() for arm, study in found.items()} for found in (searched.studies, searched.finals)]
    return digest(results.to_json(session.experiment.name), session.experiment.to_json(), studies, __version__)


def _inputs(session: Session, results: Results) -> ReportInputs:
    return ReportInputs(
        experiment=session.experiment,
        summary=results.summary,
        predictions=results.predictions,
        analysis=results.analysis,
        studies=_studies(results.searched),
        verdict=results.verdict,
        curves=_curves(results),
        manifest=results.prepared.manifest,
        ledger=results.prepared.ledger,
        provenance=_provenance(session, results),
        search_sentence=SEARCH_SENTENCE,
        pretraining=_pretraining(results),
        transfers=_transfers(session, results),
        cases=_cases(results),
        samples=_samples(results.prepared.age.split("train"), session.experiment.training.diagnoses),
        test_openings=TestLedger(session.folder / TEST_LEDGER).entries(),
        audit=results.prepared.audit,
    )


def _studies(searched: Searched) -> dict[str, StudyReport]:
    return {
        arm: StudyReport(
            trials=[TrialReport(**vars(trial)) for trial in study.trials],
            selected_trial=searched.selected[arm].trial,
            params=searched.selected[arm].params,
            epochs=searched.selected[arm].epochs,
            changes=searched.selected[arm].changes,
            wanted=study.wanted,
            ended=study.ended,
            again=_again(searched, arm),
            why=searched.selected[arm].why,
        )
        for arm, study in searched.studies.items()
    }


def _again(searched: Searched, arm: str) -> TrialReport | None:
    """Return the chosen settings as the fresh seeds trained them; None where there are no finalists."""
    if arm not in searched.finals:
        return None
    _, number = source(searched.plans[arm], searched.studies[arm], searched.selected[arm])
    trials = {trial.number: trial for trial in searched.finals[arm].trials}
    return TrialReport(**vars(trials[number]))


def _curves(results: Results) -> dict[str, dict[int, Curve]]:
    curves: dict[str, dict[int, Curve]] = {}
    for model in results.models:
        curves.setdefault(model.arm, {})[model.seed] = model.fit.curve
    return curves


def _pretraining(results: Results) -> list[PretrainingReport]:
    return [
        PretrainingReport("+".join(node.chain), node.backbone.kind, seed, fit.curve)
        for node, fits in results.pretrained.fits.items()
        for seed, fit in enumerate(fits)
    ]


def _transfers(session: Session, results: Results) -> list[Transfer]:
    """Say what went over at each step: from elsewhere into our own format, and from one training to the next."""
    rows = []
    for node, config in import_nodes(session):
        about = read_transfer(session, config, node)
        loaded, missing, left_out = (about[part] for part in ("loaded", "missing", "unexpected"))
        source = f"{config.uri}, SHA-256 {about['sha256']}"
        more = [f"and {len(left_out) - NAMED} more"] if len(left_out) > NAMED else []
        names = [*left_out[:NAMED], *more]
        rows.append(Transfer(node.label, source, len(loaded), len(missing), len(left_out), names))
    fits = [(node.label, node.chain[:-1], fit) for node, fits in results.pretrained.fits.items() for fit in fits]
    fits += [(m.arm, session.experiment.arms[m.arm].pretraining, m.fit) for m in results.models]
    for name, chain, fit in fits:
        if (went := fit.transfer) is not None:
            rows.append(Transfer(name, "+".join(chain), went.loaded, went.missing, went.left_out))
    return [row for i, row in enumerate(rows) if row not in rows[:i]]  # seeds are alike


def _cases(results: Results) -> dict[str, int] | None:
    store = results.prepared.segmentation
    return None if store is None else {str(k): int(v) for k, v in store.manifest["cohort"].value_counts().items()}


def _samples(split: StoredSplit, diagnoses: Sequence[str]) -> list[SampleSlices]:
    """Take the middle slice of some training people, from young to old."""
    samples = []
    for diagnosis in diagnoses:
        scans = split.scans[split.scans["diagnosis"] == diagnosis].sort_values("age_years")
        if len(scans):
            places = np.linspace(0, len(scans) - 1, min(SAMPLES_PER_DIAGNOSIS, len(scans))).astype(int)
            rows = scans.index[places]
            images = np.stack([_middle(split, int(row)) for row in rows])
            samples.append(SampleSlices(diagnosis, images, [float(age) for age in scans.loc[rows, "age_years"]]))
    return samples


def _middle(split: StoredSplit, scan: int) -> np.ndarray:
    mine = split.take(np.arange(len(split.scans)) == scan).images()
    return np.asarray(mine[len(mine) // 2], dtype=np.float32)


def _provenance(session: Session, results: Results) -> Provenance:
    return Provenance(
        date=datetime.now(UTC).date().isoformat(),
        git_commit=", ".join(dict.fromkeys(fit.commit for fit in _fits(results))),
        data_hash=results.prepared.data_hash,
        versions={name: version(name) for name in VERSIONS} | {"Python": platform.python_version()},
        hardware=_hardware(results),
        stage_seconds=read_timings(session.folder),
        training_hours=_training_hours(session, results),
    )


def _training_hours(session: Session, results: Results) -> dict[str, TrainingHours]:
    """Sum the seconds of all trainings by stage, and what they held of GPUs."""
    experiment, held = session.experiment, session.experiment.resources
    hours: dict[str, TrainingHours] = {}
    for name, config in experiment.pretraining.items():
        if isinstance(config, SegmentationPretraining):
            mine = [fits for node, fits in results.pretrained.fits.items() if node.chain[-1] == name]
            seconds = [fit.seconds for fits in mine for fit in fits]
            hours[f"pretrain {name}"] = _hours(seconds, held.gpus_per_worker * team(config))
    of_trial = held.gpus_of_trial(experiment.search.workers_per_trial)
    for arm, study in results.searched.studies.items():
        hours[f"search {arm}"] = _hours([trial.seconds for trial in study.trials], of_trial)
    for arm, study in results.searched.finals.items():
        hours[f"finalists {arm}"] = _hours([trial.seconds for trial in study.trials], of_trial)
    refits = [model.fit.seconds for model in results.models]
    return hours | {"refit": _hours(refits, held.gpus_per_worker * team(experiment.refit))}


def _hours(seconds: Sequence[float], gpus: float) -> TrainingHours:
    hours = sum(seconds) / 3600
    return TrainingHours(hours, hours * gpus)


def _fits(results: Results) -> list[FitResult]:
    pretraining = [fit for fits in results.pretrained.fits.values() for fit in fits]
    return [*pretraining, *(model.fit for model in results.models)]


def _hardware(results: Results) -> dict[str, str]:
    trained_on = sorted({model.fit.device for model in results.models})
    return {
        "trained on": ", ".join(trained_on),
        "driver": f"{platform.machine()}, {os.cpu_count()} cores, {torch.cuda.device_count()} GPUs",
    }
