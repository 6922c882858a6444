"""What a training notices when MLflow cannot be written: nothing. And what a killed process leaves behind."""

from __future__ import annotations

import logging
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
import time

import pytest

from brainage_ray.errors import EngineError
from brainage_ray.tracking import MlflowTracker, runs
from brainage_ray.tracking.client import is_temporary, open_existing

TRAINING = """
import sys
from pathlib import Path
from brainage_ray.tracking import MlflowTracker
from brainage_ray.training.recorder import RunInfo

tracker = MlflowTracker(Path(sys.argv[1]), "exp", interval_s=0.01)
tracker.started(RunInfo("key1", "trial 1", "trial", "unet/study", {"lr": 0.1}))
for epoch in range(1, 10_000):
    tracker.epoch("key1", epoch, {"validation_mae": 1.0, "train_loss": 2.0})
    if epoch == 3:
        assert tracker.flush(60)
        print("ready", flush=True)
    if epoch > 3:
        tracker.flush(60)
"""


@pytest.fixture
def tracker(workspace):
    tracker = MlflowTracker(workspace, "exp", interval_s=0.05)
    assert tracker.flush(60)
    yield tracker
    tracker.close(timeout_s=5)


@pytest.mark.slow
def test_a_kill_in_the_middle_costs_and_doubles_no_epoch(workspace, runs_of, steps_of, trial):
    command = [sys.executable, "-c", TRAINING, str(workspace)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"  # three epochs are written
        time.sleep(0.5)
        process.send_signal(signal.SIGKILL)
    left = runs_of("exp")
    assert left["key1"].info.status == left["exp"].info.status == "RUNNING"
    reached = len(steps_of(left["key1"].info.run_id, "validation_mae"))
    assert reached >= 3
    with MlflowTracker(workspace, "exp") as tracker:
        tracker.started(trial(1, "unet/study"))
        for epoch in range(2, reached + 3):  # from a checkpoint, one epoch of which was written already
            tracker.epoch("key1", epoch, {"validation_mae": 1.0, "train_loss": 2.0})
        tracker.finished("key1", "complete", {})
    taken_up = runs_of("exp")
    assert {k: r.info.run_id for k, r in left.items()} == {k: r.info.run_id for k, r in taken_up.items()}
    assert {run.info.status for run in taken_up.values()} == {"FINISHED"}
    for metric in ("validation_mae", "train_loss"):
        assert sorted(steps_of(taken_up["key1"].info.run_id, metric)) == list(range(1, reached + 3))


def test_a_locked_database_delays_the_writing_and_not_the_training(workspace, tracker, runs_of, steps_of, trial):
    other = sqlite3.connect(workspace / "mlflow.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")  # until after the training: a call that writes cannot come back
    tracker.started(trial(1))
    for epoch in (1, 2, 3):
        tracker.epoch("key1", epoch, {"validation_mae": 5.0})
    assert not tracker.flush(0.5)
    other.execute("ROLLBACK")
    other.close()
    assert tracker.flush(30)
    assert steps_of(runs_of("exp")["key1"].info.run_id, "validation_mae") == [1, 2, 3]


def test_a_database_that_stays_locked_loses_events_and_says_how_many(workspace, tracker, caplog, trial):
    other = sqlite3.connect(workspace / "mlflow.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    tracker.started(trial(1))
    tracker.epoch("key1", 1, {"validation_mae": 5.0})
    with caplog.at_level(logging.WARNING):
        lost = tracker.close(timeout_s=0.5)
    other.execute("ROLLBACK")
    other.close()
    assert lost >= 2
    assert f"{lost} events of exp were not written to MLflow" in caplog.text


def test_what_a_full_disk_kept_back_is_written_when_there_is_room(workspace, tracker, runs_of, steps_of, caplog, trial):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((workspace / "mlflow.db").stat().st_size, hard))
    try:
        with caplog.at_level(logging.WARNING):
            tracker.started(trial(1))
            for epoch in range(1, 501):  # more than fits into the database's free pages
                tracker.epoch("key1", epoch, {"validation_mae": 5.0, "a metric with a long name" * 9: 1.0})
            deadline = time.monotonic() + 60
            while not caplog.records and time.monotonic() < deadline:
                assert not tracker.flush(0.2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert ["MLflow cannot be written" in record.getMessage() for record in caplog.records] == [True]
    assert tracker.flush(30)
    assert sorted(steps_of(runs_of("exp")["key1"].info.run_id, "validation_mae")) == list(range(1, 501))
    assert tracker.close() == 0


def test_a_server_that_is_down_fails_nothing(workspace, caplog, trial):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{free.getsockname()[1]}"
    with caplog.at_level(logging.WARNING):
        tracker = MlflowTracker(workspace, "exp", uri=uri, interval_s=0.05)
        tracker.started(trial(1))
        tracker.epoch("key1", 1, {"validation_mae": 5.0})
        assert tracker.close(timeout_s=1.0) > 0
    assert "MLflow cannot be written" in caplog.text


def test_a_store_that_opens_late_gets_everything(workspace, runs_of, steps_of, monkeypatch, trial):
    failures = [OSError("disk full"), ValueError("half a database")]

    def open_late(uri):
        if failures:
            raise failures.pop()
        return open_existing(workspace)

    monkeypatch.setattr(runs, "open_client", open_late)
    with MlflowTracker(workspace, "exp", interval_s=0.01) as tracker:
        tracker.started(trial(1))
        tracker.epoch("key1", 1, {"validation_mae": 5.0})
    assert failures == []
    assert steps_of(runs_of("exp")["key1"].info.run_id, "validation_mae") == [1]


def test_a_run_that_somebody_deletes_meanwhile_is_dropped(workspace, tracker, runs_of, trial):
    tracker.started(trial(1))
    tracker.started(trial(2))
    assert tracker.flush()
    open_existing(workspace).delete_run(runs_of("exp")["key1"].info.run_id)
    for key in ("key1", "key2"):
        tracker.epoch(key, 1, {"validation_mae": 5.0})
        tracker.finished(key, "complete", {})
    assert tracker.close() > 0
    assert runs_of("exp")["key2"].info.status == "FINISHED"


def test_which_errors_pass(workspace):
    assert is_temporary(OSError("disk full"))
    assert is_temporary(ConnectionRefusedError())
    assert not is_temporary(FileNotFoundError("absent.csv"))
    assert not is_temporary(PermissionError("somebody else's"))
    assert not is_temporary(NotADirectoryError("a file"))
    assert not is_temporary(ValueError("not a number"))


def test_reading_a_workspace_without_a_database_says_what_to_do(tmp_path):
    with pytest.raises(EngineError, match=r"There is no .*mlflow\.db\. Run an experiment in this workspace first"):
        open_existing(tmp_path)
