"""Finalists with fresh seeds, from phantoms to the page, for real; killed in their midst, and started again."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import mlflow
import numpy as np
import pytest
import yaml
from forked_commands import kill, members

from brainage_ray.config import load_experiment
from brainage_ray.data import SliceStore
from brainage_ray.evaluation.aggregate import aggregate_slices
from brainage_ray.evaluation.predictions import baseline_scans
from brainage_ray.execution import load_study_result
from brainage_ray.pipeline import make_plan, pull, read_status, run_experiment

pytestmark = [pytest.mark.ray, pytest.mark.slow]

EXPERIMENT = {
    "name": "finals",
    "data": {
        "sources": [{"kind": "phantom", "subjects": 24, "tumours": 0, "seed": 0}],
        "preprocessing": {
            "voxel_mm": 4.0, "slice_range_mm": [60.0, 100.0], "slice_step_mm": 20.0, "slice_shape": [48, 48],
        },
        "split": {"rule": "by_subject", "fractions": {"train": 0.5, "validation": 0.25, "test": 0.25}},
    },
    "arms": {
        "wide": {"backbone": {"kind": "unet", "width": 0.25, "depth": 3}},
        "narrow": {"backbone": {"kind": "unet", "width": 0.125, "depth": 3}},
    },
    "training": {"max_epochs": 2, "batch_size": 8},
    "search": {
        "space": {"parameters": {"training.optimizer.lr": {"type": "categorical", "choices": [1e-4, 1e-3, 1e-2]}}},
        "sampler": "grid", "finalists": 2, "finalist_seeds": 2, "choice": "one_standard_error",
    },
    "refit": {"seeds": [0, 1], "workers": 2},
}  # fmt: skip


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("experiment") / "finals.yaml"
    path.write_text(yaml.safe_dump(EXPERIMENT, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("workspace")


@pytest.fixture(scope="module")
def result(file, workspace, cluster):
    return run_experiment(load_experiment(file), workspace)


@pytest.fixture(scope="module")
def selected(result, workspace):
    return json.loads((workspace / "finals" / "results.json").read_text())["selected"]


def last_of(folder: Path, arm: str) -> Path:
    (study,) = folder.glob(f"search/{arm}-*/finalists/*")
    return study


def test_the_stated_error_is_the_mean_over_fresh_seeds_of_what_they_read(result, selected, workspace):
    folder = workspace / "finals"
    (store,) = (folder / "store").iterdir()
    split = SliceStore.open(store / "age").split("validation")
    healthy = split.take((split.scans["diagnosis"] == "CN").to_numpy())
    first = baseline_scans(healthy.scans).index
    truth = healthy.scans["age_years"].to_numpy()
    for arm, chosen in selected.items():
        study = load_study_result(last_of(folder, arm))
        assert len(study.trials) == 2
        assert chosen["fresh_seeds"] == [1, 2], "the trials of the search had the seed 0"
        maes = []
        for place in range(2):
            files = sorted((last_of(folder, arm) / "trials" / f"{place:03d}").glob("seed-*/validation_slices.npy"))
            ages = [aggregate_slices(np.load(f)[-1], healthy.slice_scan, len(healthy.scans), "median") for f in files]
            maes.append(np.mean([np.abs(age - truth)[first].mean() for age in ages]))
        assert maes == pytest.approx([trial.values[-1] for trial in study.trials], rel=1e-5)
        assert chosen["validation_mae"] in [trial.best_value for trial in study.trials]
        assert chosen["optimism_years"] == pytest.approx(chosen["validation_mae"] - chosen["search_mae"])
        assert result.validation_mae[arm] == chosen["validation_mae"]


def test_what_comes_after_rests_on_the_fresh_seeds(result, selected, workspace):
    analysis = json.loads((workspace / "finals" / "analysis.json").read_text())
    for arm, chosen in selected.items():
        rules = {row["rule"]: row for row in analysis["slices"][arm]["rules"]}
        assert rules["median"]["validation_years"] == pytest.approx(chosen["validation_mae"], rel=1e-5)
    models = json.loads((workspace / "finals" / "results.json").read_text())["models"]
    assert {(m["arm"], m["epochs"]) for m in models} == {(arm, chosen["epochs"]) for arm, chosen in selected.items()}


def test_no_winner_is_declared_on_a_handful_of_people_and_the_cheapest_arm_goes_on(result, workspace, tmp_path):
    results = json.loads((workspace / "finals" / "results.json").read_text())
    (pair,) = results["verdict"]["comparisons"]
    assert pair["n_seeds"] == [2, 2]
    assert pair["p_adjusted"] > 0.05
    assert (results["champion"], results["winner"]) == ("narrow", None)
    assert result.verdict.startswith("No winner: wide and narrow are equal within noise")
    assert pull("finals", tmp_path / "models", workspace).arm == "narrow"


def test_the_page_the_status_and_the_plan_say_so(result, selected, file, workspace):
    page = (workspace / "finals" / "report" / "report.md").read_text()
    assert "of 2 finalists, mean over 2 fresh seeds" in page
    assert "trained again with 2 fresh seeds that no trial had" in page
    assert result.verdict in page
    assert all(f"{chosen['validation_mae']:.2f}" in page for chosen in selected.values())
    rows = read_status(load_experiment(file), workspace)
    assert [(row.what, row.done, row.total) for row in rows if row.stage == "finalists"] == [
        ("wide", 2, 2), ("narrow", 2, 2),
    ]  # fmt: skip
    assert all(row.done == row.total for row in rows)
    plan = make_plan(load_experiment(file), workspace)
    assert [row.runs for row in plan.rows if "finalists" in row.what] == [3 + 4, 3 + 4]


def test_mlflow_holds_them_under_the_arm(result, workspace):
    client = mlflow.MlflowClient(f"sqlite:///{workspace / 'mlflow.db'}")
    runs = {run.info.run_id: run for run in client.search_runs([client.get_experiment_by_name("finals").experiment_id])}

    def path(run) -> str:
        parent = runs.get(run.data.tags.get("mlflow.parentRunId"))
        return f"{path(parent)}/{run.info.run_name}" if parent else run.info.run_name

    found = sorted(path(run) for run in runs.values() if "/finalists/" in path(run))
    assert found == [f"finals/{arm}/finalists/finalist-00{i}" for arm in ("narrow", "wide") for i in range(2)]


def test_a_second_run_trains_nothing(result, file, workspace):
    def contents():
        files = [
            path for path in (workspace / "finals").rglob("*") if path.is_file() and path.name != "experiment.json"
        ]
        return {str(path): path.stat().st_mtime_ns for path in files if path.name != ".lock"}

    before = contents()
    assert run_experiment(load_experiment(file), workspace).validation_mae == result.validation_mae
    assert contents() == before


def test_killed_among_its_finalists_it_goes_on_and_chooses_the_same(result, selected, commands, tmp_path):
    """Everything is killed, workers too, once a finalist has been trained or is about to be."""
    workspace, file = tmp_path / "ws", tmp_path / "one.yaml"
    arms = {"narrow": EXPERIMENT["arms"]["narrow"]}  # an arm's search knows nothing of the others
    file.write_text(yaml.safe_dump(EXPERIMENT | {"arms": arms}, sort_keys=False))
    command = ("search", str(file), "--workspace", str(workspace))
    session = commands.start(*command)
    while not list(workspace.glob("finals/search/*/finalists/*/trials/*/seed-*/result.json")):
        assert session in members(session), commands.log.read_text()[-3000:]
        time.sleep(0.05)
    kill(session)
    assert commands.wait(session) == -signal.SIGKILL
    kept = {path: path.stat().st_mtime_ns for path in workspace.glob("finals/search/*/**/result.json")}
    assert commands.wait(commands.start(*command)) == 0, commands.log.read_text()[-3000:]
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())
    rows = {(row.stage, row.what): row for row in read_status(load_experiment(file), workspace)}
    study = load_study_result(last_of(workspace / "finals", "narrow"))
    assert [trial.state for trial in study.trials] == ["complete", "complete"]
    chosen = selected["narrow"]
    assert rows["finalists", "narrow"].note == f"trial {chosen['trial']}: {chosen['validation_mae']:.2f} years"
