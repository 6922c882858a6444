"""What a search costs beside its trainings: ours, stock Ray and plain Optuna run trials that do nothing.

Each measurement has a process of its own, started as

    python -m benchmarks.search_cost ours --at-once 10 --trials 200

so that neither memory nor settings of one reach another. Before the clock starts each runs two trials, which start
the cluster; starting the processes of the trials counts, and is spread over the trials.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.measure import Row
from brainage_ray.config import ResourcesConfig, SearchConfig, SearchSpace, TrainingConfig, TrainingRun, UNetConfig
from brainage_ray.config.read import validate

CPUS = 2
TRIALS_AT_ONCE = {1: 100, 10: 200, 100: 2000}
"""How many trials the seconds of a trial are measured over, by how many run at once."""
EPOCHS, EPOCH_TRIALS = 50, 20
"""Epochs of a trial, and trials, over which the driver's processor time of an epoch is measured."""
MANY_TRIALS = 10_000
EVERY = 1000
NAMES = {"stock": "OptunaSearch + ASHA, function trials", "optuna": "Optuna, processes on a shared journal",
         "train": "OptunaSearch + ASHA, a TorchTrainer in each trial"}  # fmt: skip
SPACE = {"parameters": {"training.optimizer.lr": {"type": "float", "low": 1.0e-4, "high": 1.0e-2}}}


@dataclass(frozen=True)
class Load:
    """What is to be run."""

    at_once: int
    trials: int
    epochs: int = 1
    """That each trial reports."""


@dataclass(frozen=True)
class Cost:
    """What it cost."""

    seconds: float
    """Wall clock."""
    cpu_seconds: float
    """Processor time of the driver."""
    memory: Mapping[int, float]
    """Resident memory of the driver by trials that ended, MiB."""


def measure() -> list[Row]:
    """Compare the seconds of a trial, the driver's processor time of an epoch and its memory."""
    rows = [row for at_once, trials in TRIALS_AT_ONCE.items() for row in _seconds_rows(Load(at_once, trials))]
    few = Load(1, 3)
    ours, train = spawn("ours", few), spawn("train", few)
    rows.append(_row("a trial that does nothing, 1 at once, 3 trials", "s", "train",
                     ours.seconds / few.trials, train.seconds / few.trials))  # fmt: skip
    epochs = Load(2, EPOCH_TRIALS, EPOCHS)
    of_epoch = [1000 * spawn(kind, epochs).cpu_seconds / EPOCHS / EPOCH_TRIALS for kind in ("ours", "stock")]
    rows.append(_row("processor time of the driver, a reported epoch", "ms", "stock", *of_epoch))
    return rows


def measure_memory() -> list[Row]:
    """Compare the driver's memory after 10,000 trials, drawn at random: TPE's own time grows with the trials."""
    ours, stock = (spawn(kind, Load(CPUS, MANY_TRIALS)) for kind in ("ours", "stock"))
    what = f"memory of the driver after {MANY_TRIALS:,} trials"
    name = f"s a trial over {MANY_TRIALS:,} trials, {CPUS} at once"
    return [
        _row(what, "MiB", "stock", ours.memory[MANY_TRIALS], stock.memory[MANY_TRIALS]),
        _row(name, "s", "stock", ours.seconds / MANY_TRIALS, stock.seconds / MANY_TRIALS),
    ]


def _seconds_rows(load: Load) -> list[Row]:
    ours, *theirs = (spawn(kind, load).seconds / load.trials for kind in ("ours", "stock", "optuna"))
    what = f"a trial that does nothing, {load.at_once} at once, {load.trials} trials"
    return [_row(what, "s", peer, ours, value) for peer, value in zip(("stock", "optuna"), theirs, strict=True)]


def _row(what: str, unit: str, peer: str, ours: float, theirs: float) -> Row:
    goal = "<= 0.15 s" if what.startswith("a trial") else ""
    return Row(f"{what}; against {NAMES[peer]}", unit, ours, theirs, False, goal, NAMES[peer])


def spawn(kind: str, load: Load) -> Cost:
    """Measure in a new process."""
    arguments = [f"--at-once={load.at_once}", f"--trials={load.trials}", f"--epochs={load.epochs}"]
    command = [sys.executable, "-m", "benchmarks.search_cost", kind, *arguments]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found = json.loads(output.strip().splitlines()[-1])
    memory = {int(trials): value for trials, value in found.pop("memory").items()}
    return Cost(**found, memory=memory)


def main() -> None:
    """Measure one load in this process, and print its cost as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["ours", "stock", "train", "optuna"])
    parser.add_argument("--at-once", type=int, default=1)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=1)
    arguments = parser.parse_args()
    load = Load(arguments.at_once, arguments.trials, arguments.epochs)
    with tempfile.TemporaryDirectory(prefix="bc", dir="/tmp", ignore_cleanup_errors=True) as name:  # Ray still ends
        run = {"ours": _ours, "stock": _stock, "train": partial(_stock, train=True), "optuna": _optuna}
        print(json.dumps(asdict(run[arguments.kind](Path(name), load))))


def clocked(work: Callable[[], None], counter: MemoryByTrials) -> Cost:
    """Run what is measured."""
    start, cpu = time.perf_counter(), time.process_time()
    counter.begin()
    work()
    return Cost(time.perf_counter() - start, time.process_time() - cpu, counter.memory)


class MemoryByTrials:
    """Notes the resident memory at every EVERY-th trial that ends."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Begin again."""
        self._ended = 0
        self.memory = {0: _resident()}

    def ended(self) -> None:
        """Count a trial."""
        self._ended += 1
        if self._ended % EVERY == 0:
            self.memory[self._ended] = _resident()


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def no_work(run: TrainingRun) -> Generator[dict[str, float], None, Any]:
    """Be a training that does nothing."""
    for _ in range(run.epochs):
        yield {"train_loss": 1.0, "validation_mae": run.training.optimizer.lr, "seconds": 0.0}


