"""Final models: artifacts of their arm's run, versions in MLflow's registry, and the way back to files."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from brainage_ray.errors import EngineError
from brainage_ray.tracking.client import KEY_TAG, all_runs, database, first_line, open_client, open_existing
from brainage_ray.tracking.files import RunFiles, artifacts_folder
from brainage_ray.tracking.registry import ARM, DIGEST, Registration, find_version, register

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

MODELS_TAG = DIGEST
REGISTERED_TAG = "brainage.registered"
"""Of an arm's run whose models are in the registry as docs/decisions/0015 has it."""
_COUNT_MODELS = """
    SELECT COUNT(*) FROM experiments
    JOIN runs ON runs.experiment_id = experiments.experiment_id
    JOIN tags ON tags.run_uuid = runs.run_uuid
    WHERE experiments.name = ? AND tags.key = ? AND runs.lifecycle_stage = 'active'
"""


@dataclass(frozen=True)
class StoredModels:
    """The files of an arm's models, where MLflow keeps them."""

    folder: Path | None
    """In a workspace of this machine; None: a server has them, and `names` and `fetch` bring them."""
    client: MlflowClient
    run_id: str
    path: str
    """Of the folder inside the run's artifacts."""

    def names(self) -> list[str]:
        """Return the names of the files on the server.

        Raises:
            EngineError: it does not say.
        """
        with _asked(self.path):
            return sorted(Path(file.path).name for file in self.client.list_artifacts(self.run_id, self.path))

    def fetch(self, name: str, to: Path) -> None:
        """Bring one file from the server into a folder, where it appears when it is whole.

        Raises:
            EngineError: it does not come.
        """
        with tempfile.TemporaryDirectory(dir=to, prefix=".fetch-") as half_way, _asked(name):
            came = Path(self.client.download_artifacts(self.run_id, f"{self.path}/{name}", half_way))
            came.replace(to / name)


def store_models(about: Registration, source: Path, files: RunFiles) -> None:
    """Copy an arm's models into its run's artifacts and register them; plain files, nothing pickled.

    Args:
        about: the models.
        source: folder with their files.
        files: of the arm's run.
    """
    folder, run_id = f"models/{about.digest}", files.run_id
    files.add(source, folder)
    register(files.client, about, f"runs:/{run_id}/{folder}", run_id)
    files.client.set_tag(run_id, MODELS_TAG, about.digest)
    files.client.set_tag(run_id, REGISTERED_TAG, about.digest)  # last: who finds the tag finds the rest


def has_models(workspace: Path, experiment: str, uri: str | None = None) -> bool:
    """Tell whether MLflow has an experiment's models in its registry.

    Of a workspace this reads the database alone, without loading MLflow.
    """
    if uri is not None:
        client = open_client(uri)
        found = client.get_experiment_by_name(experiment)
        return found is not None and bool(with_models(client, found.experiment_id, REGISTERED_TAG))
    path = database(workspace)
    if not path.is_file():
        return False
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            return bool(connection.execute(_COUNT_MODELS, (experiment, REGISTERED_TAG)).fetchone()[0])
    except sqlite3.Error:
        return False


def find_models(workspace: Path, experiment: str, arm: str, uri: str | None = None) -> StoredModels:
    """Find the newest models of an arm.

    Args:
        workspace: folder with `mlflow.db`.
        experiment: its name.
        arm: its name.
        uri: of the MLflow server to ask instead of the workspace.

    Raises:
        EngineError: there is no such experiment, or no models of this arm, or their files are gone.
    """
    client = open_existing(workspace, uri)
    runs = arm_runs(client, uri or str(workspace), experiment)
    if arm not in runs:
        raise EngineError(f"MLflow has no models of {experiment}/{arm}", _known("arms", list(runs)))
    run = runs[arm]
    path = f"models/{run.data.tags[MODELS_TAG]}"
    here = None if uri else artifacts_folder(workspace, experiment) / run.info.run_id / "artifacts" / path
    if here is not None and not here.is_dir():
        raise EngineError(f"There is no {here} any more", "Run the experiment again: it publishes its models anew.")
    return StoredModels(here, client, run.info.run_id, path)


def find_arm(workspace: Path, experiment: str, alias: str, uri: str | None = None) -> str | None:
    """Return the arm that an alias of an experiment names in the registry; None where there is no such alias.

    Raises:
        EngineError: nothing was tracked in this workspace yet, or the server cannot be asked.
    """
    version = find_version(open_existing(workspace, uri), experiment, alias)
    return version.tags.get(ARM) if version is not None else None


def arm_runs(client: MlflowClient, where: str, experiment: str) -> dict[str, Run]:
    """Return the runs of an experiment's arms that have models, by arm.

    Raises:
        EngineError: there is no such experiment.
    """
    found = client.get_experiment_by_name(experiment)
    if found is None:
        known = [e.name for e in client.search_experiments() if e.name != "Default"]
        raise EngineError(f"MLflow has no experiment {experiment} in {where}", _known("experiments", known))
    runs = with_models(client, found.experiment_id)
    return {run.data.tags[KEY_TAG].removeprefix(f"{experiment}/"): run for run in runs}


def with_models(client: MlflowClient, experiment_id: str, tag: str = MODELS_TAG) -> list[Run]:
    """Return the runs of an MLflow experiment that have models."""
    return [run for run in all_runs(client, experiment_id) if tag in run.data.tags]


def _known(what: str, names: list[str]) -> str:
    return f"Name one of the {what} {', '.join(sorted(names))}." if names else f"No {what} have models yet: run one."


@contextmanager
def _asked(what: str) -> Iterator[None]:
    """Turn what a server or the way to it fails with into an error of ours."""
    from mlflow import MlflowException
    from requests import RequestException

    try:
        yield
    except (MlflowException, RequestException, OSError) as error:
        problem = f"{what} does not come from MLflow: {first_line(error)}"
        raise EngineError(problem, "Run the same command again: what came whole is kept.") from None
