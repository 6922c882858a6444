from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from training_stores import make_run

from brainage_ray.config import FitResult, TrainingRun
from brainage_ray.data import SliceStore, files
from brainage_ray.errors import NoSpaceError, UnsafeFileError, WeightsError
from brainage_ray.models import read_weights
from brainage_ray.training.checkpoint import (
    read_checkpoint,
    read_result,
    trained_epochs,
    write_checkpoint,
    write_result,
)


@pytest.fixture
def run(ages: SliceStore, tmp_path: Path) -> TrainingRun:
    return make_run(ages, tmp_path / "run")


def model() -> nn.Module:
    return nn.ModuleDict({"backbone": nn.Linear(2, 2), "head": nn.Linear(2, 1)})


def fit_of(run: TrainingRun) -> FitResult:
    return FitResult(key=run.key, curve=({"train_loss": 0.5},), n_train_scans=1, n_train_slices=4)


STATE: dict[str, Any] = {"model": {"w": torch.ones(2)}, "curve": [{"train_loss": 1.0}], "seconds": 2.0}


def test_a_checkpoint_comes_back(run: TrainingRun):
    assert read_checkpoint(run) is None
    write_checkpoint(run, STATE)
    found = read_checkpoint(run)
    assert found is not None
    assert torch.equal(found["model"]["w"], torch.ones(2))
    assert (found["curve"], found["seconds"]) == (STATE["curve"], 2.0)
    assert [path.name for path in run.folder.iterdir()] == ["checkpoint.pt"]


def test_epochs_that_are_trained_are_those_of_the_checkpoint_or_of_the_result(run: TrainingRun):
    assert trained_epochs(run) == 0
    write_checkpoint(run, {**STATE, "curve": STATE["curve"] * 3})
    assert trained_epochs(run) == 3
    assert trained_epochs(run.model_copy(update={"seed": 1})) == 0
    write_result(run, fit_of(run), model())
    assert trained_epochs(run) == 1
    (run.folder / "result.json").unlink()
    (run.folder / "checkpoint.pt").write_bytes(b"rubbish")
    assert trained_epochs(run) == 0


def test_another_runs_checkpoint_is_not_taken(run: TrainingRun):
    write_checkpoint(run, STATE)
    assert read_checkpoint(run.model_copy(update={"seed": 1})) is None


def test_a_damaged_checkpoint_says_what_to_delete(run: TrainingRun):
    write_checkpoint(run, STATE)
    path = run.folder / "checkpoint.pt"
    for content in (path.read_bytes()[:100], b"", b"rubbish"):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=r"checkpoint.pt is damaged.*Delete it"):
            read_checkpoint(run)


def test_code_in_a_checkpoint_is_not_run(run: TrainingRun):
    run.folder.mkdir()
    torch.save({"key": run.key, "harm": print}, run.folder / "checkpoint.pt")
    with pytest.raises(UnsafeFileError, match=r"checkpoint.pt is more than weights: it calls for .*print"):
        read_checkpoint(run)


def test_a_full_disk_leaves_the_last_checkpoint(run: TrainingRun, monkeypatch: pytest.MonkeyPatch):
    write_checkpoint(run, STATE)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(NoSpaceError):
        write_checkpoint(run, {**STATE, "seconds": 3.0})
    found = read_checkpoint(run)
    assert found is not None
    assert found["seconds"] == 2.0


def test_a_result_comes_back_with_its_weights(run: TrainingRun):
    network = model()
    write_checkpoint(run, STATE)
    fit = write_result(run, fit_of(run), network)
    assert read_result(run) == fit
    assert fit.weights == run.folder / "model.safetensors"
    assert fit.encoder is None
    weights = read_weights(fit.weights, fit.weights_sha256)
    assert {name.split(".")[0] for name in weights} == {"backbone", "head"}
    assert not (run.folder / "checkpoint.pt").exists()


def test_segmentation_keeps_its_encoder_beside(tumours: SliceStore, tmp_path: Path):
    run = make_run(tumours, tmp_path)
    network = model()
    fit = write_result(run, fit_of(run), network)
    assert fit.encoder is not None
    encoder = read_weights(fit.encoder, fit.encoder_sha256)
    assert torch.equal(encoder["weight"], network.get_submodule("backbone").weight)
    fit.encoder.unlink()
    assert read_result(run) is None


def test_a_run_without_weights_has_a_result_alone(run: TrainingRun):
    light = run.model_copy(update={"keep_weights": False})
    fit = write_result(light, fit_of(light), model())
    assert (fit.weights, fit.weights_sha256) == (None, None)
    assert [path.name for path in run.folder.iterdir()] == ["result.json"]
    assert read_result(light) == fit


def test_a_result_is_that_of_its_run_with_all_its_files(run: TrainingRun):
    assert read_result(run) is None
    fit = write_result(run, fit_of(run), model())
    assert read_result(run.model_copy(update={"seed": 1})) is None
    assert fit.weights is not None
    fit.weights.unlink()
    assert read_result(run) is None
    (run.folder / "result.json").write_text("{}")
    assert read_result(run) is None


def test_a_folder_may_move(run: TrainingRun, tmp_path: Path):
    write_result(run, fit_of(run), model())
    moved = run.model_copy(update={"folder": tmp_path / "elsewhere"})
    run.folder.rename(moved.folder)
    fit = read_result(moved)
    assert fit is not None
    assert fit.weights == moved.folder / "model.safetensors"
