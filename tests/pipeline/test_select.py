from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainage_ray.config import SearchConfig, SearchSpace, TrainingConfig, TrainingRun, UNetConfig
from brainage_ray.config.run import InitialWeights
from brainage_ray.errors import TrialFailed
from brainage_ray.execution import StudyPlan, StudyResult, TrialResult
from brainage_ray.execution.session import trial_info, trial_runs
from brainage_ray.pipeline.finalists import finalist_plan, seeds_of
from brainage_ray.pipeline.select import Selected, select, source

BATCH = "training.batch_size"
SPACE = SearchSpace.model_validate({"parameters": {BATCH: {"type": "int", "low": 1, "high": 99}}})


def plan_of(initial=(), **search) -> StudyPlan:
    run = TrainingRun(
        task="age", backbone=UNetConfig(kind="unet"), training=TrainingConfig(), seed=0,
        store=Path(), store_hash="", folder=Path(),
    )  # fmt: skip
    return StudyPlan("unet", run, SearchConfig(space=SPACE, **search), Path("study"), initial=initial)


def trial(number, best, state="complete", epoch=3, reason=""):
    return TrialResult(number, {BATCH: number + 1}, state, best_value=best, best_epoch=epoch, reason=reason)


def study(*trials):
    return StudyResult(trials, len(trials))


def test_the_lowest_complete_trial_is_taken_and_of_equals_the_first():
    found = select(plan_of(), study(trial(0, 5.0), trial(1, 4.0, epoch=7), trial(2, 4.0)))
    assert found == Selected(1, {BATCH: 2}, 7, 4.0, 4.0, (), "lowest MAE of 3 complete trials")
    assert found.optimism_years is None


def test_a_trial_that_was_stopped_early_cannot_be_chosen():
    assert select(plan_of(), study(trial(0, 3.0, "pruned"), trial(1, 4.0))).trial == 1


def test_without_a_complete_trial_the_reason_is_given():
    with pytest.raises(TrialFailed, match=r"No trial of arm unet .* the loss is nan"):
        select(plan_of(), study(trial(0, None, "failed", reason="the loss is nan")))


@given(st.lists(st.floats(0, 100), min_size=1, max_size=20), st.randoms())
def test_the_order_of_the_trials_does_not_matter(values, random):
    trials = [trial(i, value) for i, value in enumerate(values)]
    shuffled = random.sample(trials, len(trials))
    assert select(plan_of(), study(*shuffled)) == select(plan_of(), study(*trials))
    assert select(plan_of(), study(*trials)).validation_mae == min(values)


def test_of_two_objectives_the_reason_names_both():
    plan = plan_of(objective=("validation_mae", "validation_delta_auc"), choice="one_standard_error", sampler="nsga2")
    trials = [
        replace(trial(i, mae), delta_auc=auc) for i, (mae, auc) in enumerate([(4.0, 0.6), (4.0, 0.8), (5.0, 0.7)])
    ]
    found = select(plan, study(*trials))
    assert (found.trial, found.delta_auc) == (1, 0.8)
    assert found.why == (
        "lowest MAE of 3 complete trials, and any other within one standard error of it is beaten in MAE and AUC"
    )
    equal = select(plan, study(trials[1], replace(trials[1], number=4)))
    assert equal.why == (
        "largest AUC of the delta of 2 within one standard error of the lowest MAE that none beats in MAE and AUC, of "
        "2 complete trials"
    )


SEARCHED = study(trial(0, 5.0), trial(1, 3.0, epoch=9), trial(2, 4.0), trial(3, 1.0, "pruned"))


def test_the_fresh_seeds_choose_the_settings_and_the_epochs_and_both_values_are_kept():
    plan = plan_of(finalists=2, finalist_seeds=3, seeds_per_trial=2, seed=7)
    again = study(trial(0, 4.5, epoch=2), trial(1, 4.25, epoch=5))  # of the finalists: trials 1 and 2
    found = select(plan, SEARCHED, again)
    assert (found.trial, found.params, found.epochs) == (2, {BATCH: 3}, 5)
    assert (found.search_mae, found.validation_mae, found.optimism_years) == (4.0, 4.25, 0.25)
    assert found.fresh_seeds == (9, 10, 11)
    assert found.why == "lowest MAE of 2 finalists, mean over 3 fresh seeds"
    assert found.to_json()["optimism_years"] == 0.25
    assert source(plan, SEARCHED, found) == (finalist_plan(plan, SEARCHED), 1)


def test_a_finalist_that_fails_with_fresh_seeds_cannot_be_chosen():
    plan = plan_of(finalists=2)
    again = study(trial(0, None, "failed", reason="the loss is nan"), trial(1, 6.0))
    assert select(plan, SEARCHED, again).trial == 2
    with pytest.raises(TrialFailed, match=r"No finalist of arm unet .* the loss is nan"):
        select(plan, SEARCHED, study(again.trials[0]))


def test_finalists_are_the_best_complete_trials_with_seeds_and_weights_that_no_trial_had(tmp_path):
    weights = tuple(InitialWeights(path=tmp_path / f"{i}", sha256=f"{i}" * 64) for i in range(3))
    plan = plan_of(
        weights, finalists=2, finalist_seeds=2, seeds_per_trial=2, sampler="random", scheduler="asha", seed=4
    )
    last = finalist_plan(plan, SEARCHED)
    assert last.first == ({BATCH: 2}, {BATCH: 3})
    assert (last.search.trials, last.search.scheduler, last.search.objectives) == (2, "none", ("validation_mae",))
    used = {run.seed for run in trial_runs(plan, 0, {BATCH: 1})}
    runs = trial_runs(last, 0, last.first[0])
    assert not used & {run.seed for run in runs}
    assert [run.seed for run in runs] == list(seeds_of(last)) == [6, 7]
    assert [run.initial for run in runs] == [weights[2], weights[0]]
    assert all(run.training.batch_size == 2 for run in runs)
    assert last.folder.is_relative_to(plan.folder)
    info = trial_info(last, 1, last.first[1])
    assert (info.name, info.parent) == ("finalist-001", "unet/finalists")


def test_other_finalists_are_another_study_and_none_is_none():
    plan = plan_of(finalists=2)
    better = study(*SEARCHED.trials, trial(4, 2.0))
    assert finalist_plan(plan, better).folder != finalist_plan(plan, SEARCHED).folder
    assert finalist_plan(plan_of(), SEARCHED) is None
    assert len(finalist_plan(plan_of(finalists=9), SEARCHED).first) == 3
    assert finalist_plan(plan, study(trial(0, 1.0, "pruned"))) is None


def test_finalists_and_the_choice_change_nothing_that_the_trials_depend_on():
    assert plan_of(finalists=2, finalist_seeds=5, choice="one_standard_error").key == plan_of().key
