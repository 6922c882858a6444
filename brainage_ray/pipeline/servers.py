"""Where the studies and runs of an experiment are kept, if not in its workspace."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from brainage_ray.data import atomic_write
from brainage_ray.execution import check_storage
from brainage_ray.tracking import check_server

TOLD = "mlflow.json"


@dataclass(frozen=True)
class Servers:
    """Of a cluster, reached by URL; without them the workspace's own files serve."""

    storage: str | None = field(default=None, repr=False)
    """Database for the studies of the search, maybe with a password; None: journal files in the workspace."""
    tracking: str | None = None
    """MLflow server; None: SQLite in the workspace."""

    def check(self) -> None:
        """See that they can be used, before anything starts.

        Raises:
            ConfigError: a URL is wrong.
            EngineError: a server cannot be reached, or lets us not in.
        """
        if self.storage is not None:
            check_storage(self.storage)
        if self.tracking is not None:
            check_server(self.tracking)


def told_elsewhere(folder: Path, tracking: str | None) -> bool:
    """Tell whether what an experiment has done so far was told to another MLflow than this one."""
    file = folder / TOLD
    return file.is_file() and json.loads(file.read_text())["tracking"] != tracking


def note_told(folder: Path, tracking: str | None) -> None:
    """Note which MLflow has been told all that an experiment has done.

    Raises:
        NoSpaceError: the disk is full.
    """
    with atomic_write(folder / TOLD) as file:
        file.write(json.dumps({"tracking": tracking}).encode())
