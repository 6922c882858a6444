"""Is one arm better than the others, by what their chosen trials read in the validation split?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from brainage_ray.config import Experiment, apply_params
from brainage_ray.evaluation.arms import ArmComparison, compare_arms
from brainage_ray.evaluation.choice import Verdict, declare_winner
from brainage_ray.execution import StudyPlan, StudyResult
from brainage_ray.models import count_weights
from brainage_ray.pipeline.select import Selected, source
from brainage_ray.pipeline.validation import Reading, read_trial


def judge_arms(
    experiment: Experiment,
    plans: Mapping[str, StudyPlan],
    studies: Mapping[str, StudyResult],
    selected: Mapping[str, Selected],
) -> Verdict:
    """Compare the arms over people and seeds on the validation split, see evaluation.choice.declare_winner.

    With search.choice: one_standard_error the champion is the cheapest arm that no other was told better than: fewest
    weights, then stages of pre-training, then epochs. With best it is the one with the lowest MAE of these.

    Args:
        experiment: whose arms they are.
        plans: of the arms' studies.
        studies: what came of them.
        selected: what was chosen.
    """
    readings = validation_readings(plans, studies, selected)
    comparisons = _compare(experiment, readings) if len(readings) == len(selected) > 1 else ()
    maes = {arm: chosen.validation_mae for arm, chosen in selected.items()}
    simple = experiment.search.choice == "one_standard_error"
    costs = {arm: _cost(experiment, plans[arm], chosen) for arm, chosen in selected.items()} if simple else None
    return declare_winner(maes, comparisons, costs)


def validation_readings(
    plans: Mapping[str, StudyPlan], studies: Mapping[str, StudyResult], selected: Mapping[str, Selected]
) -> dict[str, Reading]:
    """Return what each arm's chosen trial read in the validation split; without arms whose files are gone.

    Where finalists were trained again, it is what the fresh seeds read: those that the choice was made on.
    """
    found = {}
    for arm, chosen in selected.items():
        plan, number = source(plans[arm], studies[arm], chosen)
        found[arm] = read_trial(plan, number, chosen.params, chosen.epochs)
    return {arm: reading for arm, reading in found.items() if reading is not None}


def _compare(experiment: Experiment, readings: Mapping[str, Reading]) -> tuple[ArmComparison, ...]:
    predicted = {arm: reading.predicted() for arm, reading in readings.items()}
    first = next(iter(predicted.values()))
    ages = {arm: one.brain_ages for arm, one in predicted.items()}
    statistics = experiment.statistics
    return compare_arms(ages, first.age, np.asarray(first.scans["person"]), statistics.draws, statistics.seed)


def _cost(experiment: Experiment, plan: StudyPlan, chosen: Selected) -> tuple[float, ...]:
    run = apply_params(plan.run, chosen.params)
    stages = len(experiment.arms[plan.arm].pretraining)
    return count_weights(run.backbone, run.training), stages, chosen.epochs
