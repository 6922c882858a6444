"""Training in plain PyTorch: one loop for search trials, refits and pre-training, and prediction.

Loads neither Ray nor MLflow nor Optuna: it runs by itself on any machine that has torch and MONAI.
"""

from brainage_ray.training.attribution import slice_attributions
from brainage_ray.training.checkpoint import read_result, read_slice_years, trained_epochs
from brainage_ray.training.inference import load_fitted, predict_slice_years, predict_slices
from brainage_ray.training.loop import epochs, train
from brainage_ray.training.recorder import EpochRecorder, Recorder, RunInfo, Status, ignore
from brainage_ray.training.selection import select_scans

__all__ = [
    "EpochRecorder",
    "Recorder",
    "RunInfo",
    "Status",
    "epochs",
    "ignore",
    "load_fitted",
    "predict_slice_years",
    "predict_slices",
    "read_result",
    "read_slice_years",
    "select_scans",
    "slice_attributions",
    "train",
    "trained_epochs",
]
