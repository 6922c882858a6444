from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from sessions import Tracked, session_of

from brainage_ray.config import Experiment, load_experiment
from brainage_ray.errors import ConfigError, WeightsError
from brainage_ray.models import build_backbone
from brainage_ray.pipeline.imported import check_local_weights, import_nodes, import_weights, imported, read_transfer

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
    assert json.loads((weights.path.parent / "transfer.json").read_text()) == about
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
