from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from training_stores import TINY_UNET, losses, make_run

from brainage_ray.config import FitResult, ResNetConfig, TrainingConfig, TrainingRun
from brainage_ray.config.run import InitialWeights, SettingsChange, TransferCounts
from brainage_ray.data import SliceStore
from brainage_ray.errors import TrialFailed, WeightsError
from brainage_ray.evaluation.aggregate import aggregate_slices
from brainage_ray.evaluation.metrics import mean_absolute_error
from brainage_ray.models import build_age_model, build_backbone, save_state
from brainage_ray.training import batches, epochs, train
from brainage_ray.training.checkpoint import CHECKPOINT, read_slice_years
from brainage_ray.training.selection import select_scans

EVERYTHING: dict[str, Any] = {
    "dropout": 0.3,
    "slice_position": True,
    "augmentation": {"flip_probability": 0.5, "rotation_deg": 10.0, "noise_sd": 0.1},
    "schedule": {"name": "cosine", "warmup_fraction": 0.2},
    "max_epochs": 4,
}
"""A run in which everything that is random is on."""


class StopError(Exception):
    """A listener has had enough."""


def stop_after(last: int) -> Any:
    def record(epoch: int, metrics: Mapping[str, float]) -> None:
        if epoch == last:
            raise StopError

    return record


def weights_of(fit: FitResult) -> dict[str, Tensor]:
    assert fit.weights is not None
    return load_file(fit.weights)


def assert_same(first: FitResult, second: FitResult) -> None:
    assert losses(first.curve) == losses(second.curve)
    one, other = weights_of(first), weights_of(second)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert first.weights_sha256 == second.weights_sha256


def test_each_epoch_keeps_what_it_read_in_the_validation_slices(ages: SliceStore, tmp_path: Path):
    run = make_run(ages, tmp_path / "whole", {"max_epochs": 3})
    fit = train(run)
    stopped = run.model_copy(update={"folder": tmp_path / "stopped"})
    with pytest.raises(StopError):
        train(stopped, stop_after(2))
    train(stopped)
    split = select_scans(run, ["validation"])
    for epoch, metrics in enumerate(fit.curve, start=1):
        years = read_slice_years(run, epoch)
        assert np.array_equal(years, read_slice_years(stopped, epoch))
        read = aggregate_slices(years, split.slice_scan, len(split.scans), run.aggregate)
        assert mean_absolute_error(read, split.scans["age_years"]) == pytest.approx(metrics["validation_mae"])


def test_a_radius_is_learnt_as_an_age(ages: SliceStore, tmp_path: Path):
    heard: list[tuple[int, Mapping[str, float]]] = []
    run = make_run(ages, tmp_path, {"max_epochs": 12, "optimizer": {"lr": 1.0e-2}})
    fit = train(run, lambda epoch, metrics: heard.append((epoch, metrics)))
    assert fit.curve[0]["validation_mae"] > 5
    assert fit.curve[-1]["validation_mae"] < 2
    assert [epoch for epoch, _ in heard] == list(range(1, 13))
    assert [metrics for _, metrics in heard] == list(fit.curve)
    assert set(fit.curve[0]) == {"train_loss", "learning_rate", "validation_mae", "seconds"}
    assert fit.key == run.key
    assert (fit.n_train_scans, fit.n_train_slices) == (36, 144)
    assert fit.target_mean_years == pytest.approx(70)
    assert fit.target_sd_years == pytest.approx(np.std(np.linspace(50, 90, 36)))
    assert 0 < sum(metrics["seconds"] for metrics in fit.curve) < fit.seconds
    assert fit.device.startswith("CPU")


def test_rings_are_learnt_as_classes(tumours: SliceStore, tmp_path: Path):
    training = {"max_epochs": 30, "batch_size": 8, "optimizer": {"lr": 1.0e-2}, "schedule": {"name": "poly"}}
    fit = train(make_run(tumours, tmp_path, training))
    last = fit.curve[-1]
    assert min(last[f"validation_dice_{name}"] for name in ("necrosis", "oedema", "enhancing")) > 0.8
    assert last["validation_dice_mean"] > 0.9
    assert {"backbone", "decoder"} == {name.split(".")[0] for name in weights_of(fit)}
    assert fit.encoder is not None
    assert load_file(fit.encoder).keys() == build_backbone(TINY_UNET, 4).state_dict().keys()


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(ages: SliceStore, tmp_path: Path):
    first = train(make_run(ages, tmp_path / "1", EVERYTHING))
    torch.manual_seed(5)  # the state of the process does not matter
    assert_same(first, train(make_run(ages, tmp_path / "2", EVERYTHING)))
    other = train(make_run(ages, tmp_path / "3", EVERYTHING, seed=1))
    assert losses(other.curve) != losses(first.curve)


