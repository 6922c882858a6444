from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from engine_plans import GRID, LR, LR_RANGE, Heard, make_plan
from training_stores import age_store
from training_stores import make_run as tiny_run

from brainage_ray.config import TrainingRun
from brainage_ray.data import SliceStore
from brainage_ray.errors import EngineError, NoSpaceError, TrialFailed
from brainage_ray.execution import Cluster, StudyResult, load_study_result, run_study
from brainage_ray.execution.search import concurrent_trials

pytestmark = pytest.mark.ray
Epochs = Callable[[TrainingRun], Iterator[dict[str, float]]]


def valley() -> Epochs:
    """A training whose error is least at the learning rate 1e-3, falls with the epochs and differs by seed."""

    def epochs(run: TrainingRun) -> Iterator[dict[str, float]]:
        import math

        for epoch in range(run.epochs):
            distance = abs(math.log10(run.training.optimizer.lr) + 3)
            yield {"validation_mae": 3 + distance + 1 / (epoch + 1) + 0.01 * run.seed, "train_loss": 1.0}

    return epochs


def by_number(result: StudyResult) -> dict[int, str]:
    return {trial.number: trial.state for trial in result.trials}


@pytest.mark.slow
def test_a_grid_of_real_trainings(cluster: Cluster, ages: SliceStore, tmp_path: Path):
    space = {LR: {"type": "categorical", "choices": [1.0e-3, 1.0e-2]}}
    plan = make_plan(tmp_path, space, sampler="grid", seeds_per_trial=2)
    plan = replace(plan, run=tiny_run(ages, tmp_path, {"max_epochs": 2}, keep_weights=False))
    heard = Heard()
    result = run_study(cluster, plan, heard)
    assert result.done
    assert [trial.params for trial in result.trials] == [{LR: 1.0e-3}, {LR: 1.0e-2}]
    for trial in result.trials:
        assert trial.state == "complete"
        assert trial.best_value == min(trial.values)
        assert all(0 < value < 40 for seeds in trial.seed_values for value in seeds)
        assert len(trial.seed_values) == 2
        assert trial.seed_values[0][0] != trial.seed_values[0][1]
    for heard_epochs in heard.epochs.values():
        assert [epoch for epoch, _ in heard_epochs] == [1, 2]
        assert {"train_loss", "validation_mae", "validation_mae_sd"} < set(heard_epochs[0][1])
    assert heard.states == ["complete"] * 2
    assert not (plan.folder / "ray").exists()


@pytest.mark.slow
def test_a_study_of_real_trainings_with_two_objectives(cluster: Cluster, tmp_path: Path):
    ages = {"train": [50.0, 60.0, 70.0, 80.0] * 4, "validation": [55.0, 66.0, 64.0, 75.0]}
    store = age_store(tmp_path / "store", ages, ("CN", "AD"))
    search = {"sampler": "nsga2", "objective": ("validation_mae", "validation_delta_auc"), "seeds_per_trial": 2}
    plan = make_plan(tmp_path, LR_RANGE, trials=3, **search)
    run = tiny_run(store, tmp_path, {"max_epochs": 2}, keep_weights=False, delta_diagnosis="AD")
    heard = Heard()
    result = run_study(cluster, replace(plan, run=run), heard)
    assert {trial.state for trial in result.trials} == {"complete"}
    for trial in result.trials:
        told = heard.epochs[f"{replace(plan, run=run).key}-{trial.number:04d}"][trial.best_epoch - 1][1]
        assert trial.delta_auc == told["validation_delta_auc"]
        assert trial.delta_auc in [i / 8 for i in range(9)]  # two seeds, two patients, two healthy people


