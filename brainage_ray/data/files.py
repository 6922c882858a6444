"""Files that are whole or absent: written under another name, then renamed; a full disk is said in words."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from filelock import ReadWriteLock, Timeout

from brainage_ray.errors import ConfigError, NoSpaceError

SCRATCH = ".ray"
"""Name of the folders for what Ray writes and nobody reads."""
_FULL = {errno.ENOSPC, errno.EDQUOT}
_PARTIAL = ".partial"


def refuse_full(folder: Path, option: str) -> None:
    """Refuse to write into a folder that holds something, named by an option of the command line.

    Raises:
        ConfigError: it holds something, or is no folder.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{option} {folder} is there already and not empty", "Name a new folder, or empty that one.")


@contextmanager
def no_space(folder: Path) -> Iterator[None]:
    """Turn a full disk or quota inside the block into an error that names the folder.

    Raises:
        NoSpaceError: the disk that holds the folder is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        problem = f"no space is left on the disk that holds {folder}"
        raise NoSpaceError(problem, "Free some there or use a workspace on another disk; then run again.") from error


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Open a binary file that appears under its name only when it is whole and on the disk.

    Several processes may write the same path at once: the last one wins, no reader sees a mixture.

    Args:
        path: of the file; missing folders are made.

    Raises:
        NoSpaceError: the disk is full; nothing is left behind.
    """
    partial = _partial_name(path)
    with no_space(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Give a new folder to fill, which takes the place of `path` only when the block ends well.

    Raises:
        NoSpaceError: the disk is full; `path` is as it was.
    """
    partial = _partial_name(path)
    with no_space(path.parent):
        partial.mkdir(parents=True)
        try:
            yield partial
            _take_the_place(partial, path)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def sharing(folder: Path) -> Iterator[None]:
    """Hold a folder that other processes may write into too; who comes while it is free tidies up first.

    What killed processes left half-written in it and its subfolders is removed.

    Raises:
        NoSpaceError: the disk is full.
    """
    with no_space(folder):
        folder.mkdir(parents=True, exist_ok=True)
    lock = ReadWriteLock(folder / ".lock")
    with suppress(Timeout), lock.write_lock(blocking=False):
        for inner in (folder, *(path for path in folder.iterdir() if path.is_dir())):
            remove_partials(inner)
    with lock.read_lock():
        yield


def remove_partials(folder: Path, name: str = "*") -> None:
    """Remove what processes that were killed left half-written in a folder; nobody else may be writing there.

    Args:
        folder: where to look, not below.
        name: of what they were writing.
    """
    for partial in folder.glob(f".{name}.*{_PARTIAL}"):
        if partial.is_dir():
            shutil.rmtree(partial)
        else:
            partial.unlink()


def write_array(file: BinaryIO, array: np.ndarray) -> None:
    """Write an array in the npy format.

    Unlike `numpy.save`, which says "n requested and m written", it keeps the error number of a full disk.
    """
    array = np.ascontiguousarray(array)
    npy: Any = np.lib.format  # without types before NumPy 2.4
    npy.write_array_header_1_0(file, npy.header_data_from_array_1_0(array))
    file.write(array.data)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def printable(text: str) -> str:
    """Return text that UTF-8 can hold, where a file's name is not Unicode: what is none is written as an escape."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _take_the_place(new: Path, path: Path) -> None:
    replaced = _partial_name(path)
    if path.exists():
        path.rename(replaced)
    try:
        new.rename(path)
    except OSError:
        if replaced.exists():
            replaced.rename(path)
        raise
    shutil.rmtree(replaced, ignore_errors=True)


def _partial_name(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}{_PARTIAL}")


def stamp_of(path: Path) -> list[int]:
    """Return a file's size, bytes, and time of change, ns since 1970; nothing where it cannot be read."""
    try:
        found = path.stat()
    except OSError:
        return []
    return [found.st_size, found.st_mtime_ns]
