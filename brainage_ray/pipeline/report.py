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

from brainage_ray.config.base import digest
from brainage_ray.data import StoredSplit, TestLedger, atomic_write, code_version
from brainage_ray.pipeline.evaluate import TEST_LEDGER
from brainage_ray.pipeline.results import Results
from brainage_ray.pipeline.search import Searched
from brainage_ray.pipeline.session import Session, read_timings
from brainage_ray.report import (
    Curve,
    PretrainingReport,
    Provenance,
    ReportInputs,
    SampleSlices,
    StudyReport,
    TrialReport,
    write_report,
)

PAGE = Path("report") / "index.html"
SAMPLES_PER_DIAGNOSIS = 4
VERSIONS = ("brainage-ray", "torch", "monai", "numpy", "ray", "optuna", "mlflow", "nilearn", "scipy", "statsmodels")
SEARCH_SENTENCE = (
    "A trial that was trained to its end is told to Optuna as complete with its best value, one that the "
    "scheduler stopped as pruned with what it had reported, and one that ended in NaN or an error as failed "
    "with the reason; only complete trials can be chosen."
)


def make_page(session: Session, results: Results) -> Path:
    """Write the page, its figures and tables, and put them into MLflow; once for the same content."""
    page, stamp = session.folder / PAGE, session.folder / PAGE.parent / ".key"
    key = _key(session, results)
    if not (page.is_file() and stamp.is_file() and stamp.read_text() == key):
        write_report(_inputs(session, results), page.parent)
        session.tracking.tracker.log_files(page.parent, "report")
        with atomic_write(stamp) as file:  # last: where it is, the page is whole
            file.write(key.encode())
    return page


def _key(session: Session, results: Results) -> str:
    studies = {arm: study.to_json() for arm, study in results.searched.studies.items()}
    return digest(results.to_json(session.experiment.name), session.experiment.to_json(), studies, code_version())


def _inputs(session: Session, results: Results) -> ReportInputs:
    return ReportInputs(
        experiment=session.experiment,
        summary=results.summary,
        predictions=results.predictions,
        studies=_studies(results.searched),
        curves=_curves(results),
        manifest=results.prepared.age.manifest,
        ledger=results.prepared.ledger,
        provenance=_provenance(session, results),
        search_sentence=SEARCH_SENTENCE,
        pretraining=_pretraining(results),
        cases=_cases(results),
        samples=_samples(results.prepared.age.split("train"), session.experiment.training.diagnoses),
        test_openings=TestLedger(session.folder / TEST_LEDGER).entries(),
    )


def _studies(searched: Searched) -> dict[str, StudyReport]:
    return {
        arm: StudyReport(
            trials=[TrialReport(**vars(trial)) for trial in study.trials],
            selected_trial=searched.selected[arm].trial,
            params=searched.selected[arm].params,
            epochs=searched.selected[arm].epochs,
        )
        for arm, study in searched.studies.items()
    }


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
        git_commit=code_version(),
        data_hash=results.prepared.age.content_hash,
        versions={name: version(name) for name in VERSIONS} | {"Python": platform.python_version()},
        hardware=_hardware(results),
        stage_seconds=read_timings(session.folder),
    )


def _hardware(results: Results) -> dict[str, str]:
    trained_on = sorted({model.fit.device for model in results.models})
    return {
        "trained on": ", ".join(trained_on),
        "driver": f"{platform.machine()}, {os.cpu_count()} cores, {torch.cuda.device_count()} GPUs",
    }
