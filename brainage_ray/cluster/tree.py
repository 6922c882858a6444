"""The working tree that a job runs with, packed."""

from __future__ import annotations

import os
import subprocess
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from brainage_ray.data import PACKED_COMMIT
from brainage_ray.errors import ConfigError, EngineError

LIMIT_BYTES = 100 * 2**20
"""Ray keeps a package in the memory of the head, and takes none above 500 MiB."""
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The same files make the same package, which is sent once."""
_BUILT = {"__pycache__", "build", "dist", "runs"}


@dataclass(frozen=True)
class Tree:
    """The repository around a folder, or the folder itself where it is in none."""

    root: Path
    here: Path
    """Where the command was given, from the root."""

    def place(self, file: Path) -> Path:
        """Return a file's path from `here`, as it will be on the cluster.

        Raises:
            ConfigError: it lies outside.
        """
        full = file.resolve()
        if not full.is_relative_to(self.root):
            raise ConfigError(
                f"{file} lies outside of {self.root}, the folder that is sent to the cluster",
                "Put it in there, or run this in the folder that holds all that the experiment needs.",
            )
        return Path(os.path.relpath(full, self.root / self.here))

    def pack(self, to: Path) -> None:
        """Write a zip of all files, without those that .gitignore names.

        Raises:
            ConfigError: they are too many or too large for a package.
            EngineError: a file cannot be read.
        """
        files = sorted(self._files())
        self._check_size(files)
        with zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as package:
            for file in files:
                try:
                    content = (self.root / file).read_bytes()
                except OSError as error:
                    problem = f"{self.root / file} cannot be sent to the cluster: {error.strerror}"
                    raise EngineError(problem, "Correct its rights, or name it in .gitignore.") from None
                info = zipfile.ZipInfo(file.as_posix(), _EPOCH)
                info.compress_type = zipfile.ZIP_DEFLATED
                info.external_attr = (0o755 if os.access(self.root / file, os.X_OK) else 0o644) << 16
                package.writestr(info, content)
            if commit := _commit(self.root):
                package.writestr(zipfile.ZipInfo(PACKED_COMMIT, _EPOCH), commit)

    def _files(self) -> Iterator[Path]:
        listed = _git(self.root, "ls-files", "--cached", "--others", "--exclude-standard", "-z")
        if listed is not None:
            paths = [Path(name) for name in dict.fromkeys(listed.split("\0")) if name]
        else:
            paths = list(_walk(self.root))
        yield from (path for path in paths if (self.root / path).is_file())

    def _check_size(self, files: list[Path]) -> None:
        sizes: Counter[str] = Counter()
        for file in files:
            sizes[file.parts[0]] += (self.root / file).stat().st_size
        total = sum(sizes.values())
        if total > LIMIT_BYTES:
            largest = ", ".join(f"{name} {size / 2**20:,.0f} MiB" for name, size in sizes.most_common(3))
            raise ConfigError(
                f"{self.root} holds {total / 2**20:,.0f} MiB to send to the cluster, which takes "
                f"{LIMIT_BYTES / 2**20:,.0f} MiB; the largest: {largest}",
                "Name in .gitignore what the job does not need; scans go there once, with ray rsync-up.",
            )


def find_tree(folder: Path) -> Tree:
    """Return the working tree around a folder."""
    folder = folder.resolve()
    top = _git(folder, "rev-parse", "--show-toplevel")
    root = Path(top.strip()).resolve() if top else folder
    return Tree(root, folder.relative_to(root))


def _commit(root: Path) -> str | None:
    said = _git(root, "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*")
    return said.strip() if said else None


def _git(folder: Path, *words: str) -> str | None:
    """Return what git says; None where there is no git, or no repository."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, check=False, timeout=60
        )
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None


def _walk(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in _BUILT]
        yield from (Path(folder, name).relative_to(root) for name in names if not name.startswith("."))
