from __future__ import annotations

import json
from dataclasses import replace

import pytest

from brainage_ray.errors import EngineError
from brainage_ray.tracking import MlflowTracker, Registration, find_arm, find_models, list_models
from brainage_ray.tracking.client import open_existing
from brainage_ray.tracking.models import MODELS_TAG
from brainage_ray.tracking.registry import register

PLUS = Registration(
    "exp", "unet+brats", "d1", champion=True, facts={"test_mae": 4.25, "seeds": [0]}, tags={"audit": "no leak"},
    seeds={0: {"file": "seed-0.safetensors", "sha256": "0" * 64}}, card="# exp / unet+brats\n",
)  # fmt: skip
PLAIN = Registration("exp", "unet", "d2", facts={"test_mae": 5.0})


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.json").write_text('{"seeds": 1}')
    (folder / "seed-0.safetensors").write_bytes(bytes(range(256)) * 100)
    return folder


@pytest.fixture
def stored(workspace, model):
    store(workspace, model, PLUS, PLAIN)
    return workspace


def store(workspace, model, *registrations):
    with MlflowTracker(workspace, "exp") as tracker:
        for about in registrations:
            tracker.log_models(about, model)
        tracker.summary({"test_mae": 5.0}, "resnet")


def aliases_of(workspace):
    """The arm, and the seed if it is one, that each alias names."""
    client = open_existing(workspace)
    (found,) = client.search_registered_models("name = 'exp'")
    tags = {alias: client.get_model_version("exp", number).tags for alias, number in found.aliases.items()}
    return {alias: (some["brainage.arm"], some.get("brainage.seed")) for alias, some in tags.items()}


def versions_of(workspace):
    return sorted(int(v.version) for v in open_existing(workspace).search_model_versions("name = 'exp'"))


def test_the_files_are_the_runs_artifacts_byte_by_byte(stored, model):
    found = find_models(stored, "exp", "unet+brats")
    assert all((found.folder / file.name).read_bytes() == file.read_bytes() for file in model.iterdir())
    run = open_existing(stored).get_run(found.run_id)
    assert run.data.tags["brainage.key"] == "exp/unet+brats"


def test_an_experiment_is_one_model_and_its_arms_and_seeds_are_versions(stored):
    assert aliases_of(stored) == {
        "champion": ("unet+brats", None), "unet_brats": ("unet+brats", None), "unet_brats-seed-0": ("unet+brats", "0"),
        "unet": ("unet", None),
    }  # fmt: skip
    client = open_existing(stored)
    version = client.get_model_version_by_alias("exp", "champion")
    assert version.source.endswith("models/d1")
    assert (version.tags["audit"], version.description) == ("no leak", PLUS.card)
    assert client.get_model_version_by_alias("exp", "unet_brats-seed-0").source.endswith("d1/seed-0.safetensors")


def test_the_champion_is_one_arm_and_moves_when_another_is_chosen(stored, model):
    assert find_arm(stored, "exp", "champion") == "unet+brats"
    store(stored, model, replace(PLUS, champion=False), replace(PLAIN, champion=True))
    assert find_arm(stored, "exp", "champion") == "unet"
    store(stored, model, replace(PLUS, champion=False), replace(PLAIN, champion=False))
    assert find_arm(stored, "exp", "champion") is None
    assert find_arm(stored, "nothing", "champion") is None


def test_the_same_models_again_make_no_version_and_others_do(stored, model):
    before = versions_of(stored)
    store(stored, model, replace(PLUS, tags={"audit": "one leak"}), PLAIN)
    assert versions_of(stored) == before
    assert open_existing(stored).get_model_version_by_alias("exp", "champion").tags["audit"] == "one leak"
    (model / "seed-0.safetensors").write_bytes(b"trained longer")
    store(stored, model, replace(PLUS, digest="d3"))
    assert len(versions_of(stored)) == len(before) + 2  # the ensemble and its seed
    found = find_models(stored, "exp", "unet+brats")
    assert (found.folder / "seed-0.safetensors").read_bytes() == b"trained longer"
    assert open_existing(stored).get_model_version_by_alias("exp", "champion").source.endswith("models/d3")


