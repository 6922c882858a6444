"""A model in a form that others run: a MONAI bundle, ONNX, torch.export, or an MLflow pyfunc."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal, get_args

from brainage_ray.data import atomic_folder, atomic_write, refuse_full
from brainage_ray.pipeline.export_bundle import NETWORK, write_bundle
from brainage_ray.pipeline.export_network import check_parity, load_ensemble, save_onnx, save_torch
from brainage_ray.pipeline.export_pyfunc import write_pyfunc
from brainage_ray.pipeline.model_folder import ModelFolder, read_model_folder

Format = Literal["monai", "onnx", "torch", "pyfunc"]
FORMATS: tuple[Format, ...] = get_args(Format)
PREPROCESSING = "preprocessing.json"


def export_model(folder: Path, to: Path, form: Format) -> float | None:
    """Write a model, all of its seeds, in another form, with its preprocessing; whole or not at all.

    Args:
        folder: of the model, as `brainage pull` makes it.
        to: new folder.
        form: which.

    Returns:
        The largest difference to the model's own ages that was found, years; None for pyfunc, which runs its code.

    Raises:
        ConfigError: the folder is there already, or there is no model.
        WeightsError: a file of the model is not what it was.
        EngineError: a package is not installed, or the exported network computes other ages.
    """
    refuse_full(to, "--to")
    described = read_model_folder(folder)
    with atomic_folder(to) as partial:
        if form == "pyfunc":
            write_pyfunc(folder, described, partial)
            return None
        difference = _network(folder, described, partial, form)
        if form == "monai":
            write_bundle(partial, described)
        with atomic_write(partial / PREPROCESSING) as file:
            file.write(json.dumps(about(described), indent=1).encode())
    return difference


def about(described: ModelFolder) -> dict[str, object]:
    """Return what stands beside an exported network: how a scan becomes its input, and years its age."""
    return {
        "model": f"{described.experiment}/{described.arm}",
        "inputs": {"images": "[N, 1, rows, columns], float32", "positions": "[N], float32: mm / 100"},
        "output": "years [N, seeds]; over the slices of a scan the aggregate, then the mean over the seeds",
        "aggregate": described.aggregate,
        "seeds": [member.seed for member in described.members],
        "preprocessing": described.preprocessing.to_json(),
        "data_hash": described.data_hash,
        "commit": described.commit,
    }


def _network(folder: Path, described: ModelFolder, to: Path, form: Format) -> float:
    ensemble, config = load_ensemble(folder, described), described.preprocessing
    if form == "onnx":
        exported = save_onnx(ensemble, config.slice_shape, to / "model.onnx")
    else:
        exported = save_torch(ensemble, config.slice_shape, to / (NETWORK if form == "monai" else "model.pt2"))
    return check_parity(ensemble, exported, config)
