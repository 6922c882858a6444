"""What a study's book-keeping costs a trial, by where the study lives: `python -m benchmarks.storage_cost URL`.

No trainings and no Ray: ask, one report and tell, as the driver does them for a search with random draws and for the
recommended one, TPE with ASHA. The URL is of an empty PostgreSQL database; each study in it has its own name.

Two numbers a trial: the processor time of the driver, which other work on the machine changes little, and the wall
clock, in which the disk and the server have their part; of that the lower quartile of the trials.
"""

from __future__ import annotations

import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from statistics import quantiles

from benchmarks.measure import Row
from brainage_ray.config import SearchConfig, SearchSpace, TrainingConfig, TrainingRun, UNetConfig
from brainage_ray.config.read import validate
from brainage_ray.execution import StudyPlan
from brainage_ray.execution.study import Study

TRIALS = 100
SPACE = {"parameters": {"training.optimizer.lr": {"type": "float", "low": 1.0e-4, "high": 1.0e-2}}}
SEARCHES = {"random": {"sampler": "random"}, "TPE + ASHA": {"sampler": "tpe", "scheduler": "asha"}}


def cost_of_trial(folder: Path, storage: str | None, search: dict[str, str]) -> tuple[float, float]:
    """Run a study of trials that do nothing; return (processor ms, wall clock ms) of a trial."""
    run = TrainingRun(
        task="age", backbone=UNetConfig(kind="unet"), training=TrainingConfig(max_epochs=2), seed=0,
        store=folder, store_hash="", folder=folder, keep_weights=False,
    )  # fmt: skip
    config = SearchConfig(space=validate(SearchSpace, SPACE, "benchmark"), trials=TRIALS + 1, **search)
    plan = StudyPlan("noop", run, config, folder, experiment=uuid.uuid4().hex, storage=storage)
    walls = []
    with Study(plan) as study:
        _run_trial(study)  # makes what is made once
        processor = time.process_time()
        for _ in range(TRIALS):
            start = time.perf_counter()
            _run_trial(study)
            walls.append(time.perf_counter() - start)
        processor = time.process_time() - processor
    return 1000 * processor / TRIALS, 1000 * quantiles(walls, n=4)[0]


def _run_trial(study: Study) -> None:
    trial = study.ask()
    assert trial is not None
    stopped = study.report(trial, 1, [trial.params["training.optimizer.lr"]])
    study.tell(trial, "pruned" if stopped else "complete", 0.0)


def measure(url: str) -> Iterator[Row]:
    """Yield two rows per storage and search."""
    with tempfile.TemporaryDirectory() as name:
        file = f"sqlite:///{Path(name) / 'studies.db'}"
        for kind, storage in {"journal": None, "SQLite": file, "PostgreSQL": url}.items():
            for label, search in SEARCHES.items():
                processor, wall = cost_of_trial(Path(name) / f"{kind} {label}", storage, search)
                what = f"book-keeping of a trial, {kind}, {label}, {TRIALS} trials"
                yield Row(f"{what}: processor time of the driver", "ms", processor, more_is_better=False)
                yield Row(f"{what}: wall clock, lower quartile", "ms", wall, more_is_better=False)


def main() -> None:
    """Print the rows and add them to the results of this machine."""
    from benchmarks.__main__ import machine_name, write_results

    rows = []
    for row in measure(sys.argv[1]):
        print(f"{row.what}: {row.shown(row.ours)}", flush=True)
        rows.append(row)
    write_results(machine_name(), rows)


if __name__ == "__main__":
    main()
