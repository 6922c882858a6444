"""The index of what lies at a URI: the SHA-256, size and time of each object."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from brainage_ray.data.remote import RemoteFolder
from brainage_ray.data.safety import inside
from brainage_ray.errors import DataError

INDEX, UNITS = ".brainage/index.json", ".brainage/units"
"""Names of the index, and of the folder of those that workers on other nodes write for what they make."""
NOT_YET = ""
"""Stands for a checksum in an entry: the object is on its way for the first time, and there may be none."""


@dataclass(frozen=True)
class Entry:
    """An object, as the index knows it."""

    sha256: tuple[str, ...]
    """What it may have: one; or while it goes up also that of the object before it, or NOT_YET."""
    bytes: int
    mtime_ns: int
    """When the file was changed, ns since 1970: it is given this time where it is brought to."""

    def is_file(self, path: Path) -> bool:
        """Tell by size and time whether a file is this one."""
        try:
            found = path.stat()
        except OSError:
            return False
        return (found.st_size, found.st_mtime_ns) == (self.bytes, self.mtime_ns)


Index = dict[str, Entry]


def read_index(remote: RemoteFolder, name: str) -> tuple[Index, str]:
    """Return an index and who wrote it; empty where there is none.

    Raises:
        DataError: it cannot be read.
    """
    data = remote.read(name)
    if data is None:
        return {}, ""
    try:
        about = json.loads(data)
        entries = {
            file: Entry(tuple(e["sha256"]), int(e["bytes"]), int(e["mtime_ns"])) for file, e in about["files"].items()
        }
        if any(file.startswith("/") or ".." in file.split("/") for file in entries):
            raise ValueError("a file lies outside")
        return entries, str(about["writer"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        problem = f"{remote.shown}/{name} is damaged: {error}"
        raise DataError(problem, "Put back an older version of it, or start in another workspace.") from None


def write_index(remote: RemoteFolder, name: str, entries: Mapping[str, Entry], writer: str) -> None:
    """Write an index."""
    files = {file: asdict(entry) for file, entry in sorted(entries.items())}
    remote.write(name, json.dumps({"writer": writer, "files": files}).encode())


def unit_name(folder: str) -> str:
    """Return the name of the index of what a worker makes below a folder."""
    return f"{UNITS}/{folder}/unit.json"


def bring(remote: RemoteFolder, root: Path, entries: Mapping[str, Entry], note: Callable[[int], object] = bool) -> None:
    """Bring objects into a folder, those that are not there yet; one whose way up a kill ended was never there.

    Args:
        remote: where they are.
        root: the folder.
        entries: which.
        note: told the bytes of each file that has come.

    Raises:
        DataError: an object is gone or damaged.
    """
    for name, entry in entries.items():
        path = inside(root, name)
        never_came = NOT_YET in entry.sha256 and remote.modified(name) is None
        if not never_came and not entry.is_file(path):
            remote.fetch(name, path, entry.sha256)
            os.utime(path, ns=(entry.mtime_ns, entry.mtime_ns))
            note(entry.bytes)


def unit_folder(unit: str) -> str:
    """Return the folder of which a unit is the index."""
    return unit.removeprefix(f"{UNITS}/").removesuffix("/unit.json")


def merged(index: Mapping[str, Entry], unit: str, entries: Mapping[str, Entry]) -> Index:
    """Return an index in which a unit says what there is below its folder."""
    below = f"{unit_folder(unit)}/"
    return {name: entry for name, entry in index.items() if not name.startswith(below)} | dict(entries)
