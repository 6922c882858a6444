"""Seconds that a study's book-keeping costs a trial, by where the study lives: `python -m benchmarks.storage_cost URL`.

No trainings and no Ray: ask, one report and tell, as the driver does them for a search with random draws and for the
recommended one, TPE with ASHA. The URL is of an empty database; each study in it has its own name.
"""

from __future__ import annotations

import sys
import tempfile
import time
import uuid
from pathlib import Path

from brainage_ray.config import SearchConfig, SearchSpace, TrainingConfig, TrainingRun, UNetConfig
from brainage_ray.config.read import validate
from brainage_ray.execution import StudyPlan
from brainage_ray.execution.study import Study

TRIALS = 200
SPACE = {"parameters": {"training.optimizer.lr": {"type": "float", "low": 1.0e-4, "high": 1.0e-2}}}
SEARCHES = {"random": {"sampler": "random"}, "tpe + asha": {"sampler": "tpe", "scheduler": "asha"}}


def seconds_per_trial(folder: Path, storage: str | None, trials: int, search: dict[str, str]) -> float:
    """Run a study of trials that do nothing."""
    run = TrainingRun(
        task="age", backbone=UNetConfig(kind="unet"), training=TrainingConfig(max_epochs=2), seed=0,
        store=folder, store_hash="", folder=folder, keep_weights=False,
    )  # fmt: skip
    config = SearchConfig(space=validate(SearchSpace, SPACE, "benchmark"), trials=trials, **search)
    plan = StudyPlan("noop", run, config, folder, experiment=uuid.uuid4().hex, storage=storage)
    start = time.perf_counter()
    with Study(plan) as study:
        while (trial := study.ask()) is not None:
            stopped = study.report(trial, 1, [trial.params["training.optimizer.lr"]])
            study.tell(trial, "pruned" if stopped else "complete", 0.0)
    return (time.perf_counter() - start) / trials


def main() -> None:
    """Print a line per storage and search."""
    with tempfile.TemporaryDirectory() as name:
        file = f"sqlite:///{Path(name) / 'studies.db'}"
        for kind, storage in {"journal": None, "sqlite": file, "postgresql": sys.argv[1]}.items():
            for label, search in SEARCHES.items():
                seconds = seconds_per_trial(Path(name) / f"{kind} {label}", storage, TRIALS, search)
                print(f"{kind:10} {label:10} {1000 * seconds:6.1f} ms a trial over {TRIALS} trials")


if __name__ == "__main__":
    main()
