"""What MLflow loads as a pyfunc: images in a table, ages out. Imports no MLflow."""

from __future__ import annotations

import base64
import binascii
import os
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

from brainage_ray.errors import ConfigError, DataError
from brainage_ray.pipeline.judge import failed
from brainage_ray.pipeline.model_folder import read_model_folder
from brainage_ray.pipeline.predict import predict

UPLOADS_ONLY = "BRAINAGE_UPLOADS_ONLY"
"""In the environment of a server: images come as base64, and no path is opened for a stranger."""
MOST_BYTES = 2**28
"""Of one image as it is sent, unpacked from base64."""
COLUMN = "image"
_GZIP = b"\x1f\x8b"
_LONGEST_PATH = 4096


class ServedModel:
    """A model folder that takes tables.

    Args:
        folder: of the model.

    Raises:
        ConfigError, WeightsError: it holds no whole model.
    """

    def __init__(self, folder: Path) -> None:
        read_model_folder(folder)
        self.folder = folder

    def predict(self, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Return one row an image, as `brainage predict` writes it; what cannot be read has an error and no age.

        Args:
            model_input: with a column `image`: base64 of a NIfTI file (.nii or .nii.gz), or, where
                BRAINAGE_UPLOADS_ONLY is not set, its path.
            params: none are known.

        Raises:
            ConfigError: there is no such column.
        """
        if COLUMN not in model_input:
            raise ConfigError(f"The input has no column {COLUMN}", "Send a base64 string of a NIfTI file in it.")
        with tempfile.TemporaryDirectory(prefix="brainage-") as name:
            files = [_file(Path(name), i, text) for i, text in enumerate(model_input[COLUMN])]
            good = [file for file in files if isinstance(file, Path)]
            rows = iter(predict(self.folder, good).to_dict("records") if good else [])
            table = pd.DataFrame([next(rows) if isinstance(file, Path) else failed(str(file)) for file in files])
            table[COLUMN] = [f"image {i}" for i in range(len(files))]
            table["error"] = [str(e).replace(f"{name}/", "") for e in table["error"]]  # no folder of ours in an answer
        return table.astype(object).where(table.notna(), None)  # JSON has no NaN


def _load_pyfunc(path: str) -> ServedModel:
    """Open a model folder: the name that MLflow calls."""
    return ServedModel(Path(path))


def _file(folder: Path, number: int, text: Any) -> Path | DataError:
    """Return the file of an image, or why there is none."""
    if not isinstance(text, str):
        return DataError(f"image {number} is no text", "Send base64 of a NIfTI file.")
    uploads_only = bool(os.environ.get(UPLOADS_ONLY))
    if not uploads_only and len(text) <= _LONGEST_PATH and Path(text).is_file():
        return Path(text)
    if len(text) > MOST_BYTES * 4 // 3:
        return DataError(f"image {number} has more than {MOST_BYTES >> 20} MB", "Send a smaller file: pack it (.gz).")
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        path = "" if uploads_only else ", nor the path of a file"
        return DataError(f"image {number} is no base64{path}", "Send base64 of a NIfTI file.")
    file = folder / f"image-{number}{'.nii.gz' if content.startswith(_GZIP) else '.nii'}"
    file.write_bytes(content)
    return file
