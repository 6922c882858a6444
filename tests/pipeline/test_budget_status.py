"""What `brainage status` and the report say of a search that its budget ended."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from sessions import session_of

from brainage_ray.config import load_experiment
from brainage_ray.data import AuditReport
from brainage_ray.execution.study import Study
from brainage_ray.pipeline.prepare import Prepared
from brainage_ray.pipeline.pretrain import Pretrained
from brainage_ray.pipeline.search import Searched, study_plan
from brainage_ray.pipeline.status import _search

QUICKSTART = Path(__file__).resolve().parents[2] / "experiments" / "quickstart.yaml"


@pytest.fixture
def prepared() -> Prepared:
    store = SimpleNamespace(folder=Path("store"), content_hash="0123", manifest=pd.DataFrame())
    return Prepared(store, store, store, pd.DataFrame(), AuditReport((), {}, 0, 0, 0))


def test_status_says_why_a_search_ended_and_takes_it_as_done(prepared: Prepared, tmp_path: Path):
    known = Pretrained({}, {})
    budgets = ["search.budget.max_trials=2", "search.budget.max_trials=3"]
    one, more = (session_of(load_experiment(QUICKSTART, [budget]), tmp_path) for budget in budgets)
    plan = study_plan(one, prepared, known, "unet")
    with Study(plan) as study:
        while (trial := study.ask()) is not None:
            for epoch in range(trial.epochs):
                study.report(trial, epoch + 1, [5.0] * plan.search.seeds_per_trial)
            study.tell(trial, "complete", 1.0)
    found = Searched({}, {})
    (row,) = _search(one, prepared, known, "unet", found)
    assert (row.done, row.total) == (2, study.wanted)
    assert row.note == "best 5.00 years; ended by its budget: 2 trials spent search.budget.max_trials: 2"
    assert list(found.selected) == ["unet"]
    goes_on = Searched({}, {})
    (row,) = _search(more, prepared, known, "unet", goes_on)
    assert (row.done, row.note) == (2, "best 5.00 years")
    assert not goes_on.selected


def test_status_takes_for_best_what_may_be_chosen_and_counts_the_others(prepared: Prepared, tmp_path: Path):
    session = session_of(load_experiment(QUICKSTART, ["search.trials=5"]), tmp_path)
    plan = study_plan(session, prepared, Pretrained({}, {}), "unet")

    def note() -> str:
        (row,) = _search(session, prepared, Pretrained({}, {}), "unet", Searched({}, {}))
        return row.note

    with Study(plan) as study:
        trials = [study.ask() for _ in range(4)]
        for trial, value in zip(trials, (3.0, 5.0, 9.0, 2.0), strict=True):
            study.report(trial, 1, [value] * plan.search.seeds_per_trial)
        study.tell(trials[0], "pruned", 1.0)
        assert note() == "no trial complete, lowest so far 2.00 years; 1 stopped early, 3 not over after 3 epochs"
        study.tell(trials[1], "complete", 1.0)
        study.fail(trials[2], "nan", "it diverged")
        assert note() == "best 5.00 years; 1 stopped early, 1 failed, 1 not over after 1 epochs"
