"""Backups are made by themselves, kept and put back: with the real servers."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from service_set import ServiceSet, wait_until

pytestmark = pytest.mark.slow


def backups(services: ServiceSet) -> list[Path]:
    return sorted((services.workspace / "backups").iterdir())


@pytest.fixture
def backup(services: ServiceSet) -> Path:
    done = services.call("backup", PGPASSWORD="of another server", PGHOST="elsewhere.example")
    assert done.returncode == 0, done.stderr
    newest = backups(services)[-1]
    assert str(newest) in done.stdout
    return newest


def test_the_newest_8_are_kept_and_what_was_killed_is_removed(services: ServiceSet, backup: Path):
    folder = services.workspace / "backups"
    for hours in range(1, 12):
        old = datetime.now(UTC) - timedelta(hours=hours)
        shutil.copytree(backup, folder / old.strftime("%Y%m%dT%H%M%S.%fZ"))
    (folder / ".20260101T000000.000000Z.partial").mkdir()
    assert services.call("backup").returncode == 0
    assert len(backups(services)) == 8
    assert backup in backups(services)
    assert {file.name for file in backup.iterdir()} == {"mlflow.dump", "mlflow_auth.dump", "optuna.dump"}
    newest = json.loads(services.call("status", "--json").stdout)["newest_backup"]
    assert newest["folder"] == str(backups(services)[-1])


def test_services_in_use_are_not_overwritten(services: ServiceSet, backup: Path):
    done = services.call("restore", backup)
    assert done.returncode == 1
    assert "are in use already: mlflow, optuna would be overwritten" in done.stderr


def test_a_backup_put_back_elsewhere_gives_the_same_and_stop_leaves_no_process(
    services: ServiceSet, backup: Path, unused: ServiceSet, tmp_path: Path
):
    kept = services.kept()
    unused.start("--backup-minutes", "0.02")
    assert "nothing to back up yet" in unused.call("backup").stdout
    damaged = tmp_path / "optuna.dump"
    damaged.write_bytes((backup / "optuna.dump").read_bytes()[:-2000])
    for file, words in ((damaged, "pg_restore failed"), (tmp_path / "none.dump", "is no backup")):
        done = unused.call("restore", file)
        assert done.returncode > 0
        assert words in done.stderr
    done = unused.call("restore", backup)
    assert done.returncode == 0, done.stderr
    assert unused.kept() == kept
    assert unused.mlflow(services.environment()["MLFLOW_TRACKING_PASSWORD"])[0] == 401, "its own password holds"
    wait_until(lambda: len(backups(unused)) > 1, 20)

    processes = unused.processes()
    assert len(processes) > 8
    assert "Stopped; the data stay." in unused.call("stop").stdout
    assert not [process for process in processes if process.is_running() and process.status() != "zombie"]
    assert (unused.workspace / "postgresql" / "data" / "PG_VERSION").is_file()
    assert "No services ran." in unused.call("stop").stdout
    assert unused.call("backup").returncode == 1
