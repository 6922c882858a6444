"""Stage 3: one study per arm, on the validation split alone."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from brainage_ray.config import ArmConfig, Experiment, TrainingRun, most_epochs
from brainage_ray.data import atomic_write
from brainage_ray.data.node_files import send_now
from brainage_ray.evaluation.choice import Verdict
from brainage_ray.execution import (
    StudyPlan,
    StudyResult,
    TrialMemory,
    count_trials,
    load_plan_result,
    measure_trial,
    retell,
    run_study,
    settle,
)
from brainage_ray.pipeline.finalists import finalist_plan
from brainage_ray.pipeline.prepare import Prepared
from brainage_ray.pipeline.pretrain import Pretrained
from brainage_ray.pipeline.runs import this_commit
from brainage_ray.pipeline.select import Selected, select
from brainage_ray.pipeline.session import Session
from brainage_ray.pipeline.starting_points import first_trials
from brainage_ray.pipeline.verdict import judge_arms


@dataclass(frozen=True)
class Searched:
    """What the search of every arm found."""

    studies: dict[str, StudyResult] = field(default_factory=dict)
    finals: dict[str, StudyResult] = field(default_factory=dict)
    """Of the finalists, trained again with fresh seeds; no arm has any where search.finalists is 0."""
    selected: dict[str, Selected] = field(default_factory=dict)
    plans: dict[str, StudyPlan] = field(default_factory=dict)
    """Of the studies."""

    def add(self, plan: StudyPlan, study: StudyResult, again: StudyResult | None) -> None:
        """Take down what came of an arm, and choose.

        Raises:
            TrialFailed: nothing can be chosen.
        """
        chosen = select(plan, study, again)
        self.plans[plan.arm], self.studies[plan.arm], self.selected[plan.arm] = plan, study, chosen
        if again is not None:
            self.finals[plan.arm] = again

    def judge(self, experiment: Experiment) -> Verdict:
        """Say whether one of the arms, all of which were searched, is better than the others."""
        return judge_arms(experiment, self.plans, self.studies, self.selected)


def age_run(session: Session, prepared: Prepared, arm: ArmConfig) -> TrainingRun:
    """Return the training that an arm stands for, before a search or a seed changes it."""
    experiment = session.experiment
    return TrainingRun(
        task="age", backbone=arm.backbone, training=experiment.training, seed=experiment.search.seed,
        store=prepared.age.folder, store_hash=prepared.age.content_hash,
        aggregate=experiment.evaluation.aggregate,
        one_scan_per_subject=experiment.evaluation.one_scan_per_subject, folder=Path(), keep_weights=False,
        commit=this_commit(), delta_diagnosis="AD" if experiment.search.delta_is_objective else None,
    )  # fmt: skip


def study_plan(session: Session, prepared: Prepared, pretrained: Pretrained, name: str) -> StudyPlan:
    """Return all that the study of an arm needs; its folder is named by what it depends on."""
    experiment, arm = session.experiment, session.experiment.arms[name]
    run = age_run(session, prepared, arm)
    plan = StudyPlan(
        arm=name, run=run, search=experiment.search, folder=Path(), resources=experiment.resources,
        initial=pretrained.initial(arm.backbone, arm.pretraining), first=first_trials(experiment, name, run),
        experiment=experiment.name, storage=session.servers.storage,
    )  # fmt: skip
    return replace(plan, folder=session.folder / "search" / f"{name}-{plan.key}")


def search(session: Session, prepared: Prepared, pretrained: Pretrained) -> Searched:
    """Search every arm, and train its finalists again, one arm after the other.

    Raises:
        TrialFailed: no trial of an arm was trained to its end.
    """
    found = Searched()
    for name in session.experiment.arms:
        plan = study_plan(session, prepared, pretrained, name)
        study = _finished(session, plan) or _run(session, plan, f"search {name}")
        last = finalist_plan(plan, study)
        again = None if last is None else _finished(session, last) or _run(session, last, f"finalists {name}")
        found.add(plan, study, again)
    return found


def _finished(session: Session, plan: StudyPlan) -> StudyResult | None:
    study = load_plan_result(plan)
    # one that came to nothing goes to run_study, which says what to do
    if study is None or not study.done or not any(trial.state == "complete" for trial in study.trials):
        return None
    if session.tracking.behind:
        retell(plan, session.tracking)
    return study


def _run(session: Session, plan: StudyPlan, name: str) -> StudyResult:
    send_now()
    plan, note = settle(plan, _memory(session, plan))
    if note:
        session.progress.say(note)
    # Trials of earlier starts are told again, and count as done.
    epochs = most_epochs(plan.run, plan.search.space)
    with session.bar(name, count_trials(plan) * epochs, "epochs"):
        study = run_study(session.cluster, plan, session.recorder({}, epochs))
    if study.ended:
        session.progress.say(f"{name}: ended by its budget: {study.ended}")
    return study


def _memory(session: Session, plan: StudyPlan) -> TrialMemory:
    """Return what a trial takes: measured once for each kind of processor, and kept beside the study."""
    workers, held = plan.search.workers_per_trial, plan.resources
    file = plan.folder / f"memory-{'gpu' if held.gpus_of_trial(workers) else 'cpu'}.json"
    if file.is_file():
        return TrialMemory(**json.loads(file.read_text()))
    if held.memory_gib_per_trial is not None and not 0 < held.gpus_per_trial < 1:
        return TrialMemory(0)  # stated, and nobody shares a GPU
    memory = measure_trial(session.cluster, plan)
    with atomic_write(file) as out:
        out.write(json.dumps(asdict(memory)).encode())
    return memory
