"""Stage 3: one study per arm, on the validation split alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from brainage_ray.config import ArmConfig, TrainingRun
from brainage_ray.execution import StudyPlan, StudyResult, count_trials, load_study_result, retell, run_study
from brainage_ray.pipeline.prepare import Prepared
from brainage_ray.pipeline.pretrain import Pretrained
from brainage_ray.pipeline.runs import this_commit
from brainage_ray.pipeline.select import Selected, select
from brainage_ray.pipeline.session import Session


@dataclass(frozen=True)
class Searched:
    """What the search of every arm found."""

    studies: dict[str, StudyResult]
    selected: dict[str, Selected]


def age_run(session: Session, prepared: Prepared, arm: ArmConfig) -> TrainingRun:
    """Return the training that an arm stands for, before a search or a seed changes it."""
    experiment = session.experiment
    return TrainingRun(
        task="age", backbone=arm.backbone, training=experiment.training, seed=experiment.search.seed,
        store=prepared.age.folder, store_hash=prepared.age.content_hash,
        aggregate=experiment.evaluation.aggregate,
        one_scan_per_subject=experiment.evaluation.one_scan_per_subject, folder=Path(), keep_weights=False,
        commit=this_commit(),
    )  # fmt: skip


def study_plan(session: Session, prepared: Prepared, pretrained: Pretrained, name: str) -> StudyPlan:
    """Return all that the study of an arm needs; its folder is named by what it depends on."""
    arm = session.experiment.arms[name]
    plan = StudyPlan(
        arm=name, run=age_run(session, prepared, arm), search=session.experiment.search, folder=Path(),
        resources=session.experiment.resources, initial=pretrained.initial(arm.backbone, arm.pretraining),
    )  # fmt: skip
    return replace(plan, folder=session.folder / "search" / f"{name}-{plan.key}")


def search(session: Session, prepared: Prepared, pretrained: Pretrained) -> Searched:
    """Search every arm, one after the other.

    Raises:
        TrialFailed: no trial of an arm was trained to its end.
    """
    found = Searched({}, {})
    for name in session.experiment.arms:
        plan = study_plan(session, prepared, pretrained, name)
        found.studies[name] = _finished(session, plan) or _run(session, plan)
        found.selected[name] = select(name, found.studies[name])
    return found


def _finished(session: Session, plan: StudyPlan) -> StudyResult | None:
    study = load_study_result(plan.folder, count_trials(plan))
    if study is None or not study.done:
        return None
    if session.tracking.behind:
        retell(plan, session.tracking)
    return study


def _run(session: Session, plan: StudyPlan) -> StudyResult:
    # Trials of earlier starts are told again, and count as done.
    with session.bar(f"search {plan.arm}", count_trials(plan) * plan.run.epochs, "epochs"):
        return run_study(session.cluster, plan, session.recorder({}, plan.run.epochs))
