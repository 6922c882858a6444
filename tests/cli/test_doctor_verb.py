from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


def doctor(*options: str) -> subprocess.CompletedProcess[str]:
    code = "from brainage_ray.cli import main; main()"
    return subprocess.run([sys.executable, "-c", code, "doctor", *options], capture_output=True, text=True, timeout=300)


@pytest.mark.ray
@pytest.mark.slow
def test_a_checklist_of_this_machine_touches_nothing(tmp_path: Path):
    done = doctor("--workspace", str(tmp_path / "runs"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Nothing is wrong" in done.stdout
    assert all(word in done.stdout for word in ("versions", "clock", "workspace", "disk", "GPU"))
    assert list(tmp_path.iterdir()) == []


def test_what_is_wrong_is_exit_code_1_and_json_for_programs(tmp_path: Path):
    done = doctor("--address", "127.0.0.1:9", "--workspace", str(tmp_path), "--json")
    assert done.returncode == 1
    (check,) = json.loads(done.stdout)
    assert check["state"] == "wrong"
    assert "ray up" in check["fix"]
