from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

import pytest
import torch
from sessions import Tracked, session_of

from brainage_ray.config import (
    Experiment,
    FitResult,
    PreprocessingConfig,
    ResNetConfig,
    TrainingConfig,
    TrainingRun,
    load_experiment,
)
from brainage_ray.data import read_provenance, trained_on, write_provenance
from brainage_ray.data.provenance import hash_person
from brainage_ray.errors import ConfigError, WeightsError
from brainage_ray.models import build_age_model, build_backbone, read_weights, save_state
from brainage_ray.pipeline.fitted import FittedModel
from brainage_ray.pipeline.imported import check_local_weights, import_nodes, import_weights, imported, read_transfer
from brainage_ray.pipeline.leaks import imported_weights
from brainage_ray.pipeline.model_folder import write_model_folder

ROOT = Path(__file__).resolve().parents[2]
SMALL = '{"kind": "resnet50", "width": 0.125, "depth": 14}'


@pytest.fixture
def file(tmp_path):
    """Weights of a small ResNet with its classifier."""
    experiment = load_experiment(ROOT / "experiments" / "bracis2023.yaml", [f"arms.resnet+imagenet.backbone={SMALL}"])
    backbone = build_backbone(experiment.arms["resnet+imagenet"].backbone, in_channels=3)
    path = tmp_path / "weights.pth"
    torch.save({**backbone.state_dict(), "fc.weight": torch.zeros(10, 8), "fc.bias": torch.zeros(10)}, path)
    return path


def experiment_with(path: Path, sha256: str = "") -> Experiment:
    sha256 = sha256 or hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    arm = f'{{"small": {{"backbone": {SMALL}, "pretraining": ["imagenet"]}}}}'
    weights = json.dumps({"imagenet": {"kind": "weights", "uri": str(path), "sha256": sha256}})
    return load_experiment(ROOT / "experiments" / "quickstart.yaml", [f"arms={arm}", f"pretraining={weights}"])


