"""A workspace that moves takes its artifacts with it, and goes on where it is."""

from __future__ import annotations

import shutil
import sqlite3

import pytest

from brainage_ray.errors import EngineError
from brainage_ray.tracking import MlflowTracker, Registration, find_models, has_models
from brainage_ray.tracking.client import open_existing


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.json").write_text('{"seeds": 1}')
    return folder


@pytest.fixture
def moved(workspace, model, tmp_path):
    """A workspace whose old place cannot be written any more."""
    with MlflowTracker(workspace, "exp", {"name": "exp"}) as tracker:
        tracker.log_models(Registration("exp", "unet", "d1"), model)
    shutil.copytree(workspace, tmp_path / "new place")
    shutil.rmtree(workspace)
    workspace.write_text("a file")
    return tmp_path / "new place"


def test_a_moved_workspace_gives_and_takes_models_where_it_is(moved, model):
    assert (find_models(moved, "exp", "unet").folder / "model.json").read_text() == '{"seeds": 1}'
    (model / "model.json").write_text('{"seeds": 2}')
    with MlflowTracker(moved, "exp") as tracker:
        tracker.log_models(Registration("exp", "unet", "d2"), model)
        tracker.log_files(model / "model.json", "deep/down")
        assert tracker.flush(60)
        assert tracker.close() == 0
    assert (find_models(moved, "exp", "unet").folder / "model.json").read_text() == '{"seeds": 2}'
    assert len(list((moved / "artifacts" / "exp").glob("*/artifacts/deep/down/model.json"))) == 1


def test_a_place_that_cannot_be_written_holds_up_nothing(workspace, model, runs_of):
    with MlflowTracker(workspace, "exp") as tracker:
        assert tracker.flush(60)
        shutil.rmtree(workspace / "artifacts")
        (workspace / "artifacts").write_text("a file")
        tracker.log_files(model)
        tracker.summary({"test_mae": 4.0}, "unet")
        assert tracker.flush(60)
        assert tracker.close() == 1
    assert runs_of("exp")["exp/unet"].data.metrics == {"test_mae": 4.0}


def test_models_whose_files_are_gone_are_refused_in_words(workspace, model):
    with MlflowTracker(workspace, "exp") as tracker:
        tracker.log_models(Registration("exp", "unet", "d1"), model)
    shutil.rmtree(workspace / "artifacts")
    with pytest.raises(EngineError, match=r"There is no .*models/d1 any more"):
        find_models(workspace, "exp", "unet")


def test_the_database_alone_tells_whose_models_it_has(workspace, model, tmp_path):
    assert not has_models(tmp_path, "exp")
    assert not has_models(workspace, "exp")
    with MlflowTracker(workspace, "exp") as tracker:
        tracker.log_models(Registration("exp", "unet", "d1"), model)
    assert has_models(workspace, "exp")
    assert not has_models(workspace, "other")
    client = open_existing(workspace)
    for run in client.search_runs([client.get_experiment_by_name("exp").experiment_id]):
        client.delete_run(run.info.run_id)
    assert not has_models(workspace, "exp")


def test_a_database_of_something_else_has_no_models(tmp_path):
    with sqlite3.connect(tmp_path / "mlflow.db") as connection:
        connection.execute("CREATE TABLE tags (a)")
    connection.close()
    assert not has_models(tmp_path, "exp")
