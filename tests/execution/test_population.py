"""Population-based training: who goes on from whom, on values alone and with real processes."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from engine_plans import LR, LR_RANGE, Heard, make_plan
from hypothesis import given
from hypothesis import strategies as st
from training_stores import losses
from training_stores import make_run as tiny_run

from brainage_ray.config import BudgetConfig, TrainingRun
from brainage_ray.config.run import SettingsChange
from brainage_ray.data import SliceStore
from brainage_ray.errors import NoSpaceError, TrialFailed
from brainage_ray.execution import Cluster, StudyPlan, TrialResult, run_study
from brainage_ray.execution.population import Member, explore, generation_ends, next_generation
from brainage_ray.execution.session import trial_runs
from brainage_ray.execution.study import last_change
from brainage_ray.training import train

DECAY, NESTEROV = "training.optimizer.weight_decay", "training.optimizer.momentum"
SPACE = {
    **LR_RANGE,
    DECAY: {"type": "float", "low": 1.0e-6, "high": 1.0e-1, "log": True},
    NESTEROV: {"type": "categorical", "choices": [0.5, 0.9, 0.99]},
    "training.augmentation.translate_px": {"type": "int", "low": 0, "high": 4},
}
PBT = {"sampler": "random", "scheduler": "pbt"}


def members(count: int) -> dict[int, Member]:
    rng = random.Random(1)
    return {i: Member({LR: 10 ** rng.uniform(-5, -1)}) for i in range(count)}


def search_of(tmp_path: Path, space=LR_RANGE, **search):
    return make_plan(tmp_path, space, **{**PBT, "trials": 8, **search}).search


@pytest.mark.parametrize(
    ("epochs", "grace", "ends"), [(8, None, [2, 4, 6, 8]), (10, None, [3, 6, 9, 10]), (2, None, [1, 2]), (5, 5, [5])]
)
def test_generations_end_at_the_last_epoch(tmp_path: Path, epochs: int, grace: int | None, ends: list[int]):
    assert generation_ends(search_of(tmp_path, grace_epochs=grace), epochs) == ends


@pytest.mark.parametrize(("count", "leaving"), [(1, 0), (2, 1), (3, 1), (7, 1), (8, 2), (20, 5)])
def test_the_poorest_quarter_goes_on_from_the_best(tmp_path: Path, count: int, leaving: int):
    old, values = members(count), {i: float((7 * i) % count) for i in range(count)}
    new = next_generation(old, values, search_of(tmp_path), 3)
    ranked = sorted(values, key=lambda i: (values[i], i))
    moved = [i for i in new if new[i].parent != i]
    assert sorted(moved) == sorted(ranked[count - leaving :])
    assert all(new[i].parent in ranked[:leaving] for i in moved)
    for i in old:
        assert new[i].params == old[i].params
        if i not in moved:
            assert new[i] == replace(old[i], parent=i)


def test_a_lineage_tells_all_settings_from_the_first_epoch_on(tmp_path: Path):
    search = search_of(tmp_path)
    first = next_generation(members(4), {0: 1.0, 1: 2.0, 2: 3.0, 3: 4.0}, search, 2)
    assert first[3].changes[0] == SettingsChange(after_epoch=0, params=dict(first[0].params))
    assert first[3].changes[1].after_epoch == 2
    second = next_generation(first, {0: 4.0, 1: 2.0, 2: 3.0, 3: 1.0}, search, 4)
    run = make_plan(tmp_path, LR_RANGE, epochs=6).run.model_copy(update={"changes": second[0].changes})
    rates = [run.training_at(epoch).optimizer.lr for epoch in range(1, 7)]
    assert rates == [first[0].params[LR]] * 2 + [first[3].settings[LR]] * 2 + [second[0].settings[LR]] * 2


def test_the_seed_and_nothing_else_decides(tmp_path: Path):
    values = {i: float(i) for i in range(8)}
    one, two = (next_generation(members(8), values, search_of(tmp_path), 3) for _ in range(2))
    assert one == two
    other = next_generation(members(8), values, search_of(tmp_path, seed=1), 3)
    assert one[7].settings != other[7].settings


@given(st.integers(0, 10_000))
def test_what_is_explored_is_in_the_space(seed: int):
    space = make_plan(Path(), SPACE).search.space
    settings = {LR: 1.0e-5, DECAY: 0.1, NESTEROV: 0.99, "training.augmentation.translate_px": 4}
    for path, value in explore(settings, space, random.Random(seed)).items():
        assert space.parameters[path].nearest(value) == value
        assert type(value) is type(settings[path])


def slope(broken: tuple[int, ...] = ()) -> Callable[[TrainingRun], Iterator[dict[str, float]]]:
    """A training whose error falls by what its rate of the epoch is worth; trials that are named end with NaN."""

    def epochs(run: TrainingRun) -> Iterator[dict[str, float]]:
        import math

        error = 20.0
        for epoch in range(1, run.epochs + 1):
            error -= 2 - abs(math.log10(run.training_at(epoch).optimizer.lr) + 3)
            number = int(next(part for part in run.folder.parts[::-1] if part.isdigit()))
            bad = number in broken and epoch == 3
            yield {"validation_mae": math.nan if bad else error + 0.01 * run.seed, "train_loss": 1.0}

    return epochs


def from_scratch(plan: StudyPlan, trial: TrialResult) -> list[tuple[float, ...]]:
    """What the runs of a trial come to where its changes are all that is known of it."""
    runs = [run.model_copy(update={"changes": trial.changes}) for run in trial_runs(plan, trial.number, trial.params)]
    return list(zip(*([epoch["validation_mae"] for epoch in slope()(run)] for run in runs), strict=True))


@pytest.fixture
def plan(tmp_path: Path) -> StudyPlan:
    return make_plan(tmp_path, LR_RANGE, epochs=8, trials=8, seeds_per_trial=2, **PBT)


@pytest.mark.ray
def test_a_population_does_better_than_its_members_alone(cluster: Cluster, plan: StudyPlan):
    heard = Heard()
    result = run_study(cluster, plan, heard, slope())
    assert [trial.state for trial in result.trials] == ["complete"] * 8
    moved = [trial for trial in result.trials if trial.changes]
    assert len(moved) >= 2
    for trial in result.trials:
        assert list(trial.seed_values) == from_scratch(plan, trial)
    alone = [from_scratch(plan, replace(trial, changes=())) for trial in moved]
    assert sum(trial.values[-1] for trial in moved) < sum(sum(values[-1]) / 2 for values in alone)
    assert heard.states == ["complete"] * 8
    backend = optuna.storages.journal.JournalFileBackend(str(plan.folder / "study.journal"))
    kept = optuna.load_study(study_name=None, storage=optuna.storages.JournalStorage(backend))
    assert [trial.state.name for trial in kept.trials] == ["COMPLETE"] * 8
    for trial, told in zip(result.trials, kept.trials, strict=True):  # its value is of its own epochs
        assert trial.best_epoch > last_change(trial.changes)
        assert told.value == trial.best_value == told.intermediate_values[trial.best_epoch]
    tagged = [info.tags for info in heard.runs.values() if info.tags]
    assert len(tagged) == len(moved)
    assert run_study(Cluster(), plan, Heard()) == result  # starts nothing


@pytest.mark.ray
def test_a_population_that_is_cut_off_ends_as_if_it_had_not_been(cluster: Cluster, plan: StudyPlan, tmp_path: Path):
    class Full(Heard):
        def epoch(self, key: str, epoch: int, metrics) -> None:
            super().epoch(key, epoch, metrics)
            if epoch > self.until:
                raise NoSpaceError("no space is left", "Free some.")

        until = 0

    whole = run_study(cluster, plan, Heard(), slope(broken=(5,)))
    cut = replace(plan, folder=tmp_path / "cut" / "study")
    for until in (1, 4, 7):
        full = Full()
        full.until = until
        with pytest.raises(NoSpaceError):
            run_study(cluster, cut, full, slope(broken=(5,)))
    result = run_study(cluster, cut, Heard(), slope(broken=(5,)))
    assert result.trials[5].state == "failed"
    assert [replace(trial, seconds=0) for trial in result.trials] == [replace(t, seconds=0) for t in whole.trials]


@pytest.mark.ray
@pytest.mark.slow
def test_networks_that_go_on_from_others_are_those_of_their_changes(cluster: Cluster, ages: SliceStore, tmp_path: Path):
    rates = {LR: {"type": "float", "low": 1.0e-5, "high": 1.0e-2, "log": True}}
    plan = make_plan(tmp_path, rates, trials=4, grace_epochs=1, **PBT)
    plan = replace(plan, run=tiny_run(ages, tmp_path, {"max_epochs": 3}, keep_weights=False))
    result = run_study(cluster, plan, Heard())
    trial = next(trial for trial in result.trials if trial.changes)
    run = trial_runs(plan, trial.number, trial.params)[0].model_copy(
        update={"changes": trial.changes, "folder": tmp_path / "scratch"}
    )
    assert list(trial.values) == [epoch["validation_mae"] for epoch in losses(train(run).curve)]
    assert not list((plan.folder / "trials").glob("*/generation-*/*/checkpoint.pt"))
    assert len(list((plan.folder / "trials").glob("*/seed-0/validation_slices.npy"))) == 4


@pytest.mark.ray
def test_a_population_that_its_budget_ends_goes_on_with_a_larger_one(cluster: Cluster, plan: StudyPlan, tmp_path: Path):
    whole = run_study(cluster, plan, Heard(), slope())
    short = replace(plan, folder=tmp_path / "short" / "study")
    tight = replace(short, search=plan.search.model_copy(update={"budget": BudgetConfig(max_hours=1.0e-6)}))
    with pytest.raises(TrialFailed, match=r"ended before any of its .* search.budget.max_hours"):
        run_study(cluster, tight, Heard(), slope())
    result = run_study(cluster, short, Heard(), slope())
    assert [replace(trial, seconds=0) for trial in result.trials] == [replace(t, seconds=0) for t in whole.trials]