def test_a_study_stops_poor_trials_and_says_nothing(
    cluster: Cluster, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    search = {"sampler": "tpe", "scheduler": "asha", "grace_epochs": 1, "seeds_per_trial": 2}
    plan = make_plan(tmp_path, LR_RANGE, epochs=8, trials=14, **search)
    heard = Heard()
    result = run_study(cluster, plan, heard, valley())
    assert result.done
    assert set(by_number(result).values()) == {"complete", "pruned"}
    assert heard.states == sorted(by_number(result).values())
    for trial in result.trials:
        assert len(trial.values) == 8 if trial.state == "complete" else len(trial.values) in (1, 2, 4)
    best = min(result.trials, key=lambda trial: trial.best_value)
    assert best.state == "complete"
    assert 1.0e-4 < best.params[LR] < 1.0e-2
    output, errors = capfd.readouterr()
    # late news of Ray's of the processes that earlier tests end on purpose
    assert [line for line in output.splitlines() if "(raylet)" not in line] == []
    assert errors == ""


def test_a_finished_study_starts_nothing(cluster: Cluster, tmp_path: Path):
    plan = make_plan(tmp_path, LR_RANGE, trials=2, sampler="random")
    first = run_study(cluster, plan, Heard(), valley())
    unused, heard = Cluster(), Heard()
    assert run_study(unused, plan, heard) == first
    assert load_study_result(plan.folder) == first
    assert not unused._connected
    assert not heard.runs


@pytest.mark.slow
def test_trials_that_fail_do_not_stop_the_others(cluster: Cluster, tmp_path: Path):
    def epochs(run: TrainingRun) -> Iterator[dict[str, float]]:
        import os

        from brainage_ray.errors import TrialFailed

        with (run.folder.parents[2] / "starts").open("a") as starts:
            starts.write(f"{run.training.optimizer.lr}\n")
        yield {"validation_mae": 5.0}
        match run.training.optimizer.lr:
            case 1.0:
                raise TrialFailed("train_loss is nan in epoch 2", "Lower the rate.")
            case 0.1:
                raise OSError("the store is gone")
            case 0.01:
                os._exit(1)
        yield {"validation_mae": 4.0}

    rates = [1.0, 0.1, 0.01, 0.001, 0.0001]
    plan = make_plan(tmp_path, {LR: {"type": "categorical", "choices": rates}}, epochs=2, sampler="grid")
    heard = Heard()
    result = run_study(cluster, plan, heard, epochs)
    assert result.done
    assert by_number(result) == {0: "failed", 1: "failed", 2: "failed", 3: "complete", 4: "complete"}
    assert "train_loss is nan" in result.trials[0].reason
    assert result.trials[1].reason == "OSError: the store is gone"
    assert "memory" in result.trials[2].reason
    starts = (plan.folder / "starts").read_text().split()
    assert {rate: starts.count(str(rate)) for rate in rates} == {1.0: 1, 0.1: 3, 0.01: 3, 0.001: 1, 0.0001: 1}
    assert heard.states == ["complete", "complete", "failed", "failed", "failed"]


def test_a_study_without_any_success_is_an_error(cluster: Cluster, tmp_path: Path):
    def epochs(run: TrainingRun) -> Iterator[dict[str, float]]:
        yield {"validation_mae": float("nan")}

    with pytest.raises(TrialFailed, match=r"all 6 trials of unet failed; trial 0: the validation_mae of epoch 1 is"):
        run_study(cluster, make_plan(tmp_path, GRID, sampler="grid"), Heard(), epochs)


def test_a_full_disk_in_a_trial_ends_the_study_which_then_goes_on(cluster: Cluster, tmp_path: Path):
    def epochs(run: TrainingRun) -> Iterator[dict[str, float]]:
        from brainage_ray.errors import NoSpaceError

        yield {"validation_mae": 4.0}
        if not (freed := run.folder.parents[2] / "freed").exists():
            freed.touch()
            raise NoSpaceError("no space is left", "Free some.")
        yield {"validation_mae": 3.0}

    plan = make_plan(tmp_path, LR_RANGE, epochs=2, trials=2, max_concurrent=1)
    with pytest.raises(NoSpaceError, match=r"^no space is left. Free some.$"):
        run_study(cluster, plan, Heard(), epochs)
    assert by_number(load_study_result(plan.folder)) == {0: "running"}
    assert by_number(run_study(cluster, plan, Heard(), epochs)) == {0: "complete", 1: "complete"}


def test_an_error_of_the_driver_is_raised_as_itself(cluster: Cluster, tmp_path: Path):
    class Full(Heard):
        def epoch(self, key: str, epoch: int, metrics: Mapping[str, float]) -> None:
            raise NoSpaceError("no space is left on the disk of the runs", "Free some.")

    with pytest.raises(NoSpaceError, match=r"^no space is left on the disk of the runs"):
        run_study(cluster, make_plan(tmp_path, LR_RANGE, trials=2), Full(), valley())


class Growing(Cluster):
    """Has as many places as it was asked for."""

    asked = 0

    def places(self, cpus: float, gpus: float, wanted: int = 1, memory: float = 0) -> int:
        self.asked = wanted
        return wanted


@pytest.mark.parametrize(("max_concurrent", "at_once"), [(None, 12), (5, 5), (20, 12)])
def test_a_growing_cluster_is_asked_for_a_place_per_trial(tmp_path: Path, max_concurrent: int | None, at_once: int):
    plan, growing = make_plan(tmp_path, LR_RANGE, max_concurrent=max_concurrent), Growing()
    assert concurrent_trials(growing, plan, 12) == growing.asked == at_once


def test_a_trial_that_fits_nowhere_is_refused_at_once(cluster: Cluster, tmp_path: Path):
    with pytest.raises(EngineError, match=r"wants 64 CPUs, 0 GPUs on one node.*has 2 CPUs and 0 GPUs.*cpus_per_trial"):
        run_study(cluster, make_plan(tmp_path, LR_RANGE, cpus=64), Heard(), valley())


DRIVER = """
import signal, sys
from pathlib import Path
from engine_plans import LR_RANGE, Heard, make_plan
from brainage_ray.execution import Cluster, run_study

def source():
    def epochs(run):
        import time
        study, trial = run.folder.parents[2], run.folder.parent.name
        for epoch in range(2):
            time.sleep(0.15)
            while int(trial) > 8 and not (study / "go").exists():
                time.sleep(0.05)  # a driver that is to be killed never gets to the end
            if epoch == 1:
                with (study / "ends").open("a") as ends:
                    ends.write(trial + "\\n")
            yield {"validation_mae": 5.0}
    return epochs

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that starts the tests with "&" has it ignored
plan = make_plan(Path(sys.argv[1]), LR_RANGE, epochs=2, trials=12, sampler="random")
with Cluster(cpus=2, gpus=0, folder=Path(sys.argv[2])) as cluster:
    print(len(run_study(cluster, plan, Heard(), source()).trials))
"""


def start_driver(folder: Path, sockets: Path) -> subprocess.Popen[str]:
    search = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(search)}
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(folder), str(sockets)], cwd=folder, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait_for(done: int, folder: Path, driver: subprocess.Popen[str]) -> StudyResult:
    while True:
        assert driver.poll() is None, driver.communicate()
        result = load_study_result(folder / "study")
        if result and sum(trial.state == "complete" for trial in result.trials) >= done:
            return result
        time.sleep(0.05)