class _Recorder(MemoryByTrials):
    """Hears of our trials."""

    def started(self, run: Any) -> None:
        """Pass over it."""

    def epoch(self, key: str, epoch: int, metrics: Mapping[str, float]) -> None:
        """Pass over it."""

    def finished(self, key: str, status: str, metrics: Mapping[str, float]) -> None:
        """Count it."""
        self.ended()


def _ours(folder: Path, load: Load) -> Cost:
    from brainage_ray.execution import Cluster, StudyPlan, run_study

    def study(name: str, load: Load) -> None:
        run = TrainingRun(
            task="age", backbone=UNetConfig(kind="unet"), training=TrainingConfig(max_epochs=load.epochs), seed=0,
            store=folder, store_hash="", folder=folder, keep_weights=False,
        )  # fmt: skip
        space = validate(SearchSpace, SPACE, "benchmark")
        search = SearchConfig(
            space=space, sampler="random", scheduler="asha", trials=load.trials, max_concurrent=load.at_once
        )
        resources = ResourcesConfig(cpus_per_trial=_share(load))
        run_study(cluster, StudyPlan("noop", run, search, folder / name, resources), recorder, no_work)

    recorder = _Recorder()
    with Cluster(cpus=CPUS, gpus=0) as cluster:
        study("warm", Load(1, 2))
        return clocked(partial(study, "measured", load), recorder)


def _stock(folder: Path, load: Load, train: bool = False) -> Cost:
    import ray
    from ray import tune

    counter = MemoryByTrials()

    class Counting(tune.Callback):  # type: ignore[misc]
        def on_trial_complete(self, *_: Any, **__: Any) -> None:
            counter.ended()

    def study(name: str, load: Load) -> None:
        share = 0.5 if train else _share(load)  # its workers hold a CPU of their own
        trial = partial(_train_trial if train else _trial, epochs=load.epochs, folder=str(folder / f"{name}-train"))
        results = tune.Tuner(
            tune.with_resources(trial, {"cpu": share}),
            tune_config=_tune_config(tune, load),
            run_config=tune.RunConfig(storage_path=str(folder / name), verbose=0, callbacks=[Counting()]),
        ).fit()
        if results.num_errors:
            raise RuntimeError(f"the peer failed, so its time means nothing: {results.errors[0]}")

    quiet = {"include_dashboard": False, "log_to_driver": False}
    ray.init(address="local", num_cpus=CPUS, _temp_dir=str(folder / "ray"), **quiet)
    study("warm", Load(1, 2))
    return clocked(partial(study, "measured", load), counter)


def _tune_config(tune: Any, load: Load) -> Any:
    from optuna.samplers import RandomSampler
    from ray.tune.schedulers import AsyncHyperBandScheduler
    from ray.tune.search.optuna import OptunaSearch

    space = {"lr": tune.uniform(1.0e-4, 1.0e-2)}
    named = {"metric": "validation_mae", "mode": "min"}
    return tune.TuneConfig(
        search_alg=OptunaSearch(space=space, sampler=RandomSampler(seed=0), **named),
        scheduler=AsyncHyperBandScheduler(max_t=load.epochs, **named),
        num_samples=load.trials,
        max_concurrent_trials=load.at_once,
        reuse_actors=True,
    )


def _trial(config: Mapping[str, float], epochs: int, folder: str) -> None:
    from ray import tune

    for _ in range(epochs):
        tune.report({"validation_mae": config["lr"]})


def _train_trial(config: Mapping[str, float], epochs: int, folder: str) -> None:
    from ray import train, tune
    from ray.train.torch import TorchTrainer

    def worker() -> None:
        train.report({"validation_mae": 1.0})

    scaling = train.ScalingConfig(num_workers=1, resources_per_worker={"CPU": 1})
    TorchTrainer(worker, scaling_config=scaling, run_config=train.RunConfig(storage_path=folder)).fit()
    tune.report({"validation_mae": config["lr"]})  # Train keeps metrics only with a checkpoint, which is work


def _optuna(folder: Path, load: Load) -> Cost:
    """Start as many processes as trials run at once, from one that has loaded Optuna: as cheap as it gets."""
    import multiprocessing

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["optuna", "benchmarks.search_cost"])

    def study() -> None:
        file = str(folder / "study.journal")
        shares = [load.trials // load.at_once + (i < load.trials % load.at_once) for i in range(load.at_once)]
        _open_journal(file)
        workers = [context.Process(target=_optuna_worker, args=(file, share, load.epochs)) for share in shares]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        if any(worker.exitcode for worker in workers):
            raise RuntimeError("a process of the peer failed, so its time means nothing")

    return clocked(study, MemoryByTrials())


def _optuna_worker(file: str, trials: int, epochs: int) -> None:
    study = _open_journal(file)

    def objective(trial: Any) -> float:
        import optuna

        rate: float = trial.suggest_float("lr", 1.0e-4, 1.0e-2)
        for epoch in range(epochs):
            trial.report(rate, epoch + 1)
            if trial.should_prune():
                raise optuna.TrialPruned
        return rate

    study.optimize(objective, n_trials=trials)


def _open_journal(file: str) -> Any:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = JournalStorage(JournalFileBackend(file))
    pruner = optuna.pruners.SuccessiveHalvingPruner()
    sampler = optuna.samplers.RandomSampler()
    return optuna.create_study(study_name="s", storage=storage, sampler=sampler, pruner=pruner, load_if_exists=True)


def _share(load: Load) -> float:
    return min(1.0, CPUS / load.at_once)


if __name__ == "__main__":
    main()
