"""Invented results that look like real ones: for the tests, and to look at the page while working on it.

python -c "import report_inputs as r; r.write_report(r.inputs_of(arms=6, seeds=5), Path('page'))"
"""

from __future__ import annotations

import json

import numpy as np
import pandas as pd

from brainage_ray.config import Experiment
from brainage_ray.data import AuditReport, audit_manifest
from brainage_ray.evaluation.analysis import Analysis, Beside, analyse
from brainage_ray.evaluation.arm_analysis import How, Predicted
from brainage_ray.evaluation.predictions import COLUMNS
from brainage_ray.evaluation.pretraining_effect import factors_of
from brainage_ray.evaluation.ridge import RidgeResult
from brainage_ray.evaluation.scan_intervals import NAMES, UncertaintyAnalysis, analyse_uncertainty
from brainage_ray.evaluation.slice_ages import SliceAges, analyse_slices
from brainage_ray.evaluation.summary import Summary, summarise
from brainage_ray.report import (
    PretrainingReport,
    Provenance,
    ReportInputs,
    SampleSlices,
    StudyReport,
    TrainingHours,
    Transfer,
    TrialReport,
)

ARMS = {
    "unet": ("unet", ()),
    "unet+brats": ("unet", ("brats",)),
    "resnet": ("resnet50", ()),
    "resnet+brats": ("resnet50", ("brats",)),
    "resnet+imagenet": ("resnet50", ("imagenet",)),
    "resnet+imagenet+brats": ("resnet50", ("imagenet", "brats")),
}
OLDER = {"CN": 0.0, "MCI": 1.6, "AD": 4.2}
RATES = [1e-3, 1e-4, 1e-5]


def experiment_of(arms: int, seeds: int, **changes) -> Experiment:
    names = list(ARMS)[:arms]
    stages = {
        "brats": {"kind": "segmentation", "seeds": 2},
        "imagenet": {"kind": "weights", "uri": "w.pth", "sha256": "0676ba61"},
    }
    used = {stage for name in names for stage in ARMS[name][1]}
    data = {
        "name": "bracis2023" if arms == 6 else "quickstart",
        "description": "Does pre-training on tumour segmentation help a brain-age model? Asked of invented people.",
        "data": {"sources": [{"kind": "phantom"}], "split": {"rollover": "exclude_from_training"}},
        "arms": {name: {"backbone": {"kind": ARMS[name][0]}, "pretraining": ARMS[name][1]} for name in names},
        "pretraining": {name: stage for name, stage in stages.items() if name in used},
        "search": {
            "space": {"parameters": {"training.optimizer.lr": {"type": "categorical", "choices": tuple(RATES)}}},
            "seeds_per_trial": 5 if arms == 6 else 1,
            "smooth_epochs": 5 if arms == 6 else 1,
        },
        "refit": {"seeds": tuple(range(seeds))},
    }
    return Experiment.model_validate_json(json.dumps(data | changes))


def predictions_of(arms, seeds: int, people: int = 240) -> pd.DataFrame:
    rng = np.random.default_rng(7)
    diagnosis = rng.choice(["CN", "MCI", "AD"], people, p=[0.5, 0.3, 0.2])
    age = np.clip(rng.normal(74, 6.5, people), 55, 92)
    sex = rng.choice(["F", "M"], people)
    older = np.array([OLDER[d] for d in diagnosis]) + rng.normal(0, 3.2, people)
    parts = []
    for i, arm in enumerate(arms):
        for seed in range(seeds):
            brain = age - 0.12 * (age - 74) + older + rng.normal(0, 1.2 + 0.25 * i, people)
            parts.append(
                pd.DataFrame({
                    "cohort": "ADNI", "subject": [f"{i % 60:03d}_S_{i:04d}" for i in range(people)],
                    "person": [f"ADNI/{i}" for i in range(people)], "session": "2006-05-04",
                    "image": [f"I{10000 + i}" for i in range(people)], "site": "002", "split": "test",
                    "diagnosis": diagnosis, "sex": sex, "age_years": age, "arm": arm, "seed": seed,
                    "brain_age_years": brain, "brain_age_delta_years": brain - age,
                })[COLUMNS]
            )  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def study_of(level: float, trials: int = 14, epochs: int = 24, seed: int = 0) -> StudyReport:
    rng = np.random.default_rng(seed)
    made = []
    for number in range(trials):
        rate = float(10 ** rng.uniform(-5, -2))
        floor = level + 1.4 * abs(np.log10(rate) + 3.6) ** 1.5
        ended = int(rng.integers(4, 10)) if number % 3 == 2 else epochs
        noise = rng.normal(0, 0.12, (ended, 5))
        curve = floor + 6 * np.exp(-np.arange(ended)[:, None] / 4) + noise
        params = {"training.optimizer.lr": rate, "training.batch_size": int(rng.choice([32, 64]))}
        if number == 7:
            made.append(TrialReport(number, params, "failed", reason="loss is NaN in epoch 2"))
            continue
        means = curve.mean(axis=1)
        state = "complete" if ended == epochs else "pruned"
        made.append(
            TrialReport(
                number, params, state, tuple(means), tuple(map(tuple, curve)),
                float(means.min()), int(means.argmin()) + 1, 60.0,
            )
        )  # fmt: skip
    best = min((t for t in made if t.state == "complete"), key=lambda t: t.best_value)
    return StudyReport(made, best.number, best.params, best.best_epoch)


