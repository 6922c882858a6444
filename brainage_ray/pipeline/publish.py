"""Stage 8: what an experiment came to, as files and in MLflow."""

from __future__ import annotations

import json
from pathlib import Path

from brainage_ray.config.base import digest
from brainage_ray.data import atomic_write, code_version
from brainage_ray.pipeline.card import seal
from brainage_ray.pipeline.evaluate import write_table
from brainage_ray.pipeline.model_folder import MODELS, RESULTS, write_model_folder
from brainage_ray.pipeline.reference import fit_reference, write_reference
from brainage_ray.pipeline.results import ANALYSIS, PREDICTIONS, Results
from brainage_ray.pipeline.session import Session
from brainage_ray.pipeline.verdict import validation_readings
from brainage_ray.tracking import has_models

MODELS_TIMEOUT_S = 600.0


def publish(session: Session, results: Results) -> bool:
    """Write results.json, analysis.json and the models' folders, and put them into MLflow.

    Once for the same results, and again where MLflow's database has been deleted since.

    Returns:
        Whether anything is new.
    """
    content = results.to_json(session.experiment.name)
    path = session.folder / RESULTS
    key = digest(content)
    here = path.is_file() and json.loads(path.read_text()).get("key") == key
    where = (session.workspace, session.experiment.name, session.servers.tracking)
    if here and (session.folder / PREDICTIONS).is_file() and has_models(*where):
        return False
    write_table(session.folder / PREDICTIONS, results.predictions)
    with atomic_write(session.folder / ANALYSIS) as file:
        file.write(json.dumps(results.analysis.to_json(), indent=1).encode())
    for arm in session.experiment.arms:
        _publish_arm(session, results, arm)
    tracker = session.tracking.tracker
    tracker.tag({"champion": results.verdict.champion, "verdict": results.verdict.sentence})
    tracker.log_files(session.folder / PREDICTIONS)
    tracker.log_files(session.folder / ANALYSIS)
    tracked = tracker.flush(MODELS_TIMEOUT_S)  # what MLflow did not get is published again by the next start
    with atomic_write(path) as file:
        about = {"key": key if tracked else None, "commit": code_version()}
        file.write(json.dumps(about | content, indent=1).encode())
    tracker.log_files(path)
    return True


def models_folder(session: Session, arm: str) -> Path:
    """Return the folder with the final models of an arm."""
    return session.folder / MODELS / arm


def _publish_arm(session: Session, results: Results, arm: str) -> None:
    models = [model for model in results.models if model.arm == arm]
    folder = models_folder(session, arm)
    described = write_model_folder(folder, session.experiment.name, results.prepared.age.preprocessing, models)
    searched = results.searched
    reading = validation_readings(searched.plans, searched.studies, {arm: searched.selected[arm]}).get(arm)
    write_reference(folder, fit_reference(session.experiment, results.prepared.age, reading))
    summary = results.summary.arm(arm)
    tracker = session.tracking.tracker
    tracker.log_models(seal(session, results, described, folder), folder)
    chosen = searched.selected[arm]
    numbers = {
        "validation_mae": chosen.validation_mae,
        "search_validation_mae": chosen.search_mae,
        "test_mae_mean": summary.mae.mean_years,
        "test_mae_sd": summary.mae.sd_years,
    }
    tracker.summary({name: value for name, value in numbers.items() if value is not None}, arm)
