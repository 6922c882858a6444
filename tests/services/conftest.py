"""Services that tests share: to make some takes ten seconds."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from forked_commands import Commands
from postgres import programs
from service_set import ServiceSet


@contextmanager
def a_set(commands: Commands) -> Iterator[ServiceSet]:
    if programs() is None:
        pytest.skip("needs PostgreSQL (initdb is neither on the PATH nor in /usr/lib/postgresql)")
    # A short path for the sockets, with a space, which the user postgres may enter.
    with tempfile.TemporaryDirectory(prefix="sv ", dir="/tmp", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        made = ServiceSet(Path(folder) / "runs", commands)
        try:
            yield made
        finally:
            if made.folder.is_dir():
                made.call("stop")


@pytest.fixture
def unused(commands: Commands) -> Iterator[ServiceSet]:
    """Services that nobody has started."""
    with a_set(commands) as made:
        yield made


@pytest.fixture(scope="session")
def services(commands: Commands) -> Iterator[ServiceSet]:
    """Services that run, with a run and a study in them."""
    with a_set(commands) as made:
        made.start()
        made.use()
        yield made
