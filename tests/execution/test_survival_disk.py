"""A disk that fills up, for real: a small file system in memory, where the user may mount one."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from survival_plans import EXPERIMENT, best_value, check, plan_in, source, undisturbed_best

from brainage_ray.errors import NoSpaceError
from brainage_ray.execution import Cluster, run_study
from brainage_ray.tracking import MlflowTracker

pytestmark = [pytest.mark.ray, pytest.mark.slow]
KIB = 2**10


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("this user may not mount a file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_disk_that_is_full_again_and_again(cluster: Cluster, tmp_path: Path, small_disk: Path):
    undisturbed = undisturbed_best(tmp_path / "undisturbed", "random", cluster, {})
    plan, stops = plan_in(small_disk), 0
    left, filler = 60 * KIB, small_disk / "filler"
    filler.write_bytes(bytes(1024 * KIB - left))
    with MlflowTracker(tmp_path, EXPERIMENT, interval_s=0.2) as tracker:
        while True:
            try:
                run_study(cluster, plan, tracker, source())
                break
            except NoSpaceError:
                stops += 1
                with filler.open("r+b") as file:
                    file.truncate(filler.stat().st_size - 40 * KIB)
    assert stops >= 2
    check(plan, tmp_path, extra=stops)
    assert best_value(plan) == undisturbed
