from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest
import yaml

from brainage_ray.config.run import SettingsChange
from brainage_ray.tracking import MlflowTracker
from brainage_ray.tracking.client import open_existing
from brainage_ray.training.recorder import Recorder, RunInfo, tell_changes


def test_importing_the_package_loads_neither_mlflow_nor_torch():
    code = "import sys, brainage_ray.tracking; print({'mlflow', 'torch', 'ray'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_first_use_makes_the_database_without_a_word(first_use):
    workspace, printed = first_use
    assert (workspace / "mlflow.db").is_file()
    assert printed == ""


def test_runs_are_nested_as_their_paths_say(workspace, runs_of, trial):
    with MlflowTracker(workspace, "exp") as tracker:
        recorder: Recorder = tracker
        recorder.started(trial(1))
        recorder.started(RunInfo("refit0", "seed 0", "refit", "unet+brats/refit", {"seed": 0}))
        recorder.started(RunInfo("brats0", "seed 0", "pretrain", "pretraining/brats", {"seed": 0}))
    runs = runs_of("exp")
    parents = {key: run.data.tags.get("mlflow.parentRunId") for key, run in runs.items()}
    above = {
        "exp/unet+brats": "exp",
        "exp/unet+brats/study": "exp/unet+brats",
        "exp/unet+brats/refit": "exp/unet+brats",
        "exp/pretraining": "exp",
        "exp/pretraining/brats": "exp/pretraining",
        "key1": "exp/unet+brats/study",
        "refit0": "exp/unet+brats/refit",
        "brats0": "exp/pretraining/brats",
    }
    assert parents == {"exp": None} | {key: runs[parent].info.run_id for key, parent in above.items()}
    assert runs["exp/unet+brats/study"].info.run_name == "study"
    assert runs["key1"].data.tags["brainage.kind"] == "trial"


def test_params_metrics_and_status_arrive(workspace, runs_of, steps_of, trial):
    with MlflowTracker(workspace, "exp") as tracker:
        for number, status in enumerate(["complete", "pruned", "failed"]):
            tracker.started(trial(number, **{"training.batch_size": 32, "training.optimizer.name": "adam"}))
            for epoch in (1, 2, 3):
                tracker.epoch(f"key{number}", epoch, {"validation_mae": 6.0 - epoch, "train_loss": float("nan")})
            tracker.finished(f"key{number}", status, {"best_validation_mae": 3.0})
    runs = runs_of("exp")
    assert runs["key0"].data.params == {"training.batch_size": "32", "training.optimizer.name": "adam"}
    assert runs["key0"].data.metrics["validation_mae"] == 3.0
    assert runs["key0"].data.metrics["best_validation_mae"] == 3.0
    assert steps_of(runs["key0"].info.run_id, "validation_mae") == [1, 2, 3]
    assert [runs[f"key{i}"].info.status for i in range(3)] == ["FINISHED", "KILLED", "FAILED"]
    assert runs["key1"].data.tags["brainage.state"] == "pruned"
    assert runs["exp"].info.status == runs["exp/unet+brats/study"].info.status == "FINISHED"


def test_more_than_a_call_may_hold_is_written_in_several(workspace, runs_of, steps_of, trial):
    with MlflowTracker(workspace, "exp", interval_s=60) as tracker:
        tracker.started(trial(1, **{f"p{i}": i for i in range(230)}))
        for epoch in range(1, 451):
            tracker.epoch("key1", epoch, {"a": 1.0, "b": 2.0})
        assert tracker.flush(60)
    run = runs_of("exp")["key1"]
    assert len(run.data.params) == 230
    assert sorted(steps_of(run.info.run_id, "b")) == list(range(1, 451))


