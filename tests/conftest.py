"""What all tests share."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from forked_commands import Commands

from brainage_ray.execution import Cluster

sys.path.append(str(Path(__file__).parent))

from object_store import ObjectStore, running_object_store
from postgres import Postgres, programs, running_postgres

# Hypothesis' deadline is a clock, and clocks fail on busy machines. In CI its examples are the same every time.
hypothesis.settings.register_profile("here", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "here")

ROOT = Path(__file__).resolve().parent.parent


def shared_folder() -> Path:
    return Path(os.environ.get("BRAINAGE_SHARED", ROOT.parent / "shared"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with the real scans; a test that asks for it is skipped where it is absent."""
    folder = shared_folder() / "data"
    if not folder.is_dir():
        pytest.skip(f"needs the shared data folder ({folder} is absent)")
    return folder


def pytest_configure(config: pytest.Config) -> None:
    # importing ray.train warns of the defaults of ray.data, which nobody here uses
    config.addinivalue_line("filterwarnings", "ignore::DeprecationWarning:ray.data.context")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A Ray cluster of two CPUs on this machine, one for all tests of a session."""
    with Cluster(cpus=2, gpus=0) as cluster:
        cluster.connect()
        yield cluster


@pytest.fixture(scope="session")
def gpu() -> Any:
    """The current GPU, a torch.device; a test that asks for it is skipped where there is none."""
    import torch

    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    return torch.device("cuda", torch.cuda.current_device())


@pytest.fixture(scope="session")
def commands() -> Iterator[Commands]:
    """What starts the command `brainage` without its imports; one for all tests of a session."""
    with tempfile.TemporaryDirectory(prefix="bk", dir="/tmp") as folder:  # short: Ray's sockets lie there
        commands = Commands(Path(folder))
        yield commands
        commands.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server, one for all tests of a session; a test that asks for it is skipped where there is none."""
    if programs() is None:
        pytest.skip("needs PostgreSQL (initdb is neither on the PATH nor in /usr/lib/postgresql)")
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def object_store(tmp_path_factory) -> Iterator[ObjectStore]:
    """An S3 server, one for all tests of a session; a test that asks for it is skipped where moto is not installed."""
    pytest.importorskip("moto")
    with running_object_store(tmp_path_factory.mktemp("s3")) as store:
        yield store
