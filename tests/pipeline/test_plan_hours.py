"""What a dry run makes of a search's settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from brainage_ray.config import load_experiment
from brainage_ray.execution import GIB
from brainage_ray.pipeline import plan_rows
from brainage_ray.pipeline.plan_rows import PlanRow, search_row

QUICKSTART = Path(__file__).resolve().parents[2] / "experiments" / "quickstart.yaml"
SEARCH = ["search.trials=8", "search.seeds_per_trial=2", "training.max_epochs=8", "search.scheduler=none"]


def row(monkeypatch: pytest.MonkeyPatch, *overrides: str, cpus: int = 4, gpus: int = 0, weights: int = 1000) -> PlanRow:
    monkeypatch.setattr(plan_rows.os, "cpu_count", lambda: cpus)
    monkeypatch.setattr(plan_rows.torch.cuda, "device_count", lambda: gpus)
    return search_row(load_experiment(QUICKSTART, [*SEARCH, *overrides]), "unet", 0.5, weights)


def test_hours_are_runs_times_epochs(monkeypatch: pytest.MonkeyPatch):
    found = row(monkeypatch)
    assert (found.runs, found.hours, found.likely) == (16, 64.0, 64.0)
    assert (found.side_by_side, found.wall, found.gpu_hours) == (4, 16.0, 0.0)


def test_a_scheduler_lowers_what_is_likely_and_not_what_is_possible(monkeypatch: pytest.MonkeyPatch):
    found = row(monkeypatch, "search.scheduler=asha", "search.grace_epochs=1")
    assert (found.hours, found.likely) == (64.0, 16 * 2.5 * 0.5)


def test_finalists_train_to_their_end_with_fresh_seeds(monkeypatch: pytest.MonkeyPatch):
    found = row(monkeypatch, "search.finalists=3", "search.finalist_seeds=4")
    assert (found.runs, found.hours) == (16 + 12, 28 * 4.0)


def test_trials_share_gpus_as_far_as_they_go(monkeypatch: pytest.MonkeyPatch):
    found = row(monkeypatch, "resources.gpus_per_trial=0.25", cpus=64, gpus=1)
    assert (found.side_by_side, found.wall, found.gpu_hours) == (4, 16.0, 16.0)
    assert row(monkeypatch, "search.max_concurrent=2").side_by_side == 2


def test_workers_of_a_wide_trial_share_its_work(monkeypatch: pytest.MonkeyPatch):
    found = row(monkeypatch, "search.workers_per_trial=3", cpus=7)
    assert (found.side_by_side, found.wall) == (6, pytest.approx(64 / 6))


@pytest.mark.parametrize(
    ("budget", "hours"),
    [("max_hours=5", 20.0), ("max_hours=500", 64.0), ("max_trials=2", 16.0), ("max_gpu_hours=3", 12.0)],
)
def test_a_budget_caps_the_hours(monkeypatch: pytest.MonkeyPatch, budget: str, hours: float):
    gpu = ["resources.gpus_per_trial=0.25"] if "gpu" in budget else []
    found = row(monkeypatch, f"search.budget.{budget}", *gpu, gpus=1)
    assert (found.hours, found.likely) == (hours, hours)


@pytest.mark.parametrize(("weights", "bytes_"), [(1000, (8 + 12) * 2 * 4000), (10**9, 2 * GIB)])
def test_checkpoints_take_what_they_take_or_what_they_may(monkeypatch: pytest.MonkeyPatch, weights: int, bytes_: float):
    found = row(monkeypatch, "search.checkpoint_gib=2", weights=weights)
    assert found.gigabytes == pytest.approx(bytes_ / 1e9)