def test_a_restart_duplicates_nothing(workspace, runs_of, steps_of, trial):
    def everything(epochs):
        tracker.started(trial(1))
        for epoch in range(1, epochs + 1):
            tracker.epoch("key1", epoch, {"validation_mae": 5.0})

    tracker = MlflowTracker(workspace, "exp")
    everything(2)
    tracker.close("FAILED")
    before = runs_of("exp")
    assert [before[k].info.status for k in ("exp", "exp/unet+brats/study", "key1")] == ["FAILED", "FAILED", "KILLED"]
    with MlflowTracker(workspace, "exp") as tracker:
        everything(4)
        assert tracker.flush()
        assert runs_of("exp")["key1"].info.status == "RUNNING"
        tracker.finished("key1", "complete", {"best_validation_mae": 4.0})
    after = runs_of("exp")
    assert {k: run.info.run_id for k, run in before.items()} == {k: run.info.run_id for k, run in after.items()}
    assert {run.info.status for run in after.values()} == {"FINISHED"}
    assert steps_of(after["key1"].info.run_id, "validation_mae") == [1, 2, 3, 4]


def test_a_finished_run_that_is_told_again_stays_as_it_is(workspace, runs_of, steps_of, trial):
    for _ in range(2):
        with MlflowTracker(workspace, "exp") as tracker:
            tracker.started(trial(1))
            tracker.epoch("key1", 1, {"validation_mae": 5.0})
            tracker.finished("key1", "complete", {"best": 5.0})
            tracker.summary({"test_mae": 4.0}, "unet+brats")
            assert tracker.flush()
            ended = runs_of("exp")["key1"].info.end_time
            assert ended is not None
    runs = runs_of("exp")
    assert runs["key1"].info.end_time == ended
    assert steps_of(runs["key1"].info.run_id, "best") == [0]
    assert steps_of(runs["exp/unet+brats"].info.run_id, "test_mae") == [0]


def test_a_summary_that_changed_replaces_the_old_one(workspace, runs_of):
    for value in (4.0, 3.5):
        with MlflowTracker(workspace, "exp") as tracker:
            tracker.summary({"test_mae": value}, "unet")
    assert runs_of("exp")["exp/unet"].data.metrics == {"test_mae": 3.5}


def test_what_a_kill_left_running_and_nobody_takes_up_is_ended(workspace, runs_of, trial):
    tracker = MlflowTracker(workspace, "exp")
    tracker.started(trial(1))
    assert tracker.flush()
    assert runs_of("exp")["key1"].info.status == "RUNNING"
    with MlflowTracker(workspace, "exp"):
        pass
    assert runs_of("exp")["key1"].info.status == "KILLED"
    tracker.close()


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt, "KILLED"), (ValueError, "FAILED")])
def test_an_error_ends_the_groups_with_its_status(workspace, runs_of, error, status):
    with pytest.raises(error), MlflowTracker(workspace, "exp"):
        raise error
    assert runs_of("exp")["exp"].info.status == status


def test_config_environment_tags_and_files_are_kept(workspace, runs_of, tmp_path, trial):
    config = {"name": "exp", "arms": {"unet+brats": {"pretraining": ["brats"]}}, "lr": 1e-4}
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "index.html").write_text("<html>")
    (tmp_path / "table.csv").write_text("a,b")
    with MlflowTracker(workspace, "exp", config, {"early": "yes"}) as tracker:
        tracker.tag({"data_hash": "0123abcd"})
        tracker.started(trial(1))
        tracker.log_files(tmp_path / "report", "report")
        tracker.log_files(tmp_path / "table.csv", group="unet+brats")
    runs, client = runs_of("exp"), open_existing(workspace)
    tags = runs["exp"].data.tags
    assert {"hostname", "python", "version.torch", "version.mlflow"} <= set(tags)
    for key in ("exp", "key1"):
        assert (runs[key].data.tags["data_hash"], runs[key].data.tags["early"]) == ("0123abcd", "yes")
    root = workspace / "artifacts" / "exp" / runs["exp"].info.run_id / "artifacts"
    assert yaml.safe_load((root / "config" / "experiment.yaml").read_text()) == config
    assert json.loads((root / "config" / "experiment.json").read_text()) == config
    assert "mlflow==" in (root / "environment.txt").read_text()
    assert (root / "report" / "index.html").is_file()
    assert [file.path for file in client.list_artifacts(runs["exp/unet+brats"].info.run_id)] == ["table.csv"]


