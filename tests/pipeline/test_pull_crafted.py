"""A folder of models that somebody made to reach files outside of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from brainage_ray.config import PreprocessingConfig, TrainingConfig, UNetConfig
from brainage_ray.data import sha256_of
from brainage_ray.errors import ConfigError, UnsafeFileError
from brainage_ray.pipeline.model_folder import SCHEMA_VERSION, read_model_folder
from brainage_ray.pipeline.pull import pull


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret.safetensors"
    path.write_text("secret")
    return path


def model(folder: Path, secret: Path, file: str = "seed-0.safetensors") -> Path:
    """A model whose file of weights is a link to the secret."""
    folder.mkdir(parents=True)
    (folder / "seed-0.safetensors").symlink_to(secret)
    member = {"seed": 0, "file": file, "sha256": sha256_of(secret), "epochs": 1,
              "target_mean_years": 60, "target_sd_years": 10}  # fmt: skip
    about = {
        "schema_version": SCHEMA_VERSION, "experiment": "e", "arm": "unet",
        "backbone": UNetConfig(kind="unet").to_json(),
        "training": TrainingConfig().to_json(), "preprocessing": PreprocessingConfig().to_json(),
        "aggregate": "median", "members": [member], "data_hash": "", "commit": "",
    }  # fmt: skip
    (folder / "model.json").write_text(json.dumps(about))
    return folder


def test_weights_that_are_a_link_out_of_the_folder_are_not_pulled(tmp_path: Path, secret: Path):
    workspace, to = tmp_path / "runs", tmp_path / "here"
    folder = model(workspace / "e" / "models" / "unet", secret)
    with pytest.raises(UnsafeFileError, match=r"names the file 'seed-0.safetensors', which is not in that folder"):
        pull("e/unet", to, workspace)
    assert not to.exists()
    with pytest.raises(UnsafeFileError, match="seed-0"):
        read_model_folder(folder)


@pytest.mark.parametrize("file", ["../secret.safetensors", "/secret.safetensors"])
def test_a_member_is_a_name_and_no_path(tmp_path: Path, secret: Path, file: str):
    with pytest.raises(ConfigError, match=r"members.*file"):
        read_model_folder(model(tmp_path / "models", secret, file))


def test_results_that_name_a_folder_elsewhere_are_refused(tmp_path: Path, secret: Path):
    workspace = tmp_path / "runs"
    (workspace / "e").mkdir(parents=True)
    model(tmp_path / "theirs", secret)
    (workspace / "e" / "results.json").write_text(json.dumps({"champion": "../../../theirs"}))
    with pytest.raises(UnsafeFileError, match=r"names the file '../../../theirs'"):
        pull("e", tmp_path / "here", workspace)


def test_a_model_that_would_fill_the_memory_is_refused(tmp_path: Path, secret: Path):
    path = model(tmp_path / "models", secret) / "model.json"
    about = json.loads(path.read_text())
    about["preprocessing"]["slice_shape"] = [10**6, 10**6]
    path.write_text(json.dumps(about))
    with pytest.raises(ConfigError, match="slice_shape"):
        read_model_folder(path.parent)
    path.write_text("[" * 100_000)
    with pytest.raises(ConfigError, match="is not JSON"):
        read_model_folder(path.parent)
