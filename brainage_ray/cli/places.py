"""Where a verb works: a folder, or a workspace at a URI."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from brainage_ray.errors import ConfigError

Where = Path | str
"""A folder, or a URI."""


def parse_where(text: str | Path) -> Where:
    """Return what an option names."""
    return text if "://" in str(text) else Path(text)


def parse_folder(text: str | Path) -> Path:
    """Return the folder that an option names.

    Raises:
        ConfigError: it names a URI.
    """
    if "://" in str(text):
        raise ConfigError(f"--workspace {text}: databases run in a folder of this machine", "Name a folder.")
    return Path(text)


@contextmanager
def looked_into(where: Where) -> Iterator[Path]:
    """Give the folder of a workspace to a verb that reads; one at a URI is brought here first."""
    if isinstance(where, Path):
        yield where
        return
    from brainage_ray.pipeline import read_workspace  # seconds

    with read_workspace(where, _note) as folder:
        yield folder


@contextmanager
def worked_in(where: Where, what: str) -> Iterator[Path]:
    """Give the folder of a workspace to a verb that writes; one at a URI holds all when the block has ended."""
    if isinstance(where, Path):
        yield where.absolute()
        return
    from brainage_ray.pipeline import opened_workspace

    with opened_workspace(where, what, _note) as folder:
        yield folder


def _note(line: str) -> None:
    typer.echo(line, err=True)