def test_what_went_over_is_said_kept_and_tracked(file, tmp_path):
    tracker = Tracked()
    session = session_of(experiment_with(file), tmp_path / "runs", tracker)
    ((node, config),) = import_nodes(session)
    assert imported(session, config, node) is None
    weights = import_weights(session, config, node)
    about = read_transfer(session, config, node)
    assert json.loads((weights[0].path.parent / "transfer.json").read_text()) == about
    assert about["unexpected"] == ["fc.weight", "fc.bias"]
    assert about["missing"] == []
    assert about["uri"] == str(file)
    assert about["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    line = f"{len(about['loaded'])} loaded, 0 missing, 2 left out: fc.weight, fc.bias"
    assert session.progress.lines[-1] == f"pretrain: resnet50+imagenet: {line}"
    assert tracker.files == [("transfer.json", "pretraining/resnet50+imagenet")]
    file.unlink()  # not needed again
    check_local_weights(session)
    assert import_weights(session, config, node) == weights == imported(session, config, node)
    assert len(tracker.files) == 1


def test_a_local_file_that_is_missing_or_another_is_the_users_mistake_and_said_first(file, tmp_path):
    other = session_of(experiment_with(file, "0" * 8), tmp_path / "runs")
    with pytest.raises(ConfigError, match=r"pretraining\.imagenet: .*weights\.pth has the SHA-256"):
        check_local_weights(other)
    session = session_of(experiment_with(file), tmp_path / "runs")
    check_local_weights(session)
    file.unlink()
    with pytest.raises(ConfigError, match=r"pretraining\.imagenet: there are no weights at .*weights\.pth"):
        check_local_weights(session)
    assert not (tmp_path / "runs").exists()


def test_weights_elsewhere_are_not_asked_for_before_their_stage(tmp_path):
    session = session_of(load_experiment(ROOT / "experiments" / "bracis2023.yaml"), tmp_path)
    assert [config.uri[:8] for _, config in import_nodes(session)] == ["https://"]
    check_local_weights(session)


def test_weights_that_do_not_fit_leave_nothing(file, tmp_path):
    torch.save({"fc.weight": torch.zeros(3)}, file)
    session = session_of(experiment_with(file), tmp_path / "runs")
    ((node, config),) = import_nodes(session)
    with pytest.raises(WeightsError, match="missing"):
        import_weights(session, config, node)
    assert imported(session, config, node) is None


# Models of another experiment.


def arm_of(workspace: Path, seeds: tuple[int, ...] = (0, 1)) -> Path:
    """A finished arm of an experiment `first`, trained on one person, as a run leaves it."""
    folder = workspace / "first" / "models" / "resnet"
    models = []
    for seed in seeds:
        torch.manual_seed(seed)
        run = TrainingRun(
            task="age", backbone=ResNetConfig.model_validate_json(SMALL), training=TrainingConfig(), seed=seed,
            store=workspace, store_hash="", folder=workspace / f"fit-{seed}",
        )  # fmt: skip
        path = run.folder / "model.safetensors"
        sha256 = save_state(build_age_model(run.backbone, run.training), path)
        write_provenance(trained_on("first", ["X/s5"], []), {path: sha256})
        fit = FitResult(key=run.key, curve=(), weights=path, weights_sha256=sha256)
        models.append(FittedModel("resnet", seed, run, fit))
    write_model_folder(folder, "first", PreprocessingConfig(), models)
    return folder


def experiment_from(uri: str, model: Path) -> Experiment:
    return experiment_with(Path(uri), hashlib.sha256((model / "model.json").read_bytes()).hexdigest())


@pytest.mark.parametrize("how", ["folder", "WORKSPACE/EXPERIMENT/ARM", "models:/"])
def test_each_seed_of_an_arm_gives_the_encoder_of_a_repeat(tmp_path, how):
    model = arm_of(tmp_path / "runs")
    uri = {"folder": str(model), "models:/": "models:/first/resnet"}.get(how, str(tmp_path / "runs/first/resnet"))
    session = session_of(experiment_from(uri, model), tmp_path / "runs", Tracked())
    ((node, config),) = import_nodes(session)
    check_local_weights(session)
    assert "loaded (102 renamed), 0 missing, 2 left out: head." in session.progress.lines[0]
    weights = import_weights(session, config, node)
    assert len({one.sha256 for one in weights}) == 2
    assert imported(session, config, node) == weights
    for one, name in zip(weights, ("seed-0", "seed-1"), strict=True):
        theirs = read_weights(model / f"{name}.safetensors")["backbone.conv1.weight"]
        assert torch.equal(read_weights(one.path)["conv1.weight"], theirs)
        assert read_provenance(one.path).people == (hash_person("X/s5"),)
    (stage,) = imported_weights(session)
    assert stage.trained_on.people == (hash_person("X/s5"),)


def test_models_that_have_changed_since_are_refused_before_anything_starts(tmp_path):
    model = arm_of(tmp_path / "runs")
    experiment = experiment_from(str(model), model)
    arm_of(tmp_path / "runs", seeds=(0,))
    with pytest.raises(ConfigError, match=r"pretraining\.imagenet: model\.json of .* has the SHA-256"):
        check_local_weights(session_of(experiment, tmp_path / "runs"))


def test_every_name_is_in_the_table_of_what_went_over(file, tmp_path):
    session = session_of(experiment_with(file), tmp_path / "runs", Tracked())
    ((node, config),) = import_nodes(session)
    weights = import_weights(session, config, node)
    with (weights[0].path.parent / "transfer.csv").open() as table:
        rows = list(csv.DictReader(table))
    assert {row["theirs"] for row in rows} == set(torch.load(file, weights_only=True))
    assert {row["outcome"] for row in rows} == {"taken", "left"}
    assert next(row["shape"] for row in rows if row["theirs"] == "conv1.weight") == "8 x 3 x 7 x 7"
