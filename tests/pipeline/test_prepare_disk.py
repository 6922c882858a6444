"""A disk that is full at some file of the preparation; with room again, the same command ends as if nothing was."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest
from fuzz_cohorts import PEOPLE, experiment_of, people_table, serial_map
from sessions import session_of

from brainage_ray.data import files
from brainage_ray.errors import NoSpaceError
from brainage_ray.pipeline.prepare import prepare


@pytest.fixture
def fill(monkeypatch) -> Callable[[int], None]:
    """Return a function that fills the disk before the n-th array that is written; 0 makes room."""
    left = [0]
    write = files.write_array

    def full(file, array):
        left[0] -= 1
        if left[0] == 0:
            left[0] = 1  # it stays full
            raise OSError(errno.ENOSPC, "No space left on device")
        write(file, array)

    for module in ("prepare", "store_write"):
        monkeypatch.setattr(f"brainage_ray.data.{module}.write_array", full)
    return lambda number: left.__setitem__(0, number)


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("number", [1, 4, PEOPLE + 1, PEOPLE + 6])
def test_a_full_disk_is_said_at_once_and_the_next_run_goes_on(number, fill, tmp_path, monkeypatch):
    tried = []

    def counting_map(cluster, function, *rest):
        return serial_map(cluster, lambda scan: tried.append(scan) or function(scan), *rest)

    monkeypatch.setattr("brainage_ray.pipeline.prepare.parallel_map", counting_map)
    people_table(tmp_path)
    source = {"kind": "table", "table": str(tmp_path / "people.csv"), "cohort": "X"}
    experiment = experiment_of(tmp_path, [source], "full")
    prepare(session_of(experiment, tmp_path / "roomy"))
    tried.clear()
    fill(number)
    begun = session_of(experiment, tmp_path / "runs")
    with pytest.raises(
        NoSpaceError, match=r"no space is left on the disk that holds .*runs.*Free some there.*run again"
    ):
        prepare(begun)
    assert len(tried) == min(number, PEOPLE)
    assert begun.progress.open == 0
    assert not [path for path in (tmp_path / "runs").rglob("*") if path.name.endswith(".partial")]
    fill(0)
    prepare(begun)
    assert begun.progress.skipped == min(number - 1, PEOPLE)
    assert contents(tmp_path / "runs" / "full" / "store") == contents(tmp_path / "roomy" / "full" / "store")
