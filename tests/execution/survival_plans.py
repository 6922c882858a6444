"""Studies to be disturbed: a training that keeps checkpoints and obeys orders, its driver, what is left at the end."""

from __future__ import annotations

import importlib
import math
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
from engine_plans import LR_RANGE, make_plan
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from training_stores import make_run

from brainage_ray.config import TrainingRun
from brainage_ray.data import SliceStore
from brainage_ray.execution import Cluster, StudyPlan, load_study_result, retell, run_study
from brainage_ray.execution.journal import JOURNAL
from brainage_ray.tracking import MlflowTracker
from brainage_ray.tracking.client import KEY_TAG, KIND_TAG, all_runs, open_client, store_uri

EpochSource = Callable[[TrainingRun], Iterator[dict[str, float]]]
TRIALS, EPOCHS = 6, 4
EXPERIMENT = "survival"
HERE = Path(__file__).parent
_DRIVERS: list[subprocess.Popen[str]] = []


def plan_in(folder: Path, **search: Any) -> StudyPlan:
    defaults = {"trials": TRIALS, "max_concurrent": 1, "sampler": "random"}
    return make_plan(folder, LR_RANGE, epochs=EPOCHS, **{**defaults, **search})


def source() -> EpochSource:
    """A training of some milliseconds with a checkpoint after each epoch.

    Before it trains an epoch it does what the file "orders/<trial>-<epoch>" of the study says, once, and leaves its pid
    there. Its functions are nested so that they are pickled whole: the workers cannot import this module.
    """
    obey, value_of = _obey(), _value_of()

    def train_epoch(study: Path, name: str, checkpoint: Path) -> None:
        import time

        if (order := study / "orders" / name).exists():
            obey(order)
        time.sleep(0.01)
        with (study / "trained").open("a") as file:
            file.write(f"{name}\n")
        checkpoint.with_suffix(".new").write_text(name.split("-")[1])
        checkpoint.with_suffix(".new").replace(checkpoint)

    def epochs(run: TrainingRun) -> Iterator[dict[str, float]]:
        study, trial, checkpoint = run.folder.parents[2], run.folder.parent.name, run.folder / "checkpoint"
        run.folder.mkdir(parents=True, exist_ok=True)
        done = int(checkpoint.read_text()) if checkpoint.exists() else 0
        for epoch in range(1, run.epochs + 1):
            if epoch > done:
                train_epoch(study, f"{trial}-{epoch}", checkpoint)
            value = value_of(run, epoch, study / "orders" / f"{trial}-{epoch}.nan")
            yield {"validation_mae": value, "train_loss": value / 2}

    return epochs


def real_plan(folder: Path, store: Path) -> StudyPlan:
    """A plan of as many trials and epochs that trains on a store."""
    run = make_run(SliceStore.open(store), folder, {"max_epochs": EPOCHS}, keep_weights=False)
    return replace(plan_in(folder), run=run)


def counted() -> EpochSource:
    """The real training, which notes each epoch that it trains as `source` does."""

    def epochs(run: TrainingRun) -> Iterator[dict[str, float]]:
        import torch

        from brainage_ray.training import epochs as real_epochs

        checkpoint, done = run.folder / "checkpoint.pt", 0
        if checkpoint.exists():
            done = len(torch.load(checkpoint, weights_only=True)["curve"])
        for epoch, metrics in enumerate(real_epochs(run), 1):
            if epoch > done:
                with (run.folder.parents[2] / "trained").open("a") as file:
                    file.write(f"{run.folder.parent.name}-{epoch}\n")
            yield metrics

    return epochs


def _obey() -> Callable[[Path], None]:
    def obey(order: Path) -> None:
        import os
        import signal
        import time

        what = order.read_text()
        order.write_text(str(os.getpid()))
        order.rename(order.with_suffix(".nan" if what == "nan" else ".obeyed"))
        if what == "raise":
            raise OSError("the store is gone")
        if what == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        while what == "hang" or (what == "wait" and not order.with_suffix(".go").exists()):
            time.sleep(0.01)

    return obey


def _value_of() -> Callable[[TrainingRun, int, Path], float]:
    def value_of(run: TrainingRun, epoch: int, diverges: Path) -> float:
        import math

        value = 3 + abs(math.log10(run.training.optimizer.lr) + 3) + 1 / epoch
        return math.nan if diverges.exists() else value

    return value_of


def give_orders(plan: StudyPlan, **orders: str) -> None:
    """Orders by "t<trial>_<epoch>"."""
    folder = plan.folder / "orders"
    folder.mkdir(parents=True, exist_ok=True)
    for where, what in orders.items():
        trial, epoch = where[1:].split("_")
        (folder / f"{int(trial):03d}-{epoch}").write_text(what)