def test_arms_that_mlflow_would_give_the_same_alias_keep_one_each(workspace, model):
    arms = ["a+b", "a.b", "a_b", "champion", "v1"]
    store(workspace, model, *(Registration("exp", arm, f"d-{i}") for i, arm in enumerate(arms)))
    aliases = aliases_of(workspace)
    assert sorted(arm for arm, _ in aliases.values()) == sorted(arms)
    assert "champion" not in aliases
    store(workspace, model, *(Registration("exp", arm, f"d-{i}") for i, arm in enumerate(reversed(arms))))
    assert {alias: arm for alias, (arm, _) in aliases_of(workspace).items() if alias in aliases} == {
        alias: arm for alias, (arm, _) in aliases.items()
    }


def test_models_are_listed_with_what_is_known_of_them(stored):
    plain, plus = list_models(stored, "exp")
    assert (plus["arm"], plus["champion"], plus["aliases"]) == ("unet+brats", True, ["champion", "unet_brats"])
    assert (plus["test_mae"], plus["seeds"]) == (4.25, [0])
    assert (plain["arm"], plain["champion"], plain["test_mae"]) == ("unet", False, 5.0)
    assert json.dumps([plain, plus])


def test_what_earlier_versions_stored_is_listed_found_and_no_champion_any_more(workspace, model):
    client = open_existing(workspace)
    with MlflowTracker(workspace, "exp") as tracker:
        tracker.log_files(model, "models/d0", "unet+brats")
        tracker.summary({"validation_mae": 4.0, "test_mae_mean": 4.5}, "unet+brats")
        tracker.flush(60)
    experiment = client.get_experiment_by_name("exp").experiment_id
    (run,) = client.search_runs([experiment], "tags.`brainage.key` = 'exp/unet+brats'")
    client.set_tag(run.info.run_id, MODELS_TAG, "d0")
    client.create_registered_model("exp-unet_brats")
    client.create_model_version("exp-unet_brats", "runs:/x/models/d0", tags={MODELS_TAG: "d0"})
    client.set_registered_model_alias("exp-unet_brats", "champion", 1)
    (row,) = list_models(workspace)
    assert (row["name"], row["arm"], row["validation_mae"], row["test_mae"]) == ("exp", "unet+brats", 4.0, 4.5)
    assert (find_models(workspace, "exp", "unet+brats").folder / "model.json").is_file()
    store(workspace, model, PLUS)
    assert client.get_registered_model("exp-unet_brats").aliases == {}
    assert [row["arm"] for row in list_models(workspace)] == ["unet+brats"]


def test_a_long_card_fits_into_the_registry(workspace, model):
    store(workspace, model, PLAIN)
    client = open_existing(workspace)
    register(client, replace(PLAIN, card="x" * 20_000), "runs:/a/models/d2", "a" * 32)
    assert len(client.get_model_version_by_alias("exp", "unet").description) == 5000


def test_an_arm_without_models_is_refused_with_those_that_have_some(stored):
    with pytest.raises(EngineError, match=r"no models of exp/resnet\. Name one of the arms unet, unet\+brats\."):
        find_models(stored, "exp", "resnet")


def test_an_unknown_experiment_is_refused_with_those_that_are_there(stored):
    with pytest.raises(EngineError, match=r"no experiment expp in .*\. Name one of the experiments exp, first\."):
        list_models(stored, "expp")


def test_an_experiment_without_models_says_so(workspace):
    with MlflowTracker(workspace, "exp"):
        pass
    assert list_models(workspace, "exp") == []
    with pytest.raises(EngineError, match="No arms have models yet"):
        find_models(workspace, "exp", "unet")


def test_a_workspace_without_a_database_is_refused(tmp_path):
    with pytest.raises(EngineError, match="Run an experiment in this workspace first"):
        list_models(tmp_path)
