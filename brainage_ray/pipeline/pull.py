"""The final models of an arm, out of MLflow or the workspace into a folder of the user's."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from brainage_ray.data import inside
from brainage_ray.errors import ConfigError, EngineError
from brainage_ray.pipeline.fetch import FolderFiles, Source, bring, install_models
from brainage_ray.pipeline.model_folder import MODEL_FILE, MODELS, RESULTS, ModelFolder
from brainage_ray.pipeline.progress import Progress
from brainage_ray.tracking import CHAMPION, find_arm, find_models

URI = "models:/"
"""Before a name, as MLflow writes it."""
_WORD = r"[A-Za-z0-9][A-Za-z0-9_.+-]*"
_NAME = re.compile(rf"(?P<experiment>{_WORD})(?:/(?P<arm>{_WORD})|@(?P<alias>[A-Za-z0-9_-]+))?")


@dataclass(frozen=True)
class ModelName:
    """What a user calls models."""

    experiment: str
    arm: str = ""
    alias: str = CHAMPION
    """Counts where no arm is named."""


def parse_name(name: str) -> ModelName:
    """Read EXPERIMENT, EXPERIMENT/ARM or EXPERIMENT@ALIAS, which may have models:/ before it.

    Raises:
        ConfigError: it is none of them.
    """
    found = _NAME.fullmatch(name.removeprefix(URI))
    if found is None:
        raise ConfigError(f"{name} names no models", "Write EXPERIMENT, EXPERIMENT/ARM or EXPERIMENT@ALIAS.")
    return ModelName(found["experiment"], found["arm"] or "", found["alias"] or CHAMPION)


def pull(
    name: str, to: Path, workspace: Path, tracking: str | None = None, progress: Progress | None = None
) -> ModelFolder:
    """Copy the models of an arm, and check them; one that broke off goes on, and what is whole is not copied again.

    Args:
        name: EXPERIMENT/ARM, EXPERIMENT@ALIAS, or EXPERIMENT for the arm that was chosen on validation.
        to: folder to fill: new, empty, or holding a model, which is replaced.
        workspace: where the experiment ran.
        tracking: URL of the MLflow server that has the models; None: the workspace has them.
        progress: gets a bar over the files.

    Raises:
        ConfigError: no such experiment or arm has models here, or the folder holds other things.
        WeightsError: what came is not what was stored.
        UnsafeFileError: a name or a link leads out of the folder of the models.
    """
    wanted = parse_name(name)
    arm = wanted.arm or _arm_of(wanted, workspace, tracking)
    source = find_source(workspace, wanted.experiment, arm, tracking)
    return install_models(to, f"{wanted.experiment}/{arm}", lambda fresh: bring(source, fresh, progress))


def find_source(workspace: Path, experiment: str, arm: str, tracking: str | None = None) -> Source:
    """Find an arm's models in MLflow's artifacts, or where it has none in the experiment's own folder.

    Raises:
        ConfigError: there are none.
        UnsafeFileError: the arm's name leads out of the experiment's folder.
    """
    here = inside(workspace / experiment / MODELS, arm)  # a name that results.json may have given
    try:
        stored = find_models(workspace, experiment, arm, tracking)
        return stored if stored.folder is None else FolderFiles(stored.folder)
    except EngineError as error:
        if tracking or not (here / MODEL_FILE).is_file():
            problem = f"There are no models of {experiment}/{arm} in {tracking or workspace}"
            raise ConfigError(problem, _known(workspace, experiment, tracking) or error.fix) from None
        return FolderFiles(here)


def _known(workspace: Path, experiment: str, tracking: str | None) -> str:
    folders = [found.parent for found in sorted(workspace.glob(f"*/{MODELS}/*/{MODEL_FILE}")) if not tracking]
    names = [f"{folder.parents[1].name}/{folder.name}" for folder in folders]
    near = [name for name in names if name.startswith(f"{experiment}/")]
    return f"There are {', '.join(near or names)}." if names else ""


def _arm_of(wanted: ModelName, workspace: Path, tracking: str | None) -> str:
    """Return the arm that an alias names: in the registry, or for the champion as results.json has it."""
    arm = None
    try:
        arm = find_arm(workspace, wanted.experiment, wanted.alias, tracking)
    except EngineError:
        if tracking:
            raise
    if arm is not None:
        return arm
    if wanted.alias != CHAMPION:
        problem = f"There is no {wanted.experiment}@{wanted.alias} in {tracking or workspace}"
        raise ConfigError(problem, "See what there is: brainage models.")
    return _champion(wanted.experiment, workspace)


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
