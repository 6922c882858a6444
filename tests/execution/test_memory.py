from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import pytest

from brainage_ray.execution import memory
from brainage_ray.execution.memory import GIB, memory_limit

MIB = 2**20
LINUX = Path("/proc/self/status").exists()


def resident_gib() -> float:
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    return next(int(words[1]) for words in lines if words[0] == "RssAnon:") * 1024 / GIB


@pytest.mark.skipif(not LINUX, reason="only Linux says what a process has")
def test_the_bound_is_of_the_whole_process_and_ends_with_the_block():
    before, held = resource.getrlimit(resource.RLIMIT_DATA), resident_gib()
    with memory_limit(held + 0.5):
        assert np.ones(300 * MIB, np.uint8).nbytes == 300 * MIB
        with pytest.raises(MemoryError):
            np.ones(600 * MIB, np.uint8)
        assert np.ones(300 * MIB, np.uint8).nbytes == 300 * MIB
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
    assert np.ones(600 * MIB, np.uint8).nbytes == 600 * MIB


@pytest.mark.skipif(not LINUX, reason="only Linux says what a process has")
def test_files_that_are_mapped_do_not_count(tmp_path: Path):
    path = tmp_path / "large.npy"
    np.lib.format.open_memmap(path, "w+", np.uint8, (900 * MIB,))
    with memory_limit(resident_gib() + 0.25):
        assert np.load(path, mmap_mode="r").nbytes == 900 * MIB


@pytest.mark.skipif(not LINUX, reason="only Linux says what a process has")
def test_the_bound_goes_with_an_error_too():
    before = resource.getrlimit(resource.RLIMIT_DATA)
    with pytest.raises(ZeroDivisionError), memory_limit(64):
        raise ZeroDivisionError
    assert resource.getrlimit(resource.RLIMIT_DATA) == before


@pytest.mark.parametrize("text", [None, "Name: a process of another system\n"])
def test_nothing_is_bounded_where_nobody_says_what_a_process_has(text, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "status")
    if text is not None:
        (tmp_path / "status").write_text(text)
    before = resource.getrlimit(resource.RLIMIT_DATA)
    with memory_limit(1e-6):
        assert resource.getrlimit(resource.RLIMIT_DATA) == before
        assert np.ones(100 * MIB, np.uint8).nbytes == 100 * MIB
