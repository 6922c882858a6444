"""The final models of an arm, out of MLflow into a folder of the user's."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from brainage_ray.errors import ConfigError
from brainage_ray.pipeline.model_folder import MODEL_FILE, ModelFolder, read_model_folder
from brainage_ray.pipeline.results import RESULTS
from brainage_ray.tracking import download_models


def pull(name: str, to: Path, workspace: Path) -> ModelFolder:
    """Copy the models of an arm, and check them.

    Args:
        name: EXPERIMENT/ARM, or EXPERIMENT for the arm that won on validation.
        to: folder to fill: new, empty, or holding a model, which is replaced.
        workspace: where the experiment ran.

    Raises:
        ConfigError: no such experiment has results here, or the folder holds other things.
        EngineError: MLflow has no models of the arm.
        WeightsError: what came is not what was stored.
    """
    experiment, _, arm = name.partition("/")
    arm = arm or _winner(experiment, workspace)
    if to.exists() and (not to.is_dir() or (any(to.iterdir()) and not (to / MODEL_FILE).is_file())):
        raise ConfigError(f"--to {to} is there already and holds no model", "Name a new folder.")
    to.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=to) as name:
        fresh = Path(name)
        download_models(workspace, experiment, arm, fresh)
        described = read_model_folder(fresh)
        # Only now, with the new model whole and checked, does the old one go.
        for old in [*to.glob("*.safetensors"), *to.glob(MODEL_FILE)]:
            old.unlink()
        for file in [*(fresh / member.file for member in described.members), fresh / MODEL_FILE]:
            file.replace(to / file.name)
    return described


def _winner(experiment: str, workspace: Path) -> str:
    path = workspace / experiment / RESULTS
    if not path.is_file():
        known = ", ".join(sorted(found.parent.name for found in workspace.glob(f"*/{RESULTS}")))
        raise ConfigError(
            f"There are no results of {experiment} in {workspace}",
            f"Finished here: {known}." if known else "Run it first: brainage run EXPERIMENT.",
        )
    return str(json.loads(path.read_text())["winner"])
