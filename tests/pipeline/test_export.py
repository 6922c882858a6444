"""Others get the same ages: torch.export, ONNX, a MONAI bundle without this package, a pyfunc that brings it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch
from tiny_models import COARSE, write_brain, write_model

from brainage_ray.errors import ConfigError, EngineError
from brainage_ray.pipeline import export_model, predict, read_model_folder
from brainage_ray.pipeline.export_network import check_parity, load_ensemble, template_slices

SCHEMA = {
    "type": "object",
    "required": [
        "schema", "version", "monai_version", "pytorch_version", "numpy_version", "required_packages_version", "task",
        "description", "authors", "copyright", "network_data_format",
    ],
    "properties": {
        "version": {"type": "string", "pattern": r"^\d+\.\d+\.\d+$"},
        "monai_version": {"type": "string"},
        "required_packages_version": {"type": "object", "additionalProperties": {"type": "string"}},
        "network_data_format": {
            "type": "object",
            "required": ["inputs", "outputs"],
            "additionalProperties": {"type": "object", "additionalProperties": {
                "type": "object",
                "required": ["type", "format", "num_channels", "spatial_shape", "dtype", "value_range", "is_patch_data",
                             "channel_def"],
                "properties": {
                    "spatial_shape": {"type": "array", "items": {"type": ["integer", "string"]}},
                    "value_range": {"type": "array", "items": {"type": "number"}},
                    "is_patch_data": {"type": "boolean"},
                    "channel_def": {"type": "object", "additionalProperties": {"type": "string"}},
                },
            }},
        },
    },
}  # fmt: skip
"""What MONAI's documentation says of metadata.json; its own schema is on the network."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def bundle(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "bundle"
    assert export_model(model, folder, "monai") < 1e-4
    return folder


@pytest.fixture
def without_us(tmp_path: Path) -> dict[str, str]:
    """An environment in which this package cannot be imported from where it is."""
    (tmp_path / "nothing").mkdir()
    (tmp_path / "nothing/brainage_ray.py").write_text("raise ImportError('brainage_ray is not installed here')\n")
    return {**os.environ, "PYTHONPATH": str(tmp_path / "nothing"), "MLFLOW_DISABLE_TELEMETRY": "true"}


def test_onnx_runs_any_number_of_slices_to_the_same_years(model: Path, tmp_path: Path):
    assert export_model(model, tmp_path / "onnx", "onnx") < 1e-4
    session = onnxruntime.InferenceSession(str(tmp_path / "onnx/model.onnx"), providers=["CPUExecutionProvider"])
    images, positions = template_slices(COARSE)
    years = session.run(None, {"images": images[:3], "positions": positions[:3]})[0]
    with torch.inference_mode():
        own = load_ensemble(model, read_model_folder(model))(*map(torch.from_numpy, (images, positions)))
    assert years == pytest.approx(own[:3].numpy(), abs=1e-4)
    about = json.loads((tmp_path / "onnx/preprocessing.json").read_text())
    assert about["seeds"] == [0, 1]
    assert about["preprocessing"]["slice_shape"] == [64, 48]


def test_a_network_that_computes_other_ages_is_not_exported(model: Path):
    ensemble = load_ensemble(model, read_model_folder(model))

    def other(images: np.ndarray, positions: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return ensemble(torch.from_numpy(images), torch.from_numpy(positions)).numpy() + np.float32(2e-4)

    with pytest.raises(EngineError, match="differs from the model"):
        check_parity(ensemble, other, COARSE)


def test_a_full_folder_is_not_written_into(model: Path, tmp_path: Path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match="not empty"):
        export_model(model, tmp_path, "torch")


def test_the_metadata_of_a_bundle_are_verified(bundle: Path, tmp_path: Path):
    from monai.bundle import verify_metadata

    text = json.dumps(SCHEMA).encode()
    (tmp_path / "schema.json").write_bytes(text)  # which MONAI then does not download
    schema = {"filepath": str(tmp_path / "schema.json"), "hash_val": sha256(text).hexdigest(), "hash_type": "sha256"}
    verify_metadata(meta_file=str(bundle / "configs/metadata.json"), **schema)
    broken = json.loads((bundle / "configs/metadata.json").read_text())
    del broken["network_data_format"]["outputs"]
    (tmp_path / "broken.json").write_text(json.dumps(broken))
    with pytest.raises(ValueError, match="outputs"):
        verify_metadata(meta_file=str(tmp_path / "broken.json"), **schema)


@pytest.mark.slow
def test_a_bundle_runs_with_monai_alone(model: Path, bundle: Path, tmp_path: Path, without_us: dict[str, str]):
    brain = write_brain(tmp_path / "brain.nii.gz")
    settings = {"dataset_dir": str(tmp_path), "output": str(tmp_path / "ages.csv")}
    program = f"from monai.bundle import run; run(config_file='configs/inference.json', **{settings})"
    command = [sys.executable, "-c", program]  # what python -m monai.bundle run calls, which wants the package fire
    done = subprocess.run(command, cwd=bundle, env=without_us, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    ages = pd.read_csv(tmp_path / "ages.csv")
    own = predict(model, [brain])
    assert ages["brain_age_years"][0] == pytest.approx(own["brain_age_years"][0], abs=0.006)
    assert ages["brain_age_sd_years"][0] == pytest.approx(own["brain_age_sd_years"][0], abs=0.006)


PROGRAM = """
import sys, mlflow.pyfunc, pandas, base64, pathlib
try:
    import brainage_ray
except ImportError:
    pass
else:
    raise SystemExit("brainage_ray can be imported here")
model = mlflow.pyfunc.load_model(sys.argv[1])
upload = base64.b64encode(pathlib.Path(sys.argv[2]).read_bytes()).decode()
found = model.predict(pandas.DataFrame({"image": [sys.argv[2], upload, "no image"]}))
assert model.metadata.get_output_schema().input_names() == list(found.columns), found.columns
import brainage_ray
assert brainage_ray.__file__.startswith(sys.argv[1]), brainage_ray.__file__
print(found.to_json(orient="records"))
"""


@pytest.mark.slow
def test_a_pyfunc_loads_where_this_package_is_not_installed(model: Path, tmp_path: Path, without_us: dict[str, str]):
    assert export_model(model, tmp_path / "pyfunc", "pyfunc") is None
    brain = write_brain(tmp_path / "brain.nii.gz")
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "pyfunc"), str(brain)]
    done = subprocess.run(command, cwd=tmp_path, env=without_us, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    path, upload, wrong = json.loads(done.stdout.splitlines()[-1])
    assert path["brain_age_years"] == upload["brain_age_years"] == predict(model, [brain])["brain_age_years"][0]
    assert wrong["brain_age_years"] is None
    assert "no base64" in wrong["error"]
    wanted = (tmp_path / "pyfunc/requirements.txt").read_text()
    assert f"torch=={torch.__version__.partition('+')[0]}" in wanted
