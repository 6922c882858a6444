"""MLflow's server with a model in it, on loopback: uploads are answered, and nothing else of this machine is."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny_models import write_brain, write_model

from brainage_ray.pipeline import predict

PROGRAM = """
import sys, pathlib
from brainage_ray.pipeline import serve_model
serve_model(pathlib.Path(sys.argv[1]), "127.0.0.1", 0, 2**20, lambda text: print(text, flush=True))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    command = [sys.executable, "-c", PROGRAM, str(write_model(folder / "tiny"))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
        try:
            yield re.match(r"http://\S+/invocations", server.stdout.readline()).group()
        finally:
            server.terminate()


def post(address: str, data: Any) -> tuple[int, Any]:
    request = urllib.request.Request(address, json.dumps(data).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=120) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.mark.slow
def test_uploads_are_answered_and_the_bad_ones_told(folder: Path, address: str):
    brain = write_brain(folder / "brain.nii.gz")
    pickled = base64.b64encode(b"cos\nsystem\n(S'touch owned'\ntR.").decode()
    images = [base64.b64encode(brain.read_bytes()).decode(), "no base64!", str(brain), pickled]
    status, answer = post(address, {"dataframe_records": [{"image": image} for image in images]})
    assert status == 200
    good, *bad = answer["predictions"]
    assert good["brain_age_years"] == predict(folder / "tiny", [brain])["brain_age_years"][0]
    assert all(one["brain_age_years"] is None for one in bad)
    assert "image 1 is no base64" in bad[0]["error"]
    assert "image 2 is no base64" in bad[1]["error"]  # a path of this machine
    assert "cannot be read" in bad[2]["error"]
    assert str(folder) not in json.dumps(answer)

    status, answer = post(address, {"dataframe_records": [{"picture": "x"}]})
    assert status == 400
    assert "image" in answer["message"]
    assert post(address, {"dataframe_records": [{"image": "A" * 2**21}]})[0] == 413
