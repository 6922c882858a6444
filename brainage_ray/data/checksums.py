"""SHA256SUMS: which files a folder has, each with its checksum, as `sha256sum -c` reads it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from brainage_ray.data.files import atomic_write, sha256_of
from brainage_ray.data.safety import inside
from brainage_ray.errors import UnsafeFileError, WeightsError

SUMS = "SHA256SUMS"
"""Name of the file."""
MOST_BYTES = 2**20
"""Of it: some nine thousand files, as no model has."""
_NAME = r"[A-Za-z0-9][A-Za-z0-9_.+-]*"
_LINE = re.compile(rf"([0-9a-f]{{64}}) [ *]({_NAME})")


def write_sums(folder: Path) -> dict[str, str]:
    """Write the checksums of all files that lie in a folder, hidden ones and subfolders aside.

    Returns:
        SHA-256 by name of the file.

    Raises:
        NoSpaceError: the disk is full.
    """
    names = sorted(path.name for path in folder.iterdir() if path.is_file() and re.fullmatch(_NAME, path.name))
    sums = {name: sha256_of(folder / name) for name in names if name != SUMS}
    with atomic_write(folder / SUMS) as file:
        file.write("".join(f"{sha256}  {name}\n" for name, sha256 in sums.items()).encode())
    return sums


def read_sums(folder: Path) -> dict[str, str]:
    """Return the checksums that a folder names; the folder may be anybody's.

    Returns:
        SHA-256 by name of the file: a name, never a path.

    Raises:
        WeightsError: there is no SHA256SUMS, or a line of it is none of its format.
        UnsafeFileError: it is a link out of the folder, names a file elsewhere, or is far too long.
    """
    path = inside(folder, SUMS)
    if not path.is_file():
        raise WeightsError(f"There is no {path}", "Pull the model again.")
    if path.stat().st_size > MOST_BYTES:
        raise UnsafeFileError(f"{path} has {path.stat().st_size / 2**20:.1f} MiB, as no list of checksums has")
    sums: dict[str, str] = {}
    for line in path.read_text("utf-8", errors="replace").splitlines():
        found = _LINE.fullmatch(line)
        if found is None and "/" in line:
            raise UnsafeFileError(f"{path} names a file elsewhere: {line[:120]!r}", "Ask who made it.")
        if found is None or found[2] in sums or found[2] == SUMS:
            raise WeightsError(f"{path} has the line {line[:120]!r}, which is no checksum", "Pull the model again.")
        sums[found[2]] = found[1]
    return sums


def whole_files(folder: Path, sums: Mapping[str, str]) -> set[str]:
    """Return the names of those files that are there with these checksums.

    Raises:
        UnsafeFileError: one is a link out of the folder.
    """
    return {name for name, sha256 in sums.items() if is_whole(folder, name, sha256)}


def is_whole(folder: Path, name: str, sha256: str) -> bool:
    """Tell whether a file of a folder has a checksum.

    Raises:
        UnsafeFileError: it is a link out of the folder.
    """
    path = inside(folder, name)
    return path.is_file() and sha256_of(path) == sha256
