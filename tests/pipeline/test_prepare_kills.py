"""kill -9 during the preparation, then the same command: the store is that of a run that nobody disturbed."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from fuzz_cohorts import experiment_of, image_bytes
from invented_downloads import put, write_lines

from brainage_ray.data.phantoms import write_phantoms

KILLS, SEED = 20, 3
COHORT = {
    "name": "killed",
    "data": {
        "preprocessing": {
            "voxel_mm": 2.0, "slice_range_mm": [40.0, 110.0], "slice_step_mm": 2.0, "slice_shape": [96, 96],
        },
        "split": {"fractions": {"train": 0.5, "validation": 0.25, "test": 0.25}},
    },
    "arms": {"unet": {"backbone": {"kind": "unet"}}},
    "search": {"space": {"parameters": {"training.optimizer.lr": {"type": "float", "low": 1.0e-4, "high": 0.01}}}},
}  # fmt: skip


class Commands:
    """Starts `brainage` many times: forks of one process that has imported it, each the leader of a session."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "log.txt"
        self.started: list[int] = []
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "TMPDIR": str(folder)}
        script = Path(__file__).with_name("forking_brainage.py")
        self.process = subprocess.Popen(
            [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def start(self, *argv: str, **how: Any) -> int:
        """Return the process id."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"argv": argv, "log": str(self.log), **how}) + "\n")
        self.process.stdin.flush()
        self.started.append(self._answer())
        return self.started[-1]

    def wait(self) -> int:
        """Return the exit code, minus the signal's number where one ended it."""
        return self._answer()

    def _answer(self) -> int:
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())

    def close(self) -> None:
        """End what a test that failed left running."""
        for session in self.started[-1:]:
            kill(session)
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def commands() -> Iterator[Commands]:
    with tempfile.TemporaryDirectory(prefix="bk", dir="/tmp") as folder:  # short: Ray's sockets lie there
        commands = Commands(Path(folder))
        yield commands
        commands.close()


def members(session: int) -> list[int]:
    """Return the living processes of a session, its leader first: a command and all of Ray that it started."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, *fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if int(fields[2]) == session and state != "Z":
            found.append(int(folder.name))
    return sorted(found, key=lambda pid: pid != session)


def kill(session: int) -> None:
    """kill -9 everything, until nothing is left: what is dying may start something yet."""
    while left := members(session):
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def contents(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder, byte by byte; folders too."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")
    }


def three_people(folder: Path) -> list[str]:
    """Return the command that prepares one person a split, for which nothing has to be cut in other processes."""
    lines = ["subject,age_years,sex,diagnosis,image,split"]
    for i, split in enumerate(("train", "validation", "test")):
        put(folder / f"{i}.nii.gz", image_bytes(i))
        lines.append(f"P{i},{60 + i},F,CN,{i}.nii.gz,{split}")
    write_lines(folder / "people.csv", *lines)
    experiment_of(folder, [{"kind": "table", "table": str(folder / "people.csv"), "cohort": "X"}], "small")
    return ["prepare", str(folder / "small.yaml"), "--set", "data.split.rule=table", "--workspace"]


@pytest.mark.slow
def test_a_kill_before_any_change_of_a_file(commands, tmp_path):
    """One after the other: each time in a new workspace, where the same command then runs to its end."""
    runs, command = tmp_path / "runs", three_people(tmp_path)

    def prepare(kill_at: int) -> int:
        commands.start(*command, str(runs), folder=str(runs), kill_at=kill_at)
        return commands.wait()

    assert prepare(0) == 0, commands.log.read_text()
    whole, kills, code = contents(runs / "small" / "store"), 0, -signal.SIGKILL
    while code == -signal.SIGKILL:
        shutil.rmtree(runs)
        kills += 1
        code = prepare(kills)
        assert prepare(0) == 0, commands.log.read_text()
        assert not list((runs / "cache").rglob("*.partial"))
        assert contents(runs / "small" / "store") == whole, f"killed before the change no. {kills} of a file"
    assert code == 0
    assert kills > 30


@pytest.mark.slow
@pytest.mark.ray
def test_kills_at_random_moments(commands, tmp_path):
    """Of the command and of the cluster that it started; those that come too late are not among the twenty."""
    write_phantoms(tmp_path, subjects=12, tumours=2, seed=0)
    found = [{"kind": "adni", "root": str(tmp_path / "ADNI")}, {"kind": "brats", "root": str(tmp_path / "BraTS")}]
    (tmp_path / "killed.yaml").write_text(yaml.safe_dump(COHORT | {"data": COHORT["data"] | {"sources": found}}))
    command = ["prepare", str(tmp_path / "killed.yaml"), "--workspace"]
    start = time.monotonic()
    commands.start(*command, str(tmp_path / "whole"))
    assert commands.wait() == 0, commands.log.read_text()
    duration, whole = time.monotonic() - start, contents(tmp_path / "whole" / "killed" / "store")
    chance, killed, runs = random.Random(SEED), 0, tmp_path / "runs"
    while killed < KILLS:
        session = commands.start(*command, str(runs))
        time.sleep(chance.uniform(0, duration))
        kill(session)
        if commands.wait() == -signal.SIGKILL:
            killed += 1
        else:  # it came too late
            assert contents(runs / "killed" / "store") == whole
            shutil.rmtree(runs)
    commands.start(*command, str(runs))
    assert commands.wait() == 0, commands.log.read_text()
    assert contents(runs / "killed" / "store") == whole
    assert not list((runs / "cache").rglob("*.partial"))
    assert not any(members(session) for session in commands.started)
    assert not list(commands.log.parent.glob("brainage-*")), "a cluster's folder was left"
