"""A whole experiment in a workspace at a URI, whose driver is killed and whose disk is lost."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from object_store import ObjectStore
from small_experiment import EXPERIMENT

from brainage_ray.data.remote import RemoteFolder

pytestmark = [pytest.mark.ray, pytest.mark.slow]

CODE = "import sys; from brainage_ray.cli import main; sys.argv[0] = 'brainage'; main()"


def brainage(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", CODE, *map(str, arguments)], capture_output=True, text=True,
                          env={**os.environ, "COLUMNS": "250", **environment}, timeout=500, check=False)  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(EXPERIMENT | {"search": {**EXPERIMENT["search"], "max_concurrent": 1}}))
    return path


def test_a_new_head_goes_on_from_the_uri(
    object_store: ObjectStore, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name, value in object_store.keys.items():
        monkeypatch.setenv(name, value)
    cache, uri = tmp_path / "cache", object_store.uri("whole")
    monkeypatch.setenv("BRAINAGE_CACHE", str(cache))
    remote = RemoteFolder(uri)
    first = subprocess.Popen([sys.executable, "-c", CODE, "run", file, "--workspace", uri], start_new_session=True)
    journal = _wait_for_a_trial(remote, first)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    shutil.rmtree(cache)  # the new machine's disk is empty
    done = brainage("run", file, "--workspace", uri)
    assert done.returncode == 0, done.stderr
    assert f"All of it is in {uri}" in done.stdout
    objects = remote.list()
    assert {"small/report/index.html", "small/results.json", "small/predictions.parquet", "mlflow.db"} <= {*objects}
    lines = [json.loads(line) for line in (remote.read(journal) or b"").splitlines()]
    places = [line["user_attr"]["place"] for line in lines if "place" in line.get("user_attr", {})]
    assert places.count(0) == 1  # finished before, and not done again
    shutil.rmtree(cache)
    again = brainage("run", file, "--workspace", uri)
    assert again.returncode == 0, again.stderr
    assert "prepare:" not in again.stdout + again.stderr  # all is done
    pulled = brainage("pull", "small/unet", "--workspace", uri, "--to", tmp_path / "model")
    assert pulled.returncode == 0, pulled.stderr
    assert list((tmp_path / "model").rglob("*.safetensors"))


def _wait_for_a_trial(remote: RemoteFolder, driver: subprocess.Popen[bytes]) -> str:
    """Return the name of the journal at the URI when a trial is complete in it."""
    for _ in range(2000):
        assert driver.poll() is None, "the driver ended too soon"
        for name in remote.list("small/search"):
            if name.endswith(".journal") and b"best_value" in (remote.read(name) or b"") and _second_begun(remote):
                return name
        time.sleep(0.3)
    raise TimeoutError("no trial came to its end")


def _second_begun(remote: RemoteFolder) -> bool:
    return any("/trials/001/" in name for name in remote.list("small/search"))


def test_wrong_keys_stop_a_run_before_it_starts(object_store: ObjectStore, file: Path, tmp_path: Path):
    keys = {**object_store.keys, "AWS_SECRET_ACCESS_KEY": "wrong", "BRAINAGE_CACHE": str(tmp_path / "cache")}
    refused = brainage("run", file, "--workspace", object_store.uri("refused"), **keys)
    assert refused.returncode == 2
    assert "access is refused" in refused.stderr
    assert "phantoms" not in refused.stdout
    assert not (tmp_path / "cache").exists()
