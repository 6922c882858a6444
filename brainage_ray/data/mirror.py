"""A local folder and its likeness at a URI: what is there is brought once, whole files go up as they are made.

An index beside the objects holds the SHA-256 of each, so that nothing damaged is taken for what was written. It is
written before a file goes up, with the old and the new checksum, and again after it: a kill at any moment leaves
objects that it knows. Files go up in the order in which they were made, and deletions last, so that what lies at the
URI is always something that lay on the disk.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainage_ray.data.files import SCRATCH, sha256_of
from brainage_ray.data.mirror_index import INDEX, NOT_YET, UNITS, Entry, Index, bring, merged, read_index, write_index
from brainage_ray.data.remote import RemoteFolder

NEVER = ("services", "postgresql", ".brainage")
"""Folders of a workspace that stay where they are: passwords, databases that run."""
LOCAL = ".brainage-writer"
"""In a workspace's folder: the mark of the driver whose folder it is."""
_GROWING = (".journal", ".jsonl")
"""Files to which whole lines are added."""
_UNFINISHED = (".lock", ".partial", "-wal", "-shm", "-journal", ".tmp")


class Mirror:
    """Sends what changes in a folder to a URI; one thread at a time.

    Args:
        root: the folder.
        remote: the place.
        index: name of the index.
        below: only this part of the folder, "" for all.
        writer: goes into the index.
    """

    def __init__(self, root: Path, remote: RemoteFolder, index: str = INDEX, below: str = "", writer: str = "") -> None:
        self.root, self.remote, self.writer = root, remote, writer
        self._index, self._below = index, below
        self.entries: Index = {}
        """What is at the URI."""
        self.left: set[str] = set()
        """Of those, what was not brought into the folder: nobody has deleted it there."""
        self._units: dict[str, tuple[str, Index]] = {}
        """Indexes that workers on other nodes left, by name: checksum and entries."""
        self._lock = threading.RLock()

    def send(self) -> int:
        """Send what is new or changed, and delete what is gone; return how many objects that were.

        Raises:
            BrainageError: the network or the place failed; the next call goes on.
        """
        with self._lock:
            files = {name: path.stat() for name, path in self._files() if path.is_file()}
            changed = [name for name, stat in files.items() if self._differs(name, stat)]
            changed.sort(key=lambda name: (files[name].st_mtime_ns, name))
            gone = [name for name in self.entries if self._mine(name) and name not in files and name not in self.left]
            if not changed and not gone:
                return 0
            self._forget_units([*changed, *gone])
            copies = {name: copy for name in changed if (copy := _Copy.of(self.root / name)) is not None}
            try:
                self._send(copies)
            finally:
                for copy in copies.values():
                    copy.close()
            for name in gone:
                del self.entries[name]
            self._write_index()
            for name in gone:
                self.remote.delete(name)
            return len(copies) + len(gone)

    def _send(self, copies: Mapping[str, _Copy]) -> None:
        before = dict(self.entries)
        for name, copy in copies.items():
            old = before[name].sha256 if name in before else (NOT_YET,)
            self.entries[name] = Entry((*old, copy.sha256), copy.bytes, copy.mtime_ns)
        try:
            self._write_index()
            for name, copy in copies.items():
                self.remote.put(copy.path, name)
                self.entries[name] = Entry((copy.sha256,), copy.bytes, copy.mtime_ns)
                before[name] = self.entries[name]
        except BaseException:
            self.entries = before  # the next call sends the rest
            raise

    def adopt(self, folder: str = "") -> None:
        """Bring what workers on other nodes have made below a folder, if there is anything new.

        Raises:
            DataError: an object is gone or damaged.
        """
        for unit, entries in self.new_units(folder).items():
            with self._lock:
                for name in self.entries.keys() - merged(self.entries, unit, entries).keys():
                    (self.root / name).unlink(missing_ok=True)
                bring(self.remote, self.root, entries)
                self.entries = merged(self.entries, unit, entries)

    def new_units(self, folder: str = "") -> dict[str, Index]:
        """Return what other nodes' indexes below a folder hold, of those that are new or changed."""
        found = {}
        for unit in self.remote.list(f"{UNITS}/{folder}".rstrip("/")):
            data = self.remote.read(unit)
            if data is not None and self._units.get(unit, ("", {}))[0] != (sum_ := _sum(data)):
                found[unit], _ = read_index(self.remote, unit)
                self._units[unit] = sum_, found[unit]
        return found

    def bring_rest(self, folder: str) -> None:
        """Bring what was left below a folder.

        Raises:
            DataError: an object is gone or damaged.
        """
        with self._lock:
            wanted = {name for name in self.left if name.startswith(f"{folder}/")}
            bring(self.remote, self.root, {name: self.entries[name] for name in wanted})
            self.left -= wanted

    def _forget_units(self, names: list[str]) -> None:
        """Delete the units of files that this side changes now."""
        for unit, (_, entries) in list(self._units.items()):
            if not entries.keys().isdisjoint(names):
                self.remote.delete(unit)
                del self._units[unit]

    def _write_index(self) -> None:
        write_index(self.remote, self._index, self.entries, self.writer)

    def _mine(self, name: str) -> bool:
        return not self._below or name.startswith(f"{self._below}/")

    def _differs(self, name: str, stat: os.stat_result) -> bool:
        entry = self.entries.get(name)
        if entry is None or len(entry.sha256) > 1 or entry.mtime_ns != stat.st_mtime_ns:
            return True
        return entry.bytes != stat.st_size and not name.endswith((*_GROWING, ".db"))

    def _files(self) -> Iterator[tuple[str, Path]]:
        yield from files_below(self.root, self._below)


