from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.losses import DiceCELoss
from torch import Tensor, nn
from training_stores import age_store, make_run

from brainage_ray.data import SliceStore
from brainage_ray.errors import DataError
from brainage_ray.training.batches import Batch, load_slices
from brainage_ray.training.tasks import build_task, standardisation

CPU = torch.device("cpu")


class Answer(nn.Module):
    """A network that gives what it is told to, batch after batch."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, images: Tensor, positions: Tensor | None = None) -> Any:
        return self.answer(images)


def age_batch(ages: list[float]) -> Batch:
    n = len(ages)
    return Batch(torch.zeros(n, 1, 8, 8), torch.tensor(ages), torch.zeros(n), None)


def task_of(store: SliceStore, folder: Path, training: dict[str, Any] | None = None, **fields: Any) -> Any:
    run = make_run(store, folder, training, **fields)
    return build_task(run, load_slices(store.split("train"), CPU))


def test_ages_are_standardised_by_scans_and_not_by_slices(tmp_path: Path):
    store = age_store(tmp_path / "store", {"train": [50.0, 60.0, 100.0], "validation": [70.0]})
    split = store.split("train")
    keep = np.array([True, False, False, False] + [True] * 8)
    fewer = type(split)(split.scans, split.shards, (), split.slice_scan[keep], split.slice_position[keep])
    mean, sd = standardisation(make_run(store, tmp_path), fewer)
    assert (mean, sd) == (pytest.approx(70), pytest.approx(np.std([50, 60, 100])))


def test_a_target_in_the_config_goes_first(ages: SliceStore, tmp_path: Path):
    task = task_of(ages, tmp_path, {"target": {"mean_years": 75.0, "sd_years": 25.0}})
    assert task.target == (75, 25)


def test_ages_that_do_not_differ_cannot_be_learnt(tmp_path: Path):
    store = age_store(tmp_path / "store", {"train": [60.0, 60.0]})
    with pytest.raises(DataError, match=r"all 2 training scans .* are 60 years old"):
        task_of(store, tmp_path)
    fixed = {"target": {"mean_years": 75.0, "sd_years": 25.0}}
    assert task_of(store, tmp_path, fixed).target == (75, 25)


@pytest.mark.parametrize(("loss", "expected"), [("mse", (0.04 + 4) / 2), ("l1", 1.1), ("huber", (0.02 + 1.5) / 2)])
def test_age_losses_are_of_the_standardised_age(ages: SliceStore, tmp_path: Path, loss, expected):
    task = task_of(ages, tmp_path, {"loss": loss, "target": {"mean_years": 75.0, "sd_years": 25.0}})
    model = Answer(lambda images: torch.zeros(len(images), dtype=torch.bfloat16))
    value = task.loss(model, age_batch([80.0, 25.0]))
    assert value.dtype == torch.float32
    assert float(value) == pytest.approx(expected)


@pytest.mark.parametrize(("rule", "expected"), [("median", 10.0), ("mean", 2.5)])
def test_the_mae_is_of_scans_in_years_by_the_runs_rule(tmp_path: Path, rule, expected):
    store = age_store(tmp_path / "store", {"train": [50.0, 70.0], "validation": [70.0, 70.0]})
    task = task_of(store, tmp_path, {"target": {"mean_years": 60.0, "sd_years": 10.0}}, aggregate=rule)
    # both scans: three slices say 60 years and one 90
    model = Answer(lambda images: torch.tensor([0.0, 0, 0, 3] * (len(images) // 4)))
    slices = load_slices(store.split("validation"), CPU)
    score = task.score(model, slices)
    assert score.metrics == {"validation_mae": pytest.approx(expected)}
    assert score.slice_years.tolist() == [60, 60, 60, 90] * 2


def test_the_delta_tells_patients_by_how_often_theirs_is_larger(tmp_path: Path):
    validation = {"train": [50.0, 70.0], "validation": [70.0, 58.0, 60.0, 60.0]}
    split = age_store(tmp_path / "store", validation, ("CN", "AD")).split("validation")
    healthy, patients = (split.take(split.scans["diagnosis"].eq(group).to_numpy()) for group in ("CN", "AD"))
    task = task_of(
        age_store(tmp_path / "other", validation), tmp_path, {"target": {"mean_years": 60.0, "sd_years": 10.0}}
    )
    model = Answer(lambda images: torch.zeros(len(images)))  # 60 years
    score = task.score(model, load_slices(healthy, CPU), load_slices(patients, CPU))
    # deltas: healthy -10 and 0, patients 2 and 0; of four pairs three are above and one is equal
    assert score.metrics == {"validation_mae": 5.0, "validation_delta_auc": 3.5 / 4}
    assert len(score.slice_years) == len(healthy.slice_scan)


@pytest.mark.parametrize("bad", ["healthy", "patients"])
def test_a_patient_without_a_finite_age_gives_no_metric_that_is_one(tmp_path: Path, bad: str):
    store = age_store(tmp_path / "store", {"train": [50.0, 70.0], "validation": [70.0, 60.0]})
    task = task_of(store, tmp_path)
    slices = load_slices(store.split("validation"), CPU)
    values = iter([torch.nan, 0.0] if bad == "healthy" else [0.0, torch.nan])
    model = Answer(lambda images: torch.full((len(images),), next(values)))
    assert np.isnan(task.score(model, slices, slices).metrics["validation_mae"])


@pytest.mark.parametrize(("counted", "expected"), [("baseline", 5.0), ("all", 7.5)])
def test_a_later_visit_counts_for_the_mae_only_where_the_test_counts_it(tmp_path: Path, counted, expected):
    store = age_store(tmp_path / "store", {"train": [50.0, 70.0], "validation": [70.0, 65.0]})
    split = store.split("validation")
    same = replace(split, scans=split.scans.assign(person="Toy/one"))
    task = task_of(store, tmp_path, {"target": {"mean_years": 60.0, "sd_years": 10.0}}, one_scan_per_subject=counted)
    model = Answer(lambda images: torch.zeros(len(images)))  # 60 years
    assert task.score(model, load_slices(same, CPU)).metrics == {"validation_mae": pytest.approx(expected)}


def test_an_age_that_is_not_finite_gives_a_mae_that_is_not(ages: SliceStore, tmp_path: Path):
    task = task_of(ages, tmp_path)
    model = Answer(lambda images: torch.full((len(images),), torch.nan))
    assert np.isnan(task.score(model, load_slices(ages.split("validation"), CPU)).metrics["validation_mae"])


def test_resolutions_weigh_1_then_a_half_then_a_quarter(tumours: SliceStore, tmp_path: Path):
    task = task_of(tumours, tmp_path)
    rng = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 4, (3, 16, 16), generator=rng).to(torch.uint8)
    logits = [torch.randn(3, 4, 16 // 2**i, 16 // 2**i, generator=rng) for i in range(3)]
    batch = Batch(torch.zeros(3, 4, 16, 16), torch.zeros(3), torch.zeros(3), labels)
    criterion = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, batch=True)
    single = [criterion(level, labels[:, None, :: 2**i, :: 2**i]) for i, level in enumerate(logits)]
    expected = (single[0] + single[1] / 2 + single[2] / 4) / 1.75
    assert float(task.loss(Answer(lambda images: logits), batch)) == pytest.approx(float(expected), rel=1e-5)


def test_dice_is_of_all_slices_at_once(tumours: SliceStore, tmp_path: Path):
    task = task_of(tumours, tmp_path)
    split = tumours.split("validation")
    labels = torch.from_numpy(split.labels()).long()
    found = labels.clone()
    found[: len(found) // 2] = 0  # half of the slices find nothing
    found[labels == 3] = 2  # enhancing tumour is always called oedema
    model = Answer(lambda images: [nn.functional.one_hot(found, 4).permute(0, 3, 1, 2).float()])
    scores = task.score(model, load_slices(split, CPU)).metrics
    for c, name in enumerate(("necrosis", "oedema", "enhancing"), start=1):
        both = ((found == c) & (labels == c)).sum()
        expected = 2 * both / ((found == c).sum() + (labels == c).sum())
        assert scores[f"validation_dice_{name}"] == pytest.approx(float(expected))
    assert scores["validation_dice_enhancing"] == 0
    assert scores["validation_dice_mean"] == pytest.approx(np.mean(list(scores.values())[:3]))


def test_a_class_that_is_neither_there_nor_found_has_a_dice_of_1(tumours: SliceStore, tmp_path: Path):
    split = tumours.split("validation")
    empty = type(split)(
        split.scans, split.shards, tuple(np.zeros_like(s) for s in split.label_shards), split.slice_scan,
        split.slice_position,
    )  # fmt: skip
    nothing = torch.tensor([1.0, 0, 0, 0])[None, :, None, None]
    model = Answer(lambda images: [nothing.expand(len(images), 4, 32, 32)])
    assert task_of(tumours, tmp_path).score(model, load_slices(empty, CPU)).metrics["validation_dice_mean"] == 1


def test_segmentation_needs_labels(tumours: SliceStore, tmp_path: Path):
    task = task_of(tumours, tmp_path)
    with pytest.raises(DataError, match="no labels"):
        task.loss(Answer(lambda images: [torch.zeros(1, 4, 8, 8)]), age_batch([50.0]))
