"""kill -9 during the preparation, then the same command: the store is that of a run that nobody disturbed."""

from __future__ import annotations

import random
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from forked_commands import kill, members
from fuzz_cohorts import experiment_of, image_bytes
from invented_downloads import put, write_lines

from brainage_ray.data.phantoms import write_phantoms

KILLS, LANES, SEED = 12, 3, 3
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
    """Each time in a new workspace, where the same command then runs to its end; even and odd changes side by side."""
    command = three_people(tmp_path)

    def prepare(runs: Path, kill_at: int) -> int:
        return commands.wait(commands.start(*command, str(runs), folder=str(runs), kill_at=kill_at))

    assert prepare(tmp_path / "whole", 0) == 0, commands.log.read_text()
    whole = contents(tmp_path / "whole" / "small" / "store")

    def kill_before_each(first: int) -> int:
        runs, kill_at, code = tmp_path / f"runs {first}", first, -signal.SIGKILL
        while code == -signal.SIGKILL:
            code = prepare(runs, kill_at)
            assert prepare(runs, 0) == 0, commands.log.read_text()
            assert not list((runs / "cache").rglob("*.partial"))
            assert contents(runs / "small" / "store") == whole, f"killed before the change no. {kill_at} of a file"
            shutil.rmtree(runs)
            kill_at += 2
        assert code == 0
        return kill_at

    with ThreadPoolExecutor(2) as pool:
        ends = sorted(pool.map(kill_before_each, (1, 2)))
    assert ends[1] - ends[0] == 1, "both ended after the last change"
    assert ends[0] > 30


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(2400)  # some twenty clusters are started, each in seconds or, on a busy machine, in half a minute
def test_kills_at_random_moments(commands, tmp_path):
    """Of the command and of the cluster that it started, in some workspaces at once, since starting is mostly waiting.

    Kills that come too late are not among the twelve.
    """
    write_phantoms(tmp_path, subjects=12, tumours=2, seed=0)
    found = [{"kind": "adni", "root": str(tmp_path / "ADNI")}, {"kind": "brats", "root": str(tmp_path / "BraTS")}]
    (tmp_path / "killed.yaml").write_text(yaml.safe_dump(COHORT | {"data": COHORT["data"] | {"sources": found}}))
    command = ["prepare", str(tmp_path / "killed.yaml"), "--workspace"]

    def prepare(runs: Path) -> dict[str, bytes | None]:
        assert commands.wait(commands.start(*command, str(runs))) == 0, commands.log.read_text()
        return contents(runs / "killed" / "store")

    lanes = [tmp_path / f"runs {lane}" for lane in range(LANES)]

    def kill_again_and_again(lane: int) -> dict[str, bytes | None]:
        runs, chance, kills = lanes[lane], random.Random(SEED + lane), 0
        start = time.monotonic()
        whole = prepare(runs)
        duration = time.monotonic() - start
        shutil.rmtree(runs)
        while kills < KILLS // LANES:
            session = commands.start(*command, str(runs))
            time.sleep(chance.uniform(0, duration))
            kill(session)
            if commands.wait(session) == -signal.SIGKILL:
                kills += 1
            else:  # it came too late
                assert contents(runs / "killed" / "store") == whole
                shutil.rmtree(runs)
        return whole

    with ThreadPoolExecutor(LANES) as pool:
        stores = list(pool.map(kill_again_and_again, range(LANES)))
        stores += pool.map(prepare, lanes)  # these start clusters, which remove what killed ones left
    assert stores.count(stores[0]) == 2 * LANES
    assert not [path for runs in lanes for path in (runs / "cache").rglob("*.partial")]
    assert not any(members(session) for session in commands.started)
    assert not list(commands.folder.glob("brainage-*")), "a cluster's folder was left"