def main() -> None:
    """The command line with one study in place of its commands: folder, sampler, addresses of the cluster and MLflow.

    With the folder of a store it trains for real.
    """
    command_line = importlib.import_module("brainage_ray.cli.main")  # the package has a function of that name
    command_line.app = study_command
    command_line.main()


def study_command(arguments: list[str], **_: Any) -> None:
    folder, sampler, address, uri, store = Path(arguments[0]), *arguments[1:]
    plan, epochs = plan_in(folder, sampler=sampler), source()
    if store:
        plan, epochs = real_plan(folder, Path(store)), counted()
    tracker = MlflowTracker(folder, EXPERIMENT, uri=uri or None, interval_s=0.2)
    with tracker, Cluster(address) as cluster:
        retell_or_run(cluster, plan, tracker, epochs)


def retell_or_run(cluster: Cluster, plan: StudyPlan, tracker: MlflowTracker, epochs: EpochSource) -> None:
    result = load_study_result(plan.folder, TRIALS)
    if result is not None and result.done:
        retell(plan, tracker)
    else:
        run_study(cluster, plan, tracker, epochs)


def start_driver(
    folder: Path, sampler: str, address: str, uri: str = "", store: Path | str = "", inside: Sequence[str] = ()
) -> subprocess.Popen[str]:
    """Start a driver; `inside` is what its command line begins with, to run it on another host."""
    code = "import survival_plans; survival_plans.main()"
    command = [*inside, sys.executable, "-c", code, str(folder), sampler, address, uri, str(store)]
    path = os.pathsep.join([str(HERE), str(HERE.parent / "training"), os.environ.get("PYTHONPATH", "")])
    driver = subprocess.Popen(
        command, cwd=folder, env={**os.environ, "PYTHONPATH": path}, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    _DRIVERS.append(driver)
    return driver


def kill_drivers() -> None:
    """End what a failed test left, so that it holds none of the cluster that the next ones share."""
    for driver in _DRIVERS:
        if driver.poll() is None:
            driver.kill()
            driver.communicate()
    _DRIVERS.clear()


def wait_until(condition: Callable[[], Any], driver: subprocess.Popen[str]) -> None:
    while not condition():  # the test's own time limit ends it
        assert driver.poll() is None, driver.communicate()
        time.sleep(0.01)


def trained(plan: StudyPlan) -> list[str]:
    path = plan.folder / "trained"
    return path.read_text().split() if path.exists() else []


def finished_trials(plan: StudyPlan) -> list[FrozenTrial]:
    """The finished trials as Optuna alone reads them."""
    storage = JournalStorage(JournalFileBackend(str(plan.folder / JOURNAL)))
    study = optuna.load_study(study_name=plan.name, storage=storage)
    return study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED))


def best_value(plan: StudyPlan) -> float:
    return min(trial.value for trial in finished_trials(plan))


def check(plan: StudyPlan, folder: Path, extra: int, failed: tuple[int, ...] = (), uri: str = "") -> None:
    """All asked trials, each once, in Optuna and in MLflow, and no more epochs trained again than `extra`."""
    complete = [place for place in range(TRIALS) if place not in failed]
    assert sorted(trial.user_attrs["place"] for trial in finished_trials(plan)) == complete
    for trial in finished_trials(plan):
        assert sorted(trial.intermediate_values) == [*range(1, EPOCHS + 1)]
    _check_mlflow(complete, failed, uri or store_uri(folder))
    times = Counter(trained(plan))
    assert {f"{place:03d}-{epoch}" for place in complete for epoch in range(1, EPOCHS + 1)} <= times.keys()
    assert sum(times.values()) - len(times) <= extra
    assert load_study_result(plan.folder).done


def _check_mlflow(complete: list[int], failed: tuple[int, ...], uri: str) -> None:
    client = open_client(uri)
    rows = list(all_runs(client, client.get_experiment_by_name(EXPERIMENT).experiment_id))
    trials = [row for row in rows if row.data.tags[KIND_TAG] == "trial"]
    assert len({row.data.tags[KEY_TAG] for row in trials}) == len(trials) == TRIALS
    by_place = {int(row.info.run_name.removeprefix("trial-")): row for row in trials}
    assert {place for place, row in by_place.items() if row.info.status == "FINISHED"} == set(complete)
    assert {place for place, row in by_place.items() if row.info.status == "FAILED"} == set(failed)
    for place in complete:
        for name in ("validation_mae", "train_loss"):
            steps = [point.step for point in client.get_metric_history(by_place[place].info.run_id, name)]
            assert sorted(steps) == [*range(1, EPOCHS + 1)], (place, name)


def undisturbed_best(folder: Path, sampler: str, cluster: Cluster, orders: dict[str, str]) -> float:
    from engine_plans import Heard

    plan = plan_in(folder, sampler=sampler)
    give_orders(plan, **orders)
    run_study(cluster, plan, Heard(), source())
    best = best_value(plan)
    assert math.isfinite(best)
    return best
