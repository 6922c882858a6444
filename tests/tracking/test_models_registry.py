from __future__ import annotations

import pytest

from brainage_ray.errors import EngineError
from brainage_ray.tracking import MlflowTracker, arms, download_models
from brainage_ray.tracking.client import open_existing


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.json").write_text('{"seeds": 1}')
    (folder / "seed-0.safetensors").write_bytes(bytes(range(256)) * 100)
    return folder


@pytest.fixture
def stored(workspace, model):
    with MlflowTracker(workspace, "exp") as tracker:
        tracker.log_models("unet+brats", model, "d1")
        tracker.summary({"test_mae": 4.25}, "unet+brats")
        tracker.summary({"test_mae": 5.0}, "resnet")
    return workspace


def test_models_come_back_byte_by_byte(stored, model, tmp_path):
    files = download_models(stored, "exp", "unet+brats", tmp_path / "deep" / "down")
    assert [file.name for file in files] == ["model.json", "seed-0.safetensors"]
    assert all(file.read_bytes() == (model / file.name).read_bytes() for file in files)
    assert sorted(file.name for file in (tmp_path / "deep" / "down").iterdir()) == [file.name for file in files]


def test_only_arms_with_models_are_named_with_their_numbers(stored):
    assert arms(stored, "exp") == {"unet+brats": {"test_mae": 4.25}}


def test_models_are_registered_under_experiment_and_arm(stored):
    client = open_existing(stored)
    version = client.get_model_version_by_alias("exp-unet_brats", "champion")
    assert (version.version, version.source.endswith("models/d1")) == (1, True)
    assert client.get_run(version.run_id).data.tags["brainage.key"] == "exp/unet+brats"


def test_the_same_models_again_make_no_new_version_and_others_do(stored, model, tmp_path):
    def versions():
        return sorted(int(v.version) for v in open_existing(stored).search_model_versions("name = 'exp-unet_brats'"))

    with MlflowTracker(stored, "exp") as tracker:
        tracker.log_models("unet+brats", model, "d1")
    assert versions() == [1]
    (model / "seed-0.safetensors").write_bytes(b"trained longer")
    with MlflowTracker(stored, "exp") as tracker:
        tracker.log_models("unet+brats", model, "d2")
    assert versions() == [1, 2]
    download_models(stored, "exp", "unet+brats", tmp_path / "to")
    assert (tmp_path / "to" / "seed-0.safetensors").read_bytes() == b"trained longer"
    assert open_existing(stored).get_model_version_by_alias("exp-unet_brats", "champion").version == 2


def test_a_download_replaces_older_files(stored, tmp_path):
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "model.json").write_text("old")
    download_models(stored, "exp", "unet+brats", tmp_path / "to")
    assert (tmp_path / "to" / "model.json").read_text() == '{"seeds": 1}'


def test_an_arm_without_models_is_refused_with_those_that_have_some(stored, tmp_path):
    with pytest.raises(EngineError, match=r"no models of exp/resnet\. Name one of the arms unet\+brats\."):
        download_models(stored, "exp", "resnet", tmp_path / "to")
    assert not (tmp_path / "to").exists()


def test_an_unknown_experiment_is_refused_with_those_that_are_there(stored):
    with pytest.raises(EngineError, match=r"no experiment expp in .*\. Name one of the experiments exp, first\."):
        arms(stored, "expp")


def test_an_experiment_without_models_says_so(workspace, tmp_path):
    with MlflowTracker(workspace, "exp"):
        pass
    assert arms(workspace, "exp") == {}
    with pytest.raises(EngineError, match="No arms have models yet"):
        download_models(workspace, "exp", "unet", tmp_path)


def test_a_workspace_without_a_database_is_refused(tmp_path):
    with pytest.raises(EngineError, match="Run an experiment in this workspace first"):
        arms(tmp_path, "exp")