def test_an_experiment_that_was_deleted_in_the_pages_comes_back(workspace, runs_of, trial):
    with MlflowTracker(workspace, "exp"):
        pass
    client = open_existing(workspace)
    client.delete_experiment(client.get_experiment_by_name("exp").experiment_id)
    with MlflowTracker(workspace, "exp") as tracker:
        tracker.started(trial(1))
    assert "key1" in runs_of("exp")


def test_events_come_from_many_threads(workspace, runs_of, steps_of, trial):
    def train(number):
        tracker.started(trial(number))
        for epoch in range(1, 11):
            tracker.epoch(f"key{number}", epoch, {"validation_mae": 1.0})
        tracker.finished(f"key{number}", "complete", {})

    with MlflowTracker(workspace, "exp", interval_s=0.05) as tracker:
        threads = [threading.Thread(target=train, args=[i]) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    runs = runs_of("exp")
    assert len(runs) == 3 + 8
    assert all(steps_of(runs[f"key{i}"].info.run_id, "validation_mae") == list(range(1, 11)) for i in range(8))


def test_a_wrong_event_is_lost_with_a_warning_and_harms_no_other(workspace, runs_of, tmp_path, caplog, trial):
    tracker = MlflowTracker(workspace, "exp")
    tracker.started(trial(1))
    tracker.epoch("never started", 1, {"validation_mae": 1.0})
    tracker.log_files(tmp_path / "absent.csv")
    tracker.started(trial(2))
    tracker.epoch("key2", 1, {"validation_mae": "low"})
    tracker.epoch("key1", 1, {"validation mae (years)": 1.0})
    with caplog.at_level(logging.WARNING):
        assert tracker.close() == 4  # the epoch, the file, and key2's epoch with its parameters
    assert "4 events of exp were not written" in caplog.text
    runs = runs_of("exp")
    assert runs["key1"].data.metrics == {"validation mae _years_": 1.0}
    assert runs["key2"].info.status == "KILLED"


def test_events_cost_the_driver_next_to_nothing(workspace, trial):
    with MlflowTracker(workspace, "exp") as tracker:
        assert tracker.flush()
        tracker.started(trial(1))
        start = time.thread_time()
        for epoch in range(1000):
            tracker.epoch("key1", epoch, {"validation_mae": 1.0, "train_loss": 2.0})
        assert time.thread_time() - start < 0.5  # measured: 0.01


def test_a_restart_that_writes_before_the_first_epoch_comes_duplicates_nothing(workspace, runs_of, steps_of, trial):
    for epochs in (2, 3):
        with MlflowTracker(workspace, "exp") as tracker:
            tracker.started(trial(1))
            assert tracker.flush()  # a start of its own, before any point
            for epoch in range(1, epochs + 1):
                tracker.epoch("key1", epoch, {"seconds": float(epochs)})
                assert tracker.flush()
    assert steps_of(runs_of("exp")["key1"].info.run_id, "seconds") == [1, 2, 3]


def test_what_is_told_beside_a_run_is_its_tag(workspace, runs_of, trial):
    changes = (SettingsChange(after_epoch=2, params={"training.optimizer.lr": 0.01}),)
    with MlflowTracker(workspace, "exp") as tracker:
        tracker.started(trial(1))
        tracker.started(replace(trial(1), tags=tell_changes(changes)))
        tracker.finished("key1", "complete", {"best_validation_mae": 4.0})
    run = runs_of("exp")["key1"]
    assert json.loads(run.data.tags["brainage.changes"]) == [
        {"after_epoch": 2, "params": {"training.optimizer.lr": 0.01}}
    ]
    assert run.info.status == "FINISHED"
