"""What an experiment asks of the cluster, stage by stage, and that it is refused before anything is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from brainage_ray.config import load_experiment
from brainage_ray.errors import EngineError
from brainage_ray.execution import GIB
from brainage_ray.pipeline import run_experiment
from brainage_ray.pipeline.preflight import demands_of

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


@pytest.mark.ray
def test_a_refit_that_will_not_fit_is_refused_before_anything_is_made(cluster: object, tmp_path: Path):
    experiment = load_experiment(QUICKSTART, ["refit.workers=3000", "refit.parallel=ddp"])
    with pytest.raises(EngineError, match=r"refit \(ddp\) wants 3000 workers.*room for \d+ of 3000.*refit.work"):
        run_experiment(experiment, tmp_path)
    assert not (tmp_path / experiment.name / "store").exists()
    assert not (tmp_path / "cache").exists()
