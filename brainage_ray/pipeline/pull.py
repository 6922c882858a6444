"""The final models of an arm, out of MLflow or the workspace into a folder of the user's."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from brainage_ray.data import PROVENANCE, inside
from brainage_ray.errors import ConfigError, EngineError
from brainage_ray.pipeline.model_folder import MODEL_FILE, ModelFolder, read_model_folder
from brainage_ray.pipeline.results import MODELS, RESULTS
from brainage_ray.tracking import download_models


def pull(name: str, to: Path, workspace: Path, tracking: str | None = None) -> ModelFolder:
    """Copy the models of an arm, and check them.

    Args:
        name: EXPERIMENT/ARM, or EXPERIMENT for the arm that was chosen on validation.
        to: folder to fill: new, empty, or holding a model, which is replaced.
        workspace: where the experiment ran.
        tracking: URL of the MLflow server that has the models; None: the workspace has them.

    Raises:
        ConfigError: no such experiment or arm has models here, or the folder holds other things.
        WeightsError: what came is not what was stored.
        UnsafeFileError: a name or a link leads out of the folder of the models.
    """
    experiment, _, arm = name.partition("/")
    arm = arm or _champion(experiment, workspace)
    return install_models(to, lambda fresh: _fetch(workspace, experiment, arm, fresh, tracking))


def install_models(to: Path, fetch: Callable[[Path], None]) -> ModelFolder:
    """Put models into a folder, once they are whole and checked.

    Args:
        to: folder to fill: new, empty, or holding a model, which is replaced.
        fetch: fills an empty folder.

    Raises:
        ConfigError: the folder holds other things.
        WeightsError: what came is not what was stored.
    """
    if to.exists() and (not to.is_dir() or (any(to.iterdir()) and not (to / MODEL_FILE).is_file())):
        raise ConfigError(f"--to {to} is there already and holds no model", "Name a new folder.")
    disk = next(folder for folder in [to.absolute(), *to.absolute().parents] if folder.is_dir())
    with tempfile.TemporaryDirectory(dir=disk, prefix=".pull-") as half_way:
        fresh = Path(half_way)
        fetch(fresh)
        described = read_model_folder(fresh)
        # Only now, with the new model whole and checked, is the folder made, and does an old model go.
        to.mkdir(parents=True, exist_ok=True)
        for old in [*to.glob("*.safetensors"), *to.glob(MODEL_FILE), *to.glob(PROVENANCE)]:
            old.unlink()
        known = [inside(fresh, PROVENANCE)] if (fresh / PROVENANCE).is_file() else []  # older models have none
        for file in [*(fresh / member.file for member in described.members), *known, fresh / MODEL_FILE]:
            file.replace(to / file.name)
    return described


def _fetch(workspace: Path, experiment: str, arm: str, to: Path, tracking: str | None) -> None:
    """Copy from MLflow's artifacts, or where it has none from the experiment's own folder."""
    here = inside(workspace / experiment / MODELS, arm)  # a name that results.json may have given
    try:
        download_models(workspace, experiment, arm, to, tracking)
    except EngineError as error:
        if not (here / MODEL_FILE).is_file():
            problem = f"There are no models of {experiment}/{arm} in {workspace}"
            raise ConfigError(problem, _known(workspace, experiment) or error.fix) from None
        shutil.copytree(here, to, dirs_exist_ok=True, symlinks=True)  # as links: who reads them refuses


def _known(workspace: Path, experiment: str) -> str:
    folders = [found.parent for found in sorted(workspace.glob(f"*/{MODELS}/*/{MODEL_FILE}"))]
    names = [f"{folder.parents[1].name}/{folder.name}" for folder in folders]
    near = [name for name in names if name.startswith(f"{experiment}/")]
    return f"There are {', '.join(near or names)}." if names else ""


def _champion(experiment: str, workspace: Path) -> str:
    path = workspace / experiment / RESULTS
    if not path.is_file():
        known = ", ".join(sorted(found.parent.name for found in workspace.glob(f"*/{RESULTS}")))
        raise ConfigError(
            f"There are no results of {experiment} in {workspace}",
            f"Finished here: {known}." if known else "Run it first: brainage run EXPERIMENT.",
        )
    results = json.loads(path.read_text())
    return str(results.get("champion") or results["winner"])  # as older files call it
