"""Brings the files of a model into a folder: only those that are not there, each checked, all of them or none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from brainage_ray.config.base import digest
from brainage_ray.data import PROVENANCE, inside, no_space
from brainage_ray.data.checksums import SUMS, is_whole, read_sums, whole_files, write_sums
from brainage_ray.errors import BrainageError, ConfigError, EngineError, UnsafeFileError, WeightsError
from brainage_ray.pipeline.model_folder import MODEL_FILE, ModelFolder, read_model_folder
from brainage_ray.pipeline.progress import Progress, Silent

_STAGING = ".pull-"
_OLD = ("*.safetensors", MODEL_FILE, PROVENANCE)
"""What a model was before it had SHA256SUMS."""


class Source(Protocol):
    """Where the files of a model lie."""

    def names(self) -> list[str]:
        """Return what there is."""

    def fetch(self, name: str, to: Path) -> None:
        """Bring a file into a folder, where it appears when it is whole."""


@dataclass(frozen=True)
class FolderFiles:
    """A folder of this machine, that somebody else may have filled."""

    folder: Path

    def names(self) -> list[str]:
        """Return the names of its files."""
        return sorted(path.name for path in self.folder.iterdir())

    def fetch(self, name: str, to: Path) -> None:
        """Copy a file.

        Raises:
            UnsafeFileError: it is a link out of the folder.
            WeightsError: it is not there.
        """
        path, partial = inside(self.folder, name), to / f".{name}.partial"
        if not path.is_file():
            raise WeightsError(f"There is no {path}, which {SUMS} names", "Run the experiment again.")
        shutil.copyfile(path, partial)
        partial.replace(to / name)


def bring(source: Source, to: Path, progress: Progress | None = None) -> None:
    """Fetch the files of a model that a folder has not got, by SHA256SUMS; of older models all.

    Args:
        source: that has them.
        to: folder that may hold some of them.
        progress: gets a bar.

    Raises:
        BrainageError: what the source raises; what came before is kept.
    """
    names, progress = source.names(), progress or Silent()
    if SUMS in names:
        source.fetch(SUMS, to)
        sums = read_sums(to)
        there = whole_files(to, sums)
    else:
        sums = {name: "" for name in names if any(Path(name).match(pattern) for pattern in _OLD)}
        there = set()
    progress.begin("pull", len(sums), "files")
    try:
        progress.skip(len(there))
        for name in (name for name in sums if name not in there):
            source.fetch(name, to)
            progress.advance()
    finally:
        progress.end()


def install_models(to: Path, name: str, fetch: Callable[[Path], None]) -> ModelFolder:
    """Put a model into a folder, once it is whole and checked.

    Args:
        to: folder to fill: new, empty, or holding a model, which is replaced.
        name: of the model: a download of the same one that broke off goes on.
        fetch: fills a folder that may hold some of the files already, see `bring`.

    Raises:
        ConfigError: the folder holds other things.
        WeightsError: what came is not what was stored.
    """
    if to.exists() and (not to.is_dir() or (any(_visible(to)) and not (to / MODEL_FILE).is_file())):
        raise ConfigError(f"--to {to} is there already and holds no model", "Name a new folder.")
    disk = next(folder for folder in [to.absolute(), *to.absolute().parents] if folder.is_dir())
    staging = disk / f"{_STAGING}{digest(str(to.absolute()), name)[:12]}"
    with no_space(disk), _staged(staging):
        _take_over(to, staging)
        fetch(staging)
        names, described = _checked(staging)
        # Only now, with the new model whole and checked, is the folder made, and does an old model go.
        to.mkdir(parents=True, exist_ok=True)
        _replace(to, staging, names)
    return described


def _visible(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if not path.name.startswith(_STAGING))


@contextmanager
def _staged(folder: Path) -> Iterator[None]:
    """Hold a folder for what comes; it stays where the way to the source broke off, and nowhere else."""
    folder.mkdir(exist_ok=True)
    keep = True
    try:
        yield
        keep = False
    except BrainageError as error:
        keep = isinstance(error, EngineError | WeightsError)
        raise
    finally:
        if not (keep and kept_files(folder)):
            shutil.rmtree(folder, ignore_errors=True)


def kept_files(folder: Path) -> dict[str, str]:
    """Return the checksums of the files of a folder that are whole by its own SHA256SUMS."""
    try:
        sums = read_sums(folder)
        return {name: sums[name] for name in sorted(whole_files(folder, sums))}
    except (WeightsError, UnsafeFileError, OSError):
        return {}


def _take_over(to: Path, staging: Path) -> None:
    """Begin with what an earlier pull brought: the same files are not fetched again."""
    names = [*kept_files(to), SUMS] if to.is_dir() and not kept_files(staging) else []
    for name in names:
        with suppress(FileExistsError):
            try:
                os.link(to / name, staging / name)
            except OSError:  # a file system without links
                shutil.copyfile(to / name, staging / name)


def _checked(staging: Path) -> tuple[list[str], ModelFolder]:
    """Check every file, and return their names.

    Raises:
        WeightsError: one is missing, or not what was stored.
    """
    older = not (staging / SUMS).is_file()
    sums = write_sums(staging) if older else read_sums(staging)
    for name, sha256 in sums.items():
        if not is_whole(staging, name, sha256):
            (staging / name).unlink(missing_ok=True)
            raise WeightsError(f"{name} did not come as {SUMS} has it", "Pull again: what came whole is kept.")
    described = read_model_folder(staging)
    if unnamed := {MODEL_FILE, *(member.file for member in described.members)} - set(sums):
        raise WeightsError(f"{SUMS} does not name {', '.join(sorted(unnamed))}", "Pull the model again.")
    return [*(name for name in sums if name != MODEL_FILE), SUMS, MODEL_FILE], described


def _replace(to: Path, staging: Path, names: list[str]) -> None:
    old = {path for pattern in _OLD for path in to.glob(pattern)}
    with suppress(WeightsError, UnsafeFileError):
        old |= {to / name for name in read_sums(to)}
    for path in old - {to / name for name in names}:
        path.unlink(missing_ok=True)
    for name in names:
        (staging / name).replace(to / name)