def pretraining_of(backbones) -> list[PretrainingReport]:
    rng = np.random.default_rng(3)
    classes = {"whole_tumour": 0.88, "core": 0.74, "enhancing": 0.68}
    runs = []
    for backbone in backbones:
        for seed in range(3):
            curve = []
            for epoch in range(30):
                rise = 1 - np.exp(-(epoch + 1) / 6)
                dice = {f"validation_dice_{k}": float(v * rise + rng.normal(0, 0.015)) for k, v in classes.items()}
                curve.append(
                    {"train_loss": 1.0 - rise, **dice, "validation_dice_mean": float(np.mean([*dice.values()]))}
                )
            runs.append(PretrainingReport("brats", backbone, seed, curve))
    return runs


def slices_of(count: int = 5) -> list[SampleSlices]:
    rng = np.random.default_rng(1)
    y, x = np.mgrid[-1:1:96j, -1:1:96j]
    groups = []
    for i, diagnosis in enumerate(OLDER):
        images = np.zeros((count, 96, 96))
        for image in images:
            inside = (x / 0.62) ** 2 + (y / 0.8) ** 2 < 1
            folds = np.sin(14 * x + rng.normal()) * np.sin(12 * y + rng.normal())
            ventricle = (np.abs(x) / (0.12 + 0.04 * i)) ** 2 + (y / 0.3) ** 2 < 1
            image[inside] = (0.4 * folds + 0.3 * rng.normal(size=y.shape) - 2.2 * ventricle + 0.5)[inside]
        groups.append(
            SampleSlices(diagnosis, images.astype(np.float16), [float(a) for a in rng.uniform(58, 88, count)])
        )
    return groups


def manifest_of() -> pd.DataFrame:
    rng = np.random.default_rng(5)
    rows = 900
    people = rng.integers(0, 600, rows)
    split = np.array(["train", "train", "train", "validation", "test"])[people % 5]
    return pd.DataFrame({
        "person": [f"ADNI/{i}" for i in people], "session": "2006-05-04", "split": split,
        "diagnosis": np.array(["CN", "MCI", "AD"])[people % 3], "age_years": 55 + people % 37 + rng.uniform(0, 1, rows),
        "sex": np.array(["F", "M"])[people % 2],
    })  # fmt: skip


def audit_of(**changes) -> AuditReport:
    scans = manifest_of().assign(use="age", cohort="ADNI", subject="", image=[f"I{i}" for i in range(900)])
    scans["contents"] = [f"{i:032x}" for i in range(900)]
    return audit_manifest(scans.assign(**changes))


def ledger_of(out: int = 23) -> pd.DataFrame:
    reasons = ["diagnosis SMC is left out", "is in training and in the test split", "brain is cut off at slice 12"]
    statuses = ["excluded", "excluded", "failed"]
    rows = [("ADNI", f"002_S_{i:04d}", "2006-05-04", f"I{i}", "done", "") for i in range(900)]
    for i in range(out):
        which = 0 if i < out // 2 else 1 + (i % 3 == 0)
        rows.append(("ADNI", f"005_S_{i:04d}", "2007-01-02", f"I9{i:03d}", statuses[which], reasons[which]))
    return pd.DataFrame(rows, columns=["cohort", "subject", "session", "image", "status", "reason"])


def validation_of(arms, people: int = 90) -> dict[str, Predicted]:
    """Healthy validation people, read with the same regression towards the mean as the test people."""
    rng = np.random.default_rng(11)
    age = np.clip(rng.normal(74, 6.5, people), 55, 92)
    scans = pd.DataFrame({
        "person": [f"ADNI/v{i}" for i in range(people)], "diagnosis": "CN", "sex": rng.choice(["F", "M"], people),
        "site": "002", "age_years": age,
    })  # fmt: skip
    read = {arm: age - 0.12 * (age - 74) + rng.normal(0, 3.4, (3, people)) for arm in arms}
    return {arm: Predicted(scans, brain_ages, (0, 1, 2)) for arm, brain_ages in read.items()}


