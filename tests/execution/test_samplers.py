"""Every sampler and scheduler that an experiment can name, on real studies."""

from __future__ import annotations

import math
import pickle
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from engine_plans import BATCH, GRID, LR, LR_RANGE, make_plan

from brainage_ray.errors import UnsafeFileError
from brainage_ray.execution import StudyPlan, StudyResult
from brainage_ray.execution.samplers import STARTUP_TRIALS, make_sampler
from brainage_ray.execution.study import OpenTrial, Study

DECAY = "training.optimizer.weight_decay"
TWO_RANGES = {**LR_RANGE, DECAY: {"type": "float", "low": 1.0e-6, "high": 1.0e-1, "log": True}}
SEVERAL = ("validation_mae", "validation_delta_auc")
SAMPLERS = ["random", "tpe", "gp", "cmaes"]


def valley(trial: OpenTrial, epoch: int = 1) -> float:
    """Lowest, 3 years, at a rate and a decay of 1e-3; falls with the epochs."""
    return 3 + sum(abs(math.log10(trial.params[path]) + 3) for path in (LR, DECAY)) + 1 / epoch


def run_all(plan: StudyPlan, stop_after: int | None = None) -> StudyResult:
    with Study(plan) as study:
        while (trial := study.ask()) is not None and trial.number != stop_after:
            run_one(study, trial)
        return study.result()


def run_one(study: Study, trial: OpenTrial) -> None:
    stopped = any(study.report(trial, epoch, [valley(trial, epoch)]) for epoch in range(1, trial.epochs + 1))
    study.tell(trial, "pruned" if stopped else "complete", 0.1)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_cut_study_draws_what_a_whole_one_draws(tmp_path: Path, sampler: str):
    plan = make_plan(tmp_path / "whole", TWO_RANGES, sampler=sampler, trials=16)
    whole = run_all(plan)
    cut = replace(plan, folder=tmp_path / "cut" / "study")
    for killed_at in (6, 12):  # with this trial in flight
        assert len(run_all(cut, killed_at).trials) == killed_at + 1
    assert run_all(cut).trials == whole.trials


@pytest.mark.parametrize("sampler", ["tpe", "gp", "cmaes"])
def test_what_learns_finds_better_than_its_random_start(tmp_path: Path, sampler: str):
    trials = run_all(make_plan(tmp_path, TWO_RANGES, sampler=sampler, trials=40)).trials
    start, after = ([t.best_value for t in part] for part in (trials[:STARTUP_TRIALS], trials[STARTUP_TRIALS:]))
    assert sorted(after)[len(after) // 2] < sorted(start)[len(start) // 2]
    assert min(after) < min(start)


@pytest.mark.parametrize("sampler", ["nsga2", "tpe", "gp", "random"])
def test_a_study_of_two_objectives_tells_both(tmp_path: Path, sampler: str):
    plan = make_plan(tmp_path, TWO_RANGES, sampler=sampler, trials=24, objective=SEVERAL, smooth_epochs=1, epochs=2)
    with Study(plan) as study:
        while (trial := study.ask()) is not None:
            for epoch in (1, 2):
                assert not study.report(trial, epoch, [valley(trial, epoch)], min(1.0, trial.params[LR] * epoch))
            study.tell(trial, "complete", 0.1)
        result = study.result()
    kept = optuna.load_study(study_name=None, storage=_journal(plan.folder))
    assert [direction.name for direction in kept.directions] == ["MINIMIZE", "MAXIMIZE"]
    assert [tuple(trial.values) for trial in kept.trials] == [(t.best_value, t.delta_auc) for t in result.trials]
    assert all(t.best_epoch == 2 and t.delta_auc == min(1.0, t.params[LR] * 2) for t in result.trials)
    assert len(kept.best_trials) < 24


def _journal(folder: Path) -> optuna.storages.JournalStorage:
    return optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(folder / "study.journal")))