@pytest.mark.parametrize("last", [1, 3])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_an_interrupted_run_ends_as_if_it_had_not_been(ages: SliceStore, tmp_path: Path, last, optimizer):
    training = {**EVERYTHING, "optimizer": {"name": optimizer, "lr": 1.0e-3}}
    whole = train(make_run(ages, tmp_path / "whole", training))
    run = make_run(ages, tmp_path / "parts", training)
    with pytest.raises(StopError):
        train(run, stop_after(last))
    assert (run.folder / "checkpoint.pt").is_file()
    heard: list[int] = []
    resumed = train(run, lambda epoch, metrics: heard.append(epoch))
    assert_same(whole, resumed)
    assert heard == [1, 2, 3, 4]
    assert resumed.seconds > sum(metrics["seconds"] for metrics in resumed.curve)


def test_a_resnet_with_running_statistics_is_taken_up_too(ages: SliceStore, tmp_path: Path):
    fields: dict[str, Any] = {"backbone": ResNetConfig(kind="resnet50", depth=14, width=0.05)}
    training = {"max_epochs": 2, "batch_size": 36}
    whole = train(make_run(ages, tmp_path / "whole", training, **fields))
    run = make_run(ages, tmp_path / "parts", training, **fields)
    with pytest.raises(StopError):
        train(run, stop_after(1))
    assert_same(whole, train(run))


def test_seeds_that_take_turns_do_not_change_each_other(ages: SliceStore, tmp_path: Path):
    alone = [train(make_run(ages, tmp_path / f"alone-{seed}", EVERYTHING, seed=seed)) for seed in (0, 1)]
    runs = [make_run(ages, tmp_path / f"turns-{seed}", EVERYTHING, seed=seed) for seed in (0, 1)]
    before = torch.get_rng_state()
    rounds = list(zip(*map(epochs, runs), strict=True))
    assert torch.equal(before, torch.get_rng_state())
    for i, run in enumerate(runs):
        assert losses([metrics[i] for metrics in rounds]) == losses(alone[i].curve)
        assert_same(alone[i], train(run))


def test_the_files_are_written_before_the_last_epoch_is_yielded(ages: SliceStore, tmp_path: Path):
    run = make_run(ages, tmp_path, {"max_epochs": 2})
    progress = epochs(run)
    next(progress)
    assert not (tmp_path / "result.json").exists()
    next(progress)
    assert (tmp_path / "result.json").is_file()
    with pytest.raises(StopIteration) as end:
        next(progress)
    assert end.value.value == train(run)


