"""An sshd on the loopback, and a head that ssh reaches there."""

from __future__ import annotations

import getpass
import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_cluster_local import SSHD, Machine

from brainage_ray.cluster import Head


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """An sshd with a home of its own; no Ray runs in it."""
    if not SSHD:
        pytest.skip("needs sshd")
    with tempfile.TemporaryDirectory(prefix="bl", dir="/tmp", ignore_cleanup_errors=True) as folder:
        machine = Machine(Path(folder))
        sshd = machine.start()
        yield machine
        sshd.terminate()
        sshd.wait()
    user, name = (hashlib.sha256(text.encode()).hexdigest()[:10] for text in (getpass.getuser(), machine.name))
    shutil.rmtree(f"/tmp/ray_ssh_{user}/{name}", ignore_errors=True)  # Ray's


@pytest.fixture
def head(machine: Machine) -> Head:
    return Head("127.0.0.1", getpass.getuser(), machine.folder / "sshd" / "key", machine.ssh_port)
