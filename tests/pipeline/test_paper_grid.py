"""The published search, run for run: six arms, three learning rates, five seeds, each trained to its end."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pandas as pd
from sessions import session_of

from brainage_ray.config import load_experiment
from brainage_ray.data import AuditReport
from brainage_ray.execution.session import trial_runs
from brainage_ray.execution.study import Study
from brainage_ray.pipeline.prepare import Prepared
from brainage_ray.pipeline.search import study_plan

PAPER = Path(__file__).resolve().parents[2] / "experiments" / "bracis2023.yaml"
ARMS = ["unet", "unet+brats", "resnet", "resnet+brats", "resnet+imagenet", "resnet+imagenet+brats"]


def test_the_papers_search_is_its_ninety_runs_each_once(tmp_path: Path):
    session = session_of(load_experiment(PAPER), tmp_path)
    store = SimpleNamespace(folder=Path("store"), content_hash="0123", manifest=pd.DataFrame())
    prepared = Prepared(store, store, store, pd.DataFrame(), AuditReport((), {}, 0, 0, 0))
    untrained = SimpleNamespace(initial=lambda backbone, chain: ())
    found = []
    for arm in session.experiment.arms:
        with Study(study_plan(session, prepared, untrained, arm)) as study:
            while (trial := study.ask()) is not None:
                runs = trial_runs(study._plan, trial.number, trial.params)
                found += [(arm, run.training.optimizer.lr, run.seed) for run in runs]
                settings = {(t.optimizer.name, t.loss, t.batch_size, t.max_epochs) for t in (r.training for r in runs)}
                assert settings == {("adam", "mse", 64, 50)}
                stops = [study.report(trial, epoch, [9.0 + trial.number] * len(runs)) for epoch in range(1, 51)]
                assert not any(stops)
                study.tell(trial, "complete", 0.0)
    assert found == [(arm, lr, seed) for arm in ARMS for lr in (1e-3, 1e-4, 1e-5) for seed in range(5)]
