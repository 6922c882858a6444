"""Runs, artifacts and models in MLflow, which only this package imports, and only when it is first used."""

from brainage_ray.tracking.client import check_server
from brainage_ray.tracking.listing import list_models
from brainage_ray.tracking.models import StoredModels, find_arm, find_models, has_models
from brainage_ray.tracking.pyfunc import PyfuncParts, save_pyfunc
from brainage_ray.tracking.registry import CHAMPION, Registration
from brainage_ray.tracking.serve import serve_pyfunc
from brainage_ray.tracking.tracker import MlflowTracker
from brainage_ray.tracking.ui import serve_ui, ui_command

__all__ = [
    "CHAMPION",
    "MlflowTracker",
    "Registration",
    "StoredModels",
    "check_server",
    "find_arm",
    "find_models",
    "has_models",
    "list_models",
    "PyfuncParts",
    "save_pyfunc",
    "serve_pyfunc",
    "serve_ui",
    "ui_command",
]
