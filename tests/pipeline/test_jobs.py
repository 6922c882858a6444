"""The trainings that the stages ask for, without training any."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sessions import session_of

from brainage_ray.config import FitResult, load_experiment
from brainage_ray.data import AuditReport
from brainage_ray.pipeline import fitted
from brainage_ray.pipeline.chains import Node
from brainage_ray.pipeline.evaluate import prediction_file
from brainage_ray.pipeline.fitted import FittedModel
from brainage_ray.pipeline.prepare import Prepared
from brainage_ray.pipeline.pretrain import Pretrained, segmentation_jobs
from brainage_ray.pipeline.search import age_run

QUICKSTART = Path(__file__).resolve().parents[2] / "experiments" / "quickstart.yaml"
CASES = pd.DataFrame({"cohort": ["A", "A", "B"], "split": ["train", "validation", "train"]})


@pytest.fixture
def prepared():
    store = SimpleNamespace(folder=Path("store"), content_hash="0123", manifest=CASES)
    return Prepared(store, store, store, pd.DataFrame(), AuditReport((), {}, 0, 0, 0))


@pytest.mark.parametrize(("cohorts", "scored"), [("[]", "validation"), ('["A"]', "validation"), ('["B"]', None)])
def test_a_segmentation_is_scored_where_its_own_cohorts_have_a_case_to_score(cohorts, scored, prepared, tmp_path):
    session = session_of(load_experiment(QUICKSTART, [f"pretraining.brats.cohorts={cohorts}"]), tmp_path)
    node = Node(session.experiment.arms["unet+brats"].backbone, ("brats",))
    stage = session.experiment.pretraining["brats"]
    jobs = segmentation_jobs(session, prepared, stage, node, Pretrained({}, {}))
    assert [job.run.validation_split for job in jobs] == [scored] * stage.seeds


@pytest.mark.parametrize("counted", ["baseline", "all"])
def test_validation_counts_the_scans_that_the_test_counts(counted, prepared, tmp_path):
    session = session_of(load_experiment(QUICKSTART, [f"evaluation.one_scan_per_subject={counted}"]), tmp_path)
    assert age_run(session, prepared, session.experiment.arms["unet"]).one_scan_per_subject == counted


@pytest.fixture
def model(prepared, tmp_path):
    session = session_of(load_experiment(QUICKSTART), tmp_path)
    run = age_run(session, prepared, session.experiment.arms["unet"])
    return FittedModel("unet", 0, run, FitResult(key=run.key, curve=(), weights_sha256="4567"))


def test_a_final_model_predicts_on_all_cores(model, monkeypatch):
    threads = []
    monkeypatch.setattr(
        fitted, "predict_slice_years", lambda run, fit, split: threads.append(run.threads) or np.zeros(0)
    )
    model.slice_years(None)
    assert threads == [os.cpu_count()]


def test_predictions_of_another_version_of_the_code_are_not_taken(model, prepared, tmp_path, monkeypatch):
    session = session_of(load_experiment(QUICKSTART), tmp_path)
    before = prediction_file(session, prepared, model)
    monkeypatch.setattr("brainage_ray.pipeline.evaluate.TRAINING_VERSION", 99)
    assert prediction_file(session, prepared, model) != before