def _sum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def files_below(root: Path, below: str = "") -> Iterator[tuple[str, Path]]:
    """Yield the whole files of a workspace, or of a folder in it, that are mirrored: name and path."""
    for folder, folders, files in os.walk(root / below if below else root):
        here = Path(folder)
        if here == root:
            folders[:] = [name for name in folders if name not in NEVER]
        folders[:] = [name for name in folders if not name.endswith(".partial") and name != SCRATCH]
        for file in files:
            if not file.endswith(_UNFINISHED) and ".part" not in file and file != LOCAL:
                path = here / file
                yield path.relative_to(root).as_posix(), path


@dataclass
class _Copy:
    """A file as it goes up: itself, or for one that is being written a copy of its whole part."""

    path: Path
    sha256: str
    bytes: int
    mtime_ns: int
    temporary: Any = None

    @classmethod
    def of(cls, path: Path) -> _Copy | None:
        """Take a file as it is now; None where it is gone."""
        try:
            stat, temporary = path.stat(), None
            if path.suffix == ".db":
                temporary = _snapshot(path)
            elif path.name.endswith(_GROWING):
                temporary = _whole_lines(path)
            else:  # replaced, never changed: a second name keeps what is hashed now
                temporary = _second_name(path)
            held = Path(temporary.name)
            return cls(held, sha256_of(held), held.stat().st_size, stat.st_mtime_ns, temporary)
        except FileNotFoundError:
            return None

    def close(self) -> None:
        """Remove the copy."""
        self.path.unlink(missing_ok=True)


@dataclass(frozen=True)
class _Named:
    name: str


def _second_name(path: Path) -> _Named:
    fresh = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.partial")
    fresh.unlink(missing_ok=True)
    os.link(path, fresh)
    return _Named(str(fresh))


def _whole_lines(path: Path) -> _Named:
    data = path.read_bytes()
    return _temporary(data[: data.rfind(b"\n") + 1])


def _snapshot(path: Path) -> _Named:
    """Copy a database while others write it, by SQLite's own means."""
    made = _temporary(b"")
    with closing(sqlite3.connect(path, timeout=60)) as source, closing(sqlite3.connect(made.name)) as target:
        source.backup(target)
    return made


def _temporary(data: bytes) -> _Named:
    handle, name = tempfile.mkstemp(prefix="brainage-")
    with os.fdopen(handle, "wb") as file:
        file.write(data)
    return _Named(name)
