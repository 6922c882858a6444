"""Where a run's artifacts lie: in the workspace itself, or wherever a tracking server keeps them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient


def artifacts_folder(workspace: Path, experiment: str) -> Path:
    """Return the folder that holds an experiment's runs, each with `artifacts/` inside, as MLflow lays them out."""
    return workspace.resolve() / "artifacts" / experiment


@dataclass(frozen=True)
class RunFiles:
    """The artifacts of one run.

    MLflow remembers the absolute place of a local experiment's artifacts. A workspace that has moved since would
    go on filling the old place, or fail to; so files of a workspace go where the workspace is now.
    """

    client: MlflowClient
    run_id: str
    folder: Path | None
    """artifacts_folder of the workspace; None leaves the place to the server."""

    def add(self, source: Path, to: str = "") -> None:
        """Copy a file, or a folder's content, into a folder of the artifacts."""
        if self.folder is None:
            copy = self.client.log_artifacts if source.is_dir() else self.client.log_artifact
            copy(self.run_id, str(source), to or None)
            return
        place = self._made(self.folder, to)
        if source.is_dir():
            shutil.copytree(source, place, dirs_exist_ok=True)
        else:
            shutil.copy2(source, place)

    def add_text(self, text: str, name: str) -> None:
        """Write a text as an artifact; its name may have folders."""
        if self.folder is None:
            self.client.log_text(self.run_id, text, name)
            return
        parent, _, file = name.rpartition("/")
        (self._made(self.folder, parent) / file).write_text(text, encoding="utf-8")

    def _made(self, folder: Path, to: str) -> Path:
        place = folder / self.run_id / "artifacts" / to
        place.mkdir(parents=True, exist_ok=True)
        return place
