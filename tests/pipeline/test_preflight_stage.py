"""What an experiment asks of the cluster, stage by stage, and that it is refused before anything is made."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from brainage_ray.config import load_experiment
from brainage_ray.errors import EngineError
from brainage_ray.execution import GIB, Cluster
from brainage_ray.pipeline import run_experiment
from brainage_ray.pipeline.preflight import demands_of, preflight_here, unplaceable

QUICKSTART = Path(__file__).resolve().parents[2] / "experiments" / "quickstart.yaml"
WIDE = [
    "search.workers_per_trial=3", "refit.workers=4", "refit.parallel=ddp", "pretraining.brats.workers=2",
    "resources.cpus_per_worker=2", "resources.memory_gib_per_trial=1.5",
]  # fmt: skip


def test_each_stage_that_trains_is_looked_at():
    demands = {demand.what: demand for demand in demands_of(load_experiment(QUICKSTART, WIDE))}
    found = {what: (each.processes, each.cpus) for what, each in demands.items()}
    assert found == {
        "the preparation of a scan": (1, 1),
        "pretraining.brats (share)": (1, 2),
        "a trial of the search": (3, 2),
        "refit (ddp)": (4, 2),
    }
    assert demands["a trial of the search"].memory == 1.5 * GIB


@pytest.mark.parametrize(("until", "count"), [("prepare", 1), ("pretrain", 2), ("search", 3), ("refit", 4)])
def test_stages_that_are_not_wanted_are_not_looked_at(until: str, count: int):
    assert len(list(demands_of(load_experiment(QUICKSTART, WIDE), until))) == count


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("search.workers_per_trial=3000", "this machine has .*room for .* of 3000"),
        ("resources.gpus_per_trial=1000", "1000 GPUs on one node.*this machine has"),
        ("resources.memory_gib_per_trial=1e+6", "1000000.0 GiB of memory"),
    ],
)
def test_this_machine_is_looked_at_without_starting_or_writing_anything(
    setting: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Cluster, "connect", lambda self: pytest.fail("Ray was started"))
    experiment = load_experiment(QUICKSTART, [setting])
    with pytest.raises(EngineError, match=words):
        run_experiment(experiment, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
    assert re.search(words, unplaceable(experiment, "report"))
    assert unplaceable(experiment, "prepare") == ""


def test_one_that_has_begun_is_not_refused_for_what_may_be_done(tmp_path: Path):
    experiment = load_experiment(QUICKSTART, ["search.workers_per_trial=3000"])
    (tmp_path / experiment.name / "store").mkdir(parents=True)
    preflight_here(experiment, tmp_path, "report")


@pytest.mark.ray
def test_a_refit_that_will_not_fit_is_refused_before_anything_is_made(cluster: object, tmp_path: Path):
    experiment = load_experiment(QUICKSTART, ["refit.workers=3000", "refit.parallel=ddp"])
    with pytest.raises(EngineError, match=r"refit \(ddp\) wants 3000 workers.*room for \d+ of 3000.*refit.work"):
        run_experiment(experiment, tmp_path)
    assert not (tmp_path / experiment.name / "store").exists()
    assert not (tmp_path / "cache").exists()
