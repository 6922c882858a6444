"""A search whose nodes have no folder in common, over a real cluster of three raylets and an S3 server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from object_store import ObjectStore

pytestmark = [pytest.mark.ray, pytest.mark.slow]

NAMES = ("train/slices-00000.npy", "validation/slices-00000.npy", "manifest.parquet")


def test_each_of_two_nodes_brings_the_store_once(object_store: ObjectStore, short_folder: Path, tmp_path: Path):
    for node in ("a", "b", "ray"):
        (short_folder / node).mkdir()
    environment = {**os.environ, **object_store.keys, "RAY_TMPDIR": str(short_folder),
                   "BRAINAGE_CACHE": str(tmp_path / "head")}  # fmt: skip
    command = [sys.executable, Path(__file__).with_name("remote_driver.py"), short_folder, object_store.uri("nodes")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["states"] == ["complete"] * 4, result["reasons"]
    assert {"best.safetensors", "result.json", "validation_slices.npy"} <= {*result["left"]}  # brought to the head
    asked = Counter(line.split()[1] for line in object_store.requests() if line.startswith("GET"))
    for name in NAMES:
        assert asked[f"/brainage/nodes/store/age/{name}"] == 2, asked
    assert not [path for path in asked if path.startswith("/brainage/nodes/store/test/")]
    for node in ("a", "b"):
        found = {path.name for path in short_folder.glob(f"{node}/workspaces/*/store/*") if path.is_dir()}
        assert found == {"age"}
