"""What `brainage models` lists: the models of every arm, with what is known of them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainage_ray.tracking.client import KEY_TAG, open_existing
from brainage_ray.tracking.models import arm_runs, with_models
from brainage_ray.tracking.registry import ARM, CHAMPION, FACTS, ensembles

if TYPE_CHECKING:
    from mlflow import MlflowClient


def list_models(workspace: Path, experiment: str | None = None, uri: str | None = None) -> list[dict[str, Any]]:
    """Return what is known of each arm's models, the newest of an arm.

    Args:
        workspace: folder with `mlflow.db`.
        experiment: its name; None: of all experiments.
        uri: of the MLflow server to ask instead of the workspace.

    Returns:
        Experiments and arms by name: name, arm, aliases, date, and what the experiment said of them. Models that
        earlier versions of this program stored have their MAE alone.

    Raises:
        EngineError: nothing was tracked in this workspace, or not this experiment.
    """
    client = open_existing(workspace, uri)
    if experiment is not None:
        arm_runs(client, uri or str(workspace), experiment)
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for found in client.search_experiments():
        if experiment in (None, found.name):
            rows |= {(found.name, arm): row for arm, row in _from_runs(client, found.name, found.experiment_id)}
    for version, aliases in ensembles(client, experiment):
        date = datetime.fromtimestamp((version.creation_timestamp or 0) / 1000, UTC).date().isoformat()
        name = {"name": version.name, "arm": version.tags[ARM]}
        known = {"aliases": aliases, "champion": CHAMPION in aliases, "date": date, "version": int(version.version)}
        rows[version.name, version.tags[ARM]] = name | known | json.loads(version.tags.get(FACTS, "{}"))
    return [rows[key] for key in sorted(rows)]


def _from_runs(client: MlflowClient, experiment: str, experiment_id: str) -> list[tuple[str, dict[str, Any]]]:
    """Describe models by their arms' runs alone."""
    rows = []
    for run in with_models(client, experiment_id):
        arm, numbers = run.data.tags[KEY_TAG].removeprefix(f"{experiment}/"), run.data.metrics
        date = datetime.fromtimestamp((run.info.start_time or 0) / 1000, UTC).date().isoformat()
        mae = {"validation_mae": numbers.get("validation_mae"), "test_mae": numbers.get("test_mae_mean"),
               "test_mae_sd": numbers.get("test_mae_sd")}  # fmt: skip
        rows.append((arm, {"name": experiment, "arm": arm, "aliases": [], "champion": False, "date": date, **mae}))
    return rows