@pytest.mark.parametrize("scheduler", ["asha", "hyperband", "median"])
def test_a_scheduler_stops_the_poor_and_never_the_best(tmp_path: Path, scheduler: str):
    plan = make_plan(tmp_path, TWO_RANGES, epochs=8, sampler="random", scheduler=scheduler, trials=40, grace_epochs=2)
    trials = run_all(plan).trials
    stopped = [trial for trial in trials if trial.state == "pruned"]
    assert 5 < len(stopped) < 40
    assert min(trials, key=valley_of).state == "complete"
    assert all(len(trial.values) >= 2 for trial in trials)
    assert sum(map(valley_of, stopped)) / len(stopped) > sum(map(valley_of, trials)) / len(trials)


def valley_of(trial) -> float:
    return sum(abs(math.log10(trial.params[path]) + 3) for path in (LR, DECAY))


def test_the_brackets_of_hyperband_have_their_own_first_rung(tmp_path: Path):
    plan = make_plan(tmp_path, TWO_RANGES, epochs=8, sampler="random", scheduler="hyperband", trials=60, grace_epochs=1)
    stops = {len(trial.values) for trial in run_all(plan).trials if trial.state == "pruned"}
    assert stops <= {1, 2, 4}
    first_rung = {1, 2, 4, 8}  # of four brackets; the last stops nothing
    assert len(stops) >= 2
    assert stops < first_rung


def test_a_trial_that_is_tried_again_stays_in_its_bracket(tmp_path: Path):
    search = {"sampler": "random", "scheduler": "hyperband", "grace_epochs": 1}
    plan = make_plan(tmp_path, TWO_RANGES, epochs=8, trials=24, **search)
    whole = run_all(replace(plan, folder=tmp_path / "whole" / "study"))
    for killed_at in (3, 4, 11, 17):
        run_all(plan, killed_at)
    assert run_all(plan).trials == whole.trials


def test_the_first_trials_are_those_that_were_asked_for(tmp_path: Path):
    plan = replace(make_plan(tmp_path, TWO_RANGES, trials=4), first=({LR: 1.0e-3, DECAY: 1.0e-4}, {LR: 1.0e-2}))
    with Study(plan) as study:
        one, two, three = study.ask(), study.ask(), study.ask()
    assert one.params == {LR: 1.0e-3, DECAY: 1.0e-4}
    assert two.params[LR] == 1.0e-2
    assert two.params[DECAY] != one.params[DECAY]
    assert three.params[LR] not in (1.0e-3, 1.0e-2)
    with Study(plan) as study:  # cut off, they are put again
        assert study.ask().params == one.params


def test_a_constant_is_told_to_optuna(tmp_path: Path):
    space = {**LR_RANGE, BATCH: {"type": "constant", "value": 32}}
    plan = make_plan(tmp_path, space, trials=2, sampler="tpe")
    with Study(plan) as study:
        assert study.ask().params[BATCH] == 32
    grid = make_plan(tmp_path / "grid", {LR: GRID[LR], BATCH: {"type": "constant", "value": 32}}, sampler="grid")
    with Study(grid) as study:
        assert study.wanted == 3
        assert study.ask().params == {LR: 1.0e-3, BATCH: 32}


def test_code_in_the_optimizer_that_a_study_keeps_is_not_run(tmp_path):
    """Optuna pickles CMA-ES's state into the study: who can write the study could run code in the driver."""

    class Harm:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "made",))

    space = {name: optuna.distributions.FloatDistribution(0, 1) for name in "ab"}
    study = optuna.create_study(
        sampler=make_sampler(make_plan(tmp_path, TWO_RANGES, sampler="cmaes", trials=9).search, 0, None)
    )
    kept = study.sampler._split_optimizer_str(pickle.dumps(Harm()).hex())
    for number in range(STARTUP_TRIALS):
        params = {"a": number / STARTUP_TRIALS, "b": 0.5}
        study.add_trial(optuna.create_trial(params=params, distributions=space, value=1.0, system_attrs=kept))
    with pytest.raises(UnsafeFileError, match=r"trial 9 of the study holds more than numbers: it calls for"):
        study.ask(space)
    assert not (tmp_path / "made").exists()
