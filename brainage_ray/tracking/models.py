"""Final models: artifacts of their arm's run, a version in MLflow's registry, and the way back to files."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from brainage_ray.errors import EngineError
from brainage_ray.tracking.client import KEY_TAG, all_runs, database, open_client, open_existing
from brainage_ray.tracking.files import RunFiles, artifacts_folder

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

MODELS_TAG = "brainage.models"
_COUNT_MODELS = """
    SELECT COUNT(*) FROM experiments
    JOIN runs ON runs.experiment_id = experiments.experiment_id
    JOIN tags ON tags.run_uuid = runs.run_uuid
    WHERE experiments.name = ? AND tags.key = ? AND runs.lifecycle_stage = 'active'
"""
ALIAS = "champion"


def store_models(name: str, source: Path, digest: str, files: RunFiles) -> None:
    """Copy models into an arm's artifacts and register them; plain files, nothing pickled.

    Args:
        name: experiment and arm.
        source: folder with the models' files.
        digest: names the version.
        files: of the arm's run.
    """
    folder, run_id = f"models/{digest}", files.run_id
    files.add(source, folder)
    _register(files.client, name.replace("+", "_"), f"runs:/{run_id}/{folder}", run_id, digest)
    files.client.set_tag(run_id, MODELS_TAG, digest)  # last: who finds the tag finds the files


def has_models(workspace: Path, experiment: str, uri: str | None = None) -> bool:
    """Tell whether MLflow has models of an experiment; of a workspace by its database alone, without loading MLflow."""
    if uri is not None:
        client = open_client(uri)
        found = client.get_experiment_by_name(experiment)
        return found is not None and bool(_with_models(client, found.experiment_id))
    path = database(workspace)
    if not path.is_file():
        return False
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            return bool(connection.execute(_COUNT_MODELS, (experiment, MODELS_TAG)).fetchone()[0])
    except sqlite3.Error:
        return False


def arms(workspace: Path, experiment: str) -> dict[str, dict[str, float]]:
    """Return the arms whose models can be downloaded.

    Args:
        workspace: folder with `mlflow.db`.
        experiment: its name.

    Returns:
        By arm, the numbers that its run has, for example the test MAE in years.

    Raises:
        EngineError: nothing was tracked in this workspace, or not this experiment.
    """
    runs = _arm_runs(open_existing(workspace), str(workspace), experiment)
    return {arm: dict(run.data.metrics) for arm, run in sorted(runs.items())}


def download_models(workspace: Path, experiment: str, arm: str, to: Path, uri: str | None = None) -> list[Path]:
    """Copy the newest models of an arm into a folder.

    Args:
        workspace: folder with `mlflow.db`.
        experiment: its name.
        arm: its name.
        to: folder to make or to add to.
        uri: of the MLflow server to ask instead of the workspace.

    Returns:
        The files.

    Raises:
        EngineError: there is no such experiment, or no models of this arm, or their files are gone.
    """
    client = open_existing(workspace, uri)
    runs = _arm_runs(client, uri or str(workspace), experiment)
    if arm not in runs:
        raise EngineError(f"MLflow has no models of {experiment}/{arm}", _known("arms", list(runs)))
    run = runs[arm]
    name = f"models/{run.data.tags[MODELS_TAG]}"
    here = None if uri else artifacts_folder(workspace, experiment) / run.info.run_id / "artifacts" / name
    if here is not None and not here.is_dir():
        raise EngineError(f"There is no {here} any more", "Run the experiment again: it publishes its models anew.")
    to.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=to) as half_way:
        if here is not None:
            shutil.copytree(here, half_way, dirs_exist_ok=True, symlinks=True)  # as links: who reads them refuses
        came = Path(half_way) if here else Path(client.download_artifacts(run.info.run_id, name, half_way))
        return sorted(file.replace(to / file.name) for file in came.iterdir())


def _register(client: MlflowClient, name: str, source: str, run_id: str, digest: str) -> None:
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    versions = client.search_model_versions(f"name = '{name}'")
    version = next((v for v in versions if v.tags.get(MODELS_TAG) == digest), None)
    if version is None:
        version = client.create_model_version(name, source, run_id, tags={MODELS_TAG: digest})
    client.set_registered_model_alias(name, ALIAS, version.version)


def _arm_runs(client: MlflowClient, where: str, experiment: str) -> dict[str, Run]:
    found = client.get_experiment_by_name(experiment)
    if found is None:
        known = [e.name for e in client.search_experiments() if e.name != "Default"]
        raise EngineError(f"MLflow has no experiment {experiment} in {where}", _known("experiments", known))
    runs = _with_models(client, found.experiment_id)
    return {run.data.tags[KEY_TAG].removeprefix(f"{experiment}/"): run for run in runs}


def _with_models(client: MlflowClient, experiment_id: str) -> list[Run]:
    return [run for run in all_runs(client, experiment_id) if MODELS_TAG in run.data.tags]


def _known(what: str, names: list[str]) -> str:
    return f"Name one of the {what} {', '.join(sorted(names))}." if names else f"No {what} have models yet: run one."