def analysis_of(experiment: Experiment, predictions: pd.DataFrame) -> Analysis:
    how = How(experiment.evaluation.diagnoses, experiment.training.diagnoses, draws=1000)
    one, factors = experiment.evaluation.one_scan_per_subject, factors_of(experiment.arms, experiment.pretraining)
    beside = Beside(
        {arm: analyse_slices(slices_read(i), slices_read(i + 9), "median") for i, arm in enumerate(experiment.arms)},
        RidgeResult(n_training=600, n_scans=108, alpha=31.6, mae_years=4.61),
        {arm: uncertainty_of(i) for i, arm in enumerate(experiment.arms)},
    )
    return analyse(predictions, one, validation_of(experiment.arms), factors, how, beside)


def uncertainty_of(seed: int) -> UncertaintyAnalysis:
    test = slices_read(seed + 30)
    names = [("ADNI", f"{i:03d}_S_{i:04d}", "bl", f"I{i}", "CN") for i in range(len(test.age))]
    counted = np.ones(len(names), dtype=bool)
    return analyse_uncertainty(pd.DataFrame(names, columns=NAMES), counted, test, slices_read(seed + 60), "median")


def slices_read(seed: int, people: int = 40, places: int = 40) -> SliceAges:
    """Slices at the ends of the brain read worse."""
    rng = np.random.default_rng(seed)
    age, scan = rng.uniform(55, 92, people), np.repeat(np.arange(people), places)
    position = np.tile(35.0 + 2 * np.arange(places), people)
    spread = 5 + 0.004 * (position - 75) ** 2
    years = age[scan] + rng.normal(0, 3, people)[scan] + rng.normal(0, 1, (3, len(scan))) * spread
    return SliceAges(years, scan, position, age)


def summary_of(experiment: Experiment, predictions: pd.DataFrame) -> Summary:
    training_ages = np.random.default_rng(0).normal(73, 7, 600)
    return summarise(predictions, experiment.evaluation, experiment.statistics, training_ages)


def inputs_of(arms: int = 2, seeds: int = 3, people: int = 240, **changes) -> ReportInputs:
    experiment = changes.pop("experiment", None) or experiment_of(arms, seeds)
    names = list(experiment.arms)
    predictions = changes.pop("predictions", None)
    if predictions is None:
        predictions = predictions_of(names, seeds, people)
    sha = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    losses = {
        seed: [{"train_loss": float(np.exp(-e / 5) + 0.02 * (1 + seed))} for e in range(18)] for seed in range(seeds)
    }
    values = {
        "experiment": experiment,
        "summary": summary_of(experiment, predictions),
        "analysis": analysis_of(experiment, predictions),
        "predictions": predictions,
        "studies": {name: study_of(3.2 + 0.1 * i, seed=i) for i, name in enumerate(names)},
        "curves": dict.fromkeys(names, losses),
        "manifest": manifest_of(),
        "ledger": ledger_of(),
        "audit": audit_of(),
        "provenance": Provenance(
            date="23 November 2025, 02:31 UTC",
            git_commit="ae62220f3c1d9b7a4f55a0c9d6f2f8c3b7e1d0a4",
            data_hash="4d967a30111bf29f",
            versions={"brainage_ray": "0.1.0", "torch": "2.9.1", "ray": "2.52.0", "optuna": "4.6.0"},
            hardware={"GPU": "1 \N{MULTIPLICATION SIGN} NVIDIA H200", "CPU": "16 cores"},
            stage_seconds={"prepare": 312.4, "pretrain": 5025.0, "search": 9040.2, "refit": 1475.0, "evaluate": 33.1},
            training_hours={"pretrain": TrainingHours(1.3, 1.3), "search": TrainingHours(9.5, 2.375)},
        ),
        "search_sentence": "Each epoch tells Optuna the validation MAE, averaged over the trial's seeds.",
        "pretraining": pretraining_of(sorted({arm.backbone.kind for arm in experiment.arms.values()})),
        "transfers": [
            Transfer(name, "+".join(arm.pretraining), 318, 0, 0)
            for name, arm in experiment.arms.items() if arm.pretraining
        ],
        "cases": {"BraTS2020": 369},
        "samples": slices_of(),
        "test_openings": [
            {"time": "2025-11-23T02:30:11+00:00", "user": "ana", "host": "node-3", "model": f"{name} seed {seed} {sha}",
             "commit": "ae62220f3c1d9b7a4f55a0c9d6f2f8c3b7e1d0a4", "store": "4d967a30111bf29f"}
            for name in names for seed in range(seeds)
        ],
    }  # fmt: skip
    return ReportInputs(**(values | changes))