def children(pid: int) -> list[int]:
    try:
        found = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:  # it has ended
        return []
    return found + [below for child in found for below in children(child)]


def wait_for_end(pids: list[int]) -> None:
    deadline = time.monotonic() + 120
    while left := [name for pid in pids if (name := process_name(pid)) and not name.endswith("Agent")]:
        assert time.monotonic() < deadline, f"{left} outlived their driver"
        time.sleep(0.1)


def process_name(pid: int) -> str:
    """Name of a process, "" for a dead one; Ray's two agents look for a lost raylet for a minute, then end."""
    try:
        dead = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        return "" if dead else Path(f"/proc/{pid}/cmdline").read_text().split("\0")[0]
    except OSError:
        return ""


def test_a_process_that_has_ended_has_no_children():
    assert children(2**22 + 1) == []  # above Linux's largest process id


@pytest.mark.slow
def test_a_driver_that_is_interrupted_and_killed_loses_no_trial(tmp_path: Path, short_folder: Path):
    for number, done in ((signal.SIGINT, 2), (signal.SIGKILL, 5)):
        driver = start_driver(tmp_path, short_folder)
        wait_for(done, tmp_path, driver)
        processes = children(driver.pid)
        driver.send_signal(number)
        _, errors = driver.communicate(timeout=120)
        assert driver.returncode == (-signal.SIGKILL if number == signal.SIGKILL else -signal.SIGINT)
        assert ("KeyboardInterrupt" in errors) == (number == signal.SIGINT)
        wait_for_end(processes)
        partial = load_study_result(tmp_path / "study")
        assert {trial.state for trial in partial.trials} <= {"complete", "running"}
        assert not partial.done
        ends = (tmp_path / "study" / "ends").read_text().split()
    answered = {trial.number: trial for trial in partial.trials if trial.state == "complete"}
    (tmp_path / "study" / "go").touch()
    output, errors = (driver := start_driver(tmp_path, short_folder)).communicate(timeout=300)
    assert (output, errors, driver.returncode) == ("12\n", "", 0)
    result = load_study_result(tmp_path / "study")
    assert by_number(result) == dict.fromkeys(range(12), "complete")
    assert len({trial.params[LR] for trial in result.trials}) == 12
    assert {number: result.trials[number] for number in answered} == answered
    more = (tmp_path / "study" / "ends").read_text().split()[len(ends) :]
    assert sorted(map(int, more)) == sorted(set(range(12)) - set(answered))
