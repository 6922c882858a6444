"""Where a model is that somebody names: a folder, an arm of the workspace, or the registry."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from brainage_ray.errors import ConfigError
from brainage_ray.pipeline.model_folder import MODEL_FILE, MODELS
from brainage_ray.pipeline.pull import URI, pull


@contextmanager
def found_model(name: str, workspace: Path, tracking: str | None = None) -> Iterator[Path]:
    """Give the folder of a model; what had to be pulled is gone afterwards.

    Args:
        name: a folder, EXPERIMENT/ARM or EXPERIMENT in the workspace, or models:/NAME@ALIAS.
        workspace: that has the experiment.
        tracking: MLflow server; None: the workspace's own database.

    Raises:
        ConfigError: there is no such model.
    """
    experiment, _, arm = name.partition("/")
    here = workspace / experiment / MODELS / arm
    if Path(name).is_dir():
        yield Path(name)
    elif arm and not name.startswith(URI) and (here / MODEL_FILE).is_file():
        yield here
    else:
        with tempfile.TemporaryDirectory(prefix="brainage-") as folder:
            to = Path(folder) / "model"
            _pull(name, to, workspace, tracking)
            yield to


def _pull(name: str, to: Path, workspace: Path, tracking: str | None) -> None:
    try:
        pull(name, to, workspace, tracking)
    except ConfigError as error:
        fix = f"{error.fix} Or fill a folder with: brainage pull EXPERIMENT/ARM --to FOLDER.".strip()
        raise ConfigError(f"There is no model {name}: it is no folder, and {error.problem}", fix) from error
