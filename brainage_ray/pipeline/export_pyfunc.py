"""A model as MLflow's pyfunc, and MLflow's server with it."""

from __future__ import annotations

import base64
import gzip
import os
import re
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

import brainage_ray
from brainage_ray.config import PreprocessingConfig
from brainage_ray.data.anatomy.templates import load_template
from brainage_ray.pipeline.judge import COLUMN_TYPES
from brainage_ray.pipeline.model_folder import ModelFolder, read_model_folder
from brainage_ray.pipeline.served_model import UPLOADS_ONLY
from brainage_ray.tracking import PyfuncParts, save_pyfunc, serve_pyfunc

_LOADER = "brainage_ray.pipeline.served_model"
_PACKAGES = (
    "mlflow", "torch", "monai", "numpy", "pandas", "scipy", "nibabel", "nilearn", "pydantic", "pyyaml", "pyarrow",
    "safetensors", "lazy-loader", "filelock", "psutil", "optuna", "cloudpickle", "statsmodels", "scikit-learn",
    "matplotlib", "jinja2",
)  # fmt: skip
"""What is imported on the way from a scan to its age, in the versions that are installed."""
_ANATOMY = ("antspyx", "brainextractor")
_INPUTS = {"image": "string"}
_EXAMPLE_MM = 4.0


def write_pyfunc(folder: Path, described: ModelFolder, to: Path, with_code: bool = True) -> None:
    """Write a model folder as a pyfunc, with this package in it, so that it loads where that is not installed.

    Args:
        folder: of the model.
        described: what read_model_folder says of it.
        to: new or empty folder.
        with_code: copy this package into it.
    """
    code = Path(brainage_ray.__file__).parent if with_code else None
    example = pd.DataFrame({"image": [template_upload()]})
    parts = PyfuncParts(folder, _LOADER, code, requirements(described), _INPUTS, COLUMN_TYPES, example)
    save_pyfunc(to, parts)


def serve_model(folder: Path, host: str, port: int, most_bytes: int, say: Callable[[str], object]) -> None:
    """Serve a model until Ctrl-C; images come as base64 in the request, a path is refused.

    Args:
        folder: of the model.
        host: address to listen on.
        port: to listen on; 0: any.
        most_bytes: of a request.
        say: told where it listens.

    Raises:
        ConfigError, WeightsError: there is no whole model.
        EngineError: the port is taken.
    """
    described = read_model_folder(folder)
    os.environ[UPLOADS_ONLY] = "true"
    with tempfile.TemporaryDirectory(prefix="brainage-") as name:
        model = Path(name) / "model"
        write_pyfunc(folder, described, model, with_code=False)
        serve_pyfunc(model, host, port, most_bytes, say)


def requirements(described: ModelFolder) -> list[str]:
    """Return what pip has to install for a model, as it is installed here."""
    steps = described.preprocessing
    heads = (steps.brain_extraction, steps.bias_correction, steps.registration) != ("none", "none", "none")
    names = (*_PACKAGES, *(_ANATOMY if heads else ()))
    return [f"{name}=={re.sub(r'[+].*', '', version(name))}" for name in names]


def template_upload() -> str:
    """Return ICBM152's brain at 4 mm as an upload: base64 of a NIfTI file, some 70 kB."""
    brain = load_template(PreprocessingConfig()).at_spacing(_EXAMPLE_MM).brain
    scaled = np.round(brain.array * 255 / brain.array.max()).astype(np.uint8)
    content = nib.Nifti1Image(scaled, brain.affine).to_bytes()  # type: ignore[no-untyped-call]
    return base64.b64encode(gzip.compress(content, mtime=0)).decode()
