from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from brainage_ray.data.files import (
    atomic_folder,
    atomic_write,
    no_space,
    remove_partials,
    sha256_of,
    sharing,
    write_array,
)
from brainage_ray.errors import NoSpaceError


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "deep" / "a.bin"
    with atomic_write(path) as file:
        file.write(b"one")
        assert not path.exists()
    assert path.read_bytes() == b"one"
    with pytest.raises(ZeroDivisionError), atomic_write(path) as file:
        file.write(b"t%d" % (1 / 0))
    assert path.read_bytes() == b"one"
    assert [p.name for p in path.parent.iterdir()] == ["a.bin"]


def test_a_folder_takes_the_place_of_the_old_one(tmp_path):
    path = tmp_path / "store"
    for text in ("one", "two"):
        with atomic_folder(path) as partial:
            (partial / text).write_text(text)
    assert [p.name for p in path.iterdir()] == ["two"]
    with pytest.raises(FileNotFoundError), atomic_folder(path) as partial:
        (partial / "no" / "three").write_text("three")
    assert [p.name for p in path.iterdir()] == ["two"]
    assert [p.name for p in tmp_path.iterdir()] == ["store"]


def test_the_old_folder_comes_back_where_the_new_one_cannot_take_its_place(tmp_path, monkeypatch):
    path = tmp_path / "store"
    with atomic_folder(path) as partial:
        (partial / "old").touch()
    rename = Path.rename
    monkeypatch.setattr(
        Path, "rename", lambda a, b: rename(a, b) if (a / "old").exists() else (_ for _ in ()).throw(OSError(5, "I/O"))
    )
    with pytest.raises(OSError, match="I/O"), atomic_folder(path) as partial:
        (partial / "new").touch()
    assert [p.name for p in path.iterdir()] == ["old"]


def test_what_killed_processes_left_goes_and_nothing_else(tmp_path):
    file, folder = atomic_write(tmp_path / "a.json"), atomic_folder(tmp_path / "store")
    file.__enter__()
    (folder.__enter__() / "slices.npy").touch()
    assert len(list(tmp_path.iterdir())) == 2
    (tmp_path / "mine.partial").touch()
    (tmp_path / ".lock").touch()
    remove_partials(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"mine.partial", ".lock"}
    remove_partials(tmp_path / "absent")


def test_who_comes_while_a_folder_is_free_tidies_it_up(tmp_path):
    """A writer that is alive keeps its file; the next who comes when it has gone takes it away."""
    left, own = tmp_path / "ab" / ".a.npy.0.partial", tmp_path / "ab" / ".b.npy.1.partial"
    left.parent.mkdir()
    left.touch()
    program = "import sys; from pathlib import Path; from brainage_ray.data.files import sharing\n"
    program += "with sharing(Path(sys.argv[1])): print('in', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "in\n"
        assert not left.exists()
        own.touch()
        with sharing(tmp_path):
            assert own.exists()
        other.kill()
    with sharing(tmp_path):
        assert not own.exists()


def test_only_what_is_named_goes(tmp_path):
    for name in (".x.1.partial", ".y.1.partial"):
        (tmp_path / name).touch()
    remove_partials(tmp_path, "x")
    assert [path.name for path in tmp_path.iterdir()] == [".y.1.partial"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_named_with_the_fix(tmp_path, number):
    with pytest.raises(NoSpaceError) as caught, no_space(tmp_path):
        raise OSError(number, "No space left on device")
    assert str(tmp_path) in caught.value.problem
    assert "workspace" in caught.value.fix


def test_other_errors_of_the_disk_stay_what_they_are(tmp_path):
    with pytest.raises(PermissionError), no_space(tmp_path):
        raise PermissionError(errno.EACCES, "Permission denied")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_an_array_on_a_full_disk(tmp_path):
    with pytest.raises(NoSpaceError), no_space(tmp_path), open("/dev/full", "wb", buffering=0) as file:  # noqa: PTH123
        write_array(file, np.zeros(100_000))


@given(arrays.arrays(st.sampled_from([np.float16, np.uint8, np.float32]), arrays.array_shapes(min_side=0, max_dims=4)))
def test_arrays_come_back(tmp_path_factory, array):
    path = tmp_path_factory.mktemp("arrays") / "a.npy"
    with atomic_write(path) as file:
        write_array(file, array.T)
    np.testing.assert_array_equal(np.load(path), array.T)


def test_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_of(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