def test_a_finished_run_is_returned_at_once(ages: SliceStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run = make_run(ages, tmp_path)
    fit = train(run)
    monkeypatch.setattr("brainage_ray.training.loop._Training", None)
    assert train(run, stop_after(1)) == fit
    assert list(epochs(run)) == list(fit.curve)


def test_another_run_in_the_same_folder_starts_afresh(ages: SliceStore, tmp_path: Path):
    with pytest.raises(StopError):
        train(make_run(ages, tmp_path, seed=1), stop_after(2))
    fit = train(make_run(ages, tmp_path, seed=2))
    assert_same(fit, train(make_run(ages, tmp_path / "clean", seed=2)))
    assert train(make_run(ages, tmp_path, seed=3)).key != fit.key


def test_a_shorter_run_is_the_beginning_of_the_whole(ages: SliceStore, tmp_path: Path):
    whole = train(make_run(ages, tmp_path / "whole", EVERYTHING))
    short = train(make_run(ages, tmp_path / "short", EVERYTHING, stop_after_epochs=2))
    assert losses(short.curve) == losses(whole.curve[:2])


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_settings_change_while_a_run_trains_as_if_another_run_went_on_from_its_checkpoint(
    ages: SliceStore, tmp_path: Path, optimizer: str
):
    settings = {"max_epochs": 4, "optimizer": {"name": optimizer, "lr": 3.0e-3, "momentum": 0.9}}
    first = make_run(ages, tmp_path / "first", settings, keep_best=True, stop_after_epochs=2)
    train(first)
    other = {"training.optimizer.lr": 1.0e-3, "training.augmentation.flip_probability": 1.0}
    if optimizer == "sgd":
        other["training.optimizer.momentum"] = 0.5
    changes = (SettingsChange(after_epoch=2, params=other),)
    child = make_run(ages, tmp_path / "child", settings, changes=changes, parent=first.folder / CHECKPOINT)
    whole = make_run(ages, tmp_path / "whole", settings, changes=changes)
    heard: list[int] = []
    fit = train(child, lambda epoch, _: heard.append(epoch))
    assert heard == [1, 2, 3, 4]
    assert child.key == whole.key == fit.key
    assert losses(fit.curve) == losses(train(whole).curve)
    assert (child.folder / "model.safetensors").read_bytes() == (whole.folder / "model.safetensors").read_bytes()
    assert [epoch["learning_rate"] for epoch in fit.curve] == [3.0e-3, 3.0e-3, 1.0e-3, 1.0e-3]
    assert losses(fit.curve)[2:] != losses(train(make_run(ages, tmp_path / "same", settings)).curve)[2:]


def test_settings_that_hold_from_the_start_are_those_of_another_run(ages: SliceStore, tmp_path: Path):
    changes = (SettingsChange(after_epoch=0, params={"training.optimizer.lr": 1.0e-3}),)
    changed = train(make_run(ages, tmp_path / "changed", changes=changes))
    plain = train(make_run(ages, tmp_path / "plain", {"optimizer": {"lr": 1.0e-3}}))
    assert losses(changed.curve) == losses(plain.curve)


def test_a_refit_trains_on_both_splits_and_validates_on_none(ages: SliceStore, tmp_path: Path):
    fit = train(make_run(ages, tmp_path, train_splits=("train", "validation"), validation_split=None))
    assert fit.n_train_scans == 44
    assert set(fit.curve[0]) == {"train_loss", "learning_rate", "seconds"}


def test_the_rate_follows_the_schedule_to_the_end_of_max_epochs(ages: SliceStore, tmp_path: Path):
    training = {"max_epochs": 2, "optimizer": {"lr": 0.1}, "schedule": {"name": "poly"}}
    fit = train(make_run(ages, tmp_path, training))
    # 144 slices in batches of 16: 9 steps an epoch; the rate is that of the epoch's last step
    expected = [0.1 * (1 - step / 18) ** 0.9 for step in (8, 17)]
    assert [metrics["learning_rate"] for metrics in fit.curve] == pytest.approx(expected)


def test_a_light_run_writes_its_result_alone(ages: SliceStore, tmp_path: Path):
    run = make_run(ages, tmp_path, keep_weights=False)
    with pytest.raises(StopError):
        train(run, stop_after(1))
    assert not list(tmp_path.iterdir())
    assert train(run).weights is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["result.json", "validation_slices.npy"]


def test_a_loss_that_is_not_finite_names_epoch_and_rate(ages: SliceStore, tmp_path: Path):
    run = make_run(ages, tmp_path, {"optimizer": {"name": "sgd", "lr": 10.0}, "max_epochs": 20})
    with pytest.raises(TrialFailed, match=r"is (nan|inf) in epoch \d+ with the learning rate 10\. Lower"):
        train(run)
    assert not (tmp_path / "result.json").exists()


def test_too_little_memory_names_the_batch(ages: SliceStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("brainage_ray.training.loop._Training._step", full)
    with pytest.raises(TrialFailed, match=r"too small for training\.batch_size 16"):
        train(make_run(ages, tmp_path))


def test_an_encoder_is_where_the_training_starts(ages: SliceStore, tumours: SliceStore, tmp_path: Path):
    pretrained = train(make_run(tumours, tmp_path / "pretrained"))
    assert pretrained.encoder is not None
    assert pretrained.encoder_sha256 is not None
    initial = InitialWeights(path=pretrained.encoder, sha256=pretrained.encoder_sha256)
    assert pretrained.transfer is None
    # so small a rate leaves the weights where they were
    frozen = make_run(ages, tmp_path / "run", {"optimizer": {"lr": 1.0e-30}, "max_epochs": 1}, initial=initial)
    fit = train(frozen)
    weights, encoder = weights_of(fit), load_file(pretrained.encoder)
    assert fit.transfer == TransferCounts(loaded=len(encoder), missing=0, left_out=0)
    assert torch.equal(weights["backbone.stages.1.conv1.conv.weight"], encoder["stages.1.conv1.conv.weight"])
    stem = encoder["stages.0.conv1.conv.weight"].sum(dim=1, keepdim=True)
    assert torch.equal(weights["backbone.stages.0.conv1.conv.weight"], stem)


def test_a_result_names_the_commit_of_its_driver_or_else_its_own(
    ages: SliceStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("brainage_ray.training.loop.code_version", lambda: "4567cdef")
    settings = {"max_epochs": 1}
    assert train(make_run(ages, tmp_path / "told", settings, commit="0123abcd")).commit == "0123abcd"
    assert train(make_run(ages, tmp_path / "alone", settings)).commit == "4567cdef"


def test_an_encoder_with_another_checksum_is_refused(ages: SliceStore, tmp_path: Path):
    path = tmp_path / "encoder.safetensors"
    save_state(build_backbone(TINY_UNET, 1), path)
    run = make_run(ages, tmp_path / "run", initial=InitialWeights(path=path, sha256="0" * 64))
    with pytest.raises(WeightsError, match="SHA-256"):
        train(run)


def test_both_ways_of_reading_give_the_same_weights(ages: SliceStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    resident = train(make_run(ages, tmp_path / "resident", EVERYTHING))
    monkeypatch.setattr(batches, "room", lambda device: 0)
    assert_same(resident, train(make_run(ages, tmp_path / "mapped", EVERYTHING)))


def test_half_precision_learns_too(ages: SliceStore, tmp_path: Path):
    half = train(make_run(ages, tmp_path / "half", {"precision": "bf16"}))
    full = train(make_run(ages, tmp_path / "full"))
    assert half.curve[-1]["train_loss"] == pytest.approx(full.curve[-1]["train_loss"], rel=0.1)
    assert losses(half.curve) != losses(full.curve)
    assert all(weight.dtype == torch.float32 for weight in weights_of(half).values())


@pytest.mark.parametrize("kind", ["ages", "tumours"])
def test_the_step_does_not_wait_for_the_device(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """One .item() an epoch, however many steps."""
    store: SliceStore = request.getfixturevalue(kind)
    calls: list[Any] = []
    item = Tensor.item
    monkeypatch.setattr(Tensor, "item", lambda self: calls.append(self.shape) or item(self))
    training = {"batch_size": 4, "max_epochs": 2, "optimizer": {"name": "sgd", "lr": 1.0e-3}}
    train(make_run(store, tmp_path, training))
    assert len(calls) == 2


def test_weights_start_from_the_seed_and_not_from_the_process(ages: SliceStore, tmp_path: Path):
    run = make_run(ages, tmp_path, {"optimizer": {"lr": 1.0e-30}, "max_epochs": 1}, seed=3)
    first = weights_of(train(run))
    torch.manual_seed(0)
    fresh = build_age_model(TINY_UNET, TrainingConfig()).state_dict()
    assert not torch.equal(first["head.linear.weight"], fresh["head.linear.weight"])


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["ages", "tumours"])
def test_a_gpu_learns_the_same(
    kind: str, gpu: torch.device, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    store: SliceStore = request.getfixturevalue(kind)
    training = {"optimizer": {"lr": 1.0e-2}, "precision": "bf16"}
    curves = [train(make_run(store, tmp_path / device, training, device=device)).curve for device in ("cpu", "auto")]
    monkeypatch.setattr(batches, "room", lambda device: 0)
    curves.append(train(make_run(store, tmp_path / "mapped", training, device="auto")).curve)
    for cpu, *others in zip_longest(*curves):
        for other in others:
            assert other["train_loss"] == pytest.approx(cpu["train_loss"], rel=0.1)


@pytest.mark.gpu
def test_an_interrupted_run_on_a_gpu_goes_on(ages: SliceStore, gpu: torch.device, tmp_path: Path):
    run: TrainingRun = make_run(ages, tmp_path, EVERYTHING, device="auto")
    with pytest.raises(StopError):
        train(run, stop_after(2))
    assert len(train(run).curve) == 4
