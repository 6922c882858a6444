from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from training_stores import TINY_UNET, make_run, sealed_store

from brainage_ray.config import FitResult, TrainingConfig, TrainingRun
from brainage_ray.data import SliceStore, TestLedger
from brainage_ray.errors import WeightsError
from brainage_ray.evaluation.aggregate import aggregate_slices
from brainage_ray.models import build_age_model
from brainage_ray.training import load_fitted, predict_slice_years, predict_slices, train

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def fitted(ages: SliceStore, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainingRun, FitResult]:
    training = {"slice_position": True, "dropout": 0.5, "optimizer": {"lr": 1.0e-2}}
    run = make_run(ages, tmp_path_factory.mktemp("fitted"), training, aggregate="mean")
    return run, train(run)


def test_predictions_are_what_the_last_epoch_was_scored_with(ages: SliceStore, fitted):
    run, fit = fitted
    split = ages.split("validation")
    years = aggregate_slices(predict_slice_years(run, fit, split), split.slice_scan, 8, run.aggregate)
    error = np.abs(years - split.scans["age_years"]).mean()
    assert error == pytest.approx(fit.curve[-1]["validation_mae"], rel=1e-4)


def test_a_slices_age_is_the_networks_answer_in_years(ages: SliceStore, fitted):
    run, fit = fitted
    split = ages.split("validation")
    values = predict_slices(load_fitted(run, fit), split, CPU)
    expected = values.astype(np.float64) * fit.target_sd_years + fit.target_mean_years
    years = predict_slice_years(run, fit, split)
    assert years.dtype == np.float64
    assert years == pytest.approx(expected)


def test_the_test_split_is_predicted_through_its_door(ages: SliceStore, fitted, tmp_path: Path):
    run, fit = fitted
    sealed = sealed_store(tmp_path / "test", [60.0, 70.0])
    test = sealed.unseal(TestLedger(tmp_path / "ledger.jsonl"), model=fit.key)
    assert set(test.slice_scan) == {0, 1}
    assert predict_slice_years(run, fit, test).shape == test.slice_scan.shape


def test_the_size_of_the_batch_does_not_matter(ages: SliceStore, fitted):
    model, split = load_fitted(*fitted), ages.split("validation")
    assert predict_slices(model, split, CPU, batch_size=5) == pytest.approx(predict_slices(model, split, CPU), abs=1e-5)


def test_a_network_goes_back_to_the_mode_it_was_in(ages: SliceStore):
    model = build_age_model(TINY_UNET, TrainingConfig(dropout=0.5))
    first, second = (predict_slices(model.train(), ages.split("validation"), CPU) for _ in range(2))
    assert np.array_equal(first, second)
    assert model.training
    predict_slices(model.eval(), ages.split("validation"), CPU)
    assert not model.training


def test_a_split_without_slices_has_no_predictions(ages: SliceStore):
    model = build_age_model(TINY_UNET, TrainingConfig())
    nothing = ages.split("validation").take(np.zeros(8, dtype=bool))
    assert predict_slices(model, nothing, CPU).shape == (0,)


def test_a_fitted_model_is_ready_to_predict(fitted):
    before = torch.get_rng_state()
    assert not load_fitted(*fitted).training
    assert torch.equal(before, torch.get_rng_state())


def test_a_run_without_weights_cannot_predict(ages: SliceStore, fitted):
    run, fit = fitted
    with pytest.raises(WeightsError, match="kept no weights"):
        load_fitted(run, fit.model_copy(update={"weights": None}))
    with pytest.raises(WeightsError, match="SHA-256"):
        predict_slice_years(run, fit.model_copy(update={"weights_sha256": "0" * 64}), ages.split("validation"))
