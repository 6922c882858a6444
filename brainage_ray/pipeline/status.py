"""How far an experiment is: the keys that a run would use, looked up; nothing is started or written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from brainage_ray.config import Experiment, FitResult, SegmentationPretraining
from brainage_ray.errors import TrialFailed
from brainage_ray.execution import (
    Cluster,
    Job,
    StudyPlan,
    StudyResult,
    TrialResult,
    best_complete,
    count_trials,
    load_plan_result,
)
from brainage_ray.pipeline.chains import Node, chains
from brainage_ray.pipeline.evaluate import prediction_file, read_evaluation
from brainage_ray.pipeline.finalists import finalist_plan
from brainage_ray.pipeline.fitted import FittedModel
from brainage_ray.pipeline.imported import imported
from brainage_ray.pipeline.plan_rows import trials_of
from brainage_ray.pipeline.prepare import Prepared, find_prepared
from brainage_ray.pipeline.pretrain import Pretrained, encoder_of, segmentation_jobs
from brainage_ray.pipeline.progress import Silent
from brainage_ray.pipeline.refit import refit_jobs
from brainage_ray.pipeline.report import PAGE, page_is_current
from brainage_ray.pipeline.results import Results
from brainage_ray.pipeline.search import Searched, study_plan
from brainage_ray.pipeline.select import Selected
from brainage_ray.pipeline.servers import Servers
from brainage_ray.pipeline.session import Session, Tracking, make_tracker
from brainage_ray.pipeline.statistics import analyse_results
from brainage_ray.training import read_result


@dataclass(frozen=True)
class StatusRow:
    """How far one part of a stage is."""

    stage: str
    what: str
    done: int
    total: int
    note: str = ""


def read_status(experiment: Experiment, workspace: Path, storage: str | None = None) -> list[StatusRow]:
    """Return how far each stage is; a stage whose inputs are not there yet has nothing done.

    Raises:
        EngineError: the storage of a study cannot be read.
    """
    tracking = Tracking(make_tracker(experiment, workspace))
    session = Session(experiment, workspace, Cluster(), tracking, Silent(), Servers(storage))
    return list(_rows(session))


def _rows(session: Session) -> Iterator[StatusRow]:
    prepared = find_prepared(session)
    yield StatusRow("prepare", "store", int(prepared is not None), 1, _counts(prepared))
    pretrained = Pretrained({}, {})
    for node in (node for level in chains(session.experiment) for node in level):
        yield _pretraining(session, prepared, pretrained, node)
    searched = Searched()
    for arm in session.experiment.arms:
        yield from _search(session, prepared, pretrained, arm, searched)
    models: list[FittedModel] = []
    for arm in session.experiment.arms:
        yield _refit(session, prepared, pretrained, arm, searched.selected, models)
    evaluation = _evaluation(session, prepared, models)
    yield evaluation
    known = len(searched.selected) == len(session.experiment.arms)
    verdict = searched.judge(session.experiment) if known else None
    note = f"chosen on validation: {verdict.champion}. {verdict.sentence}" if verdict else ""
    current = False
    if (
        prepared is not None
        and verdict is not None
        and evaluation.done == evaluation.total
        and (session.folder / PAGE).is_file()
    ):
        evaluated = read_evaluation(session, prepared, models)
        statistics = partial(analyse_results, session)
        results = Results(prepared, pretrained, searched, verdict, models, *evaluated, statistics)
        current = page_is_current(session, results)
    yield StatusRow("report", "page", int(current), 1, note)


def _counts(prepared: Prepared | None) -> str:
    if prepared is None:
        return ""
    counts = prepared.ledger["status"].value_counts()
    return ", ".join(f"{counts[status]} {status}" for status in ("done", "failed", "excluded") if status in counts)


def _pretraining(session: Session, prepared: Prepared | None, known: Pretrained, node: Node) -> StatusRow:
    config = session.experiment.pretraining[node.chain[-1]]
    if not isinstance(config, SegmentationPretraining):
        weights = imported(session, config, node)
        known.weights.update({node: weights} if weights else {})
        return StatusRow("pretrain", node.label, int(weights is not None), 1)
    if prepared is None or prepared.segmentation is None or not _has(known, node, node.chain[:-1]):
        return StatusRow("pretrain", node.label, 0, config.seeds)
    fits = _results(segmentation_jobs(session, prepared, config, node, known))
    if len(fits) == config.seeds:
        known.weights[node] = tuple(encoder_of(fit) for fit in fits)
    dice = [fit.curve[-1]["validation_dice_mean"] for fit in fits if "validation_dice_mean" in fit.curve[-1]]
    return StatusRow("pretrain", node.label, len(fits), config.seeds, f"Dice {max(dice):.3f}" if dice else "")


def _has(known: Pretrained, node: Node, chain: tuple[str, ...]) -> bool:
    return not chain or Node(node.backbone, chain) in known.weights


def _results(jobs: list[Job]) -> list[FitResult]:
    return [fit for job in jobs if (fit := read_result(job.run)) is not None]


def _search(
    session: Session, prepared: Prepared | None, known: Pretrained, name: str, found: Searched
) -> Iterator[StatusRow]:
    arm, search = session.experiment.arms[name], session.experiment.search
    last = StatusRow("finalists", name, 0, search.finalists)
    if prepared is None or (arm.pretraining and Node(arm.backbone, arm.pretraining) not in known.weights):
        yield StatusRow("search", name, 0, trials_of(session.experiment, name))
    else:
        plan = study_plan(session, prepared, known, name)
        study, row = _study(plan, StatusRow("search", name, 0, count_trials(plan)))
        final = finalist_plan(plan, study) if study else None
        again, last = _study(final, replace(last, total=count_trials(final))) if final else (None, last)
        try:
            if study and (again or not final):
                found.add(plan, study, again)
        except TrialFailed as error:
            row = replace(row, note=error.problem)
        yield row
    if search.finalists:
        chosen = found.selected.get(name)
        yield replace(last, note=f"trial {chosen.trial}: {chosen.validation_mae:.2f} years" if chosen else last.note)


def _study(plan: StudyPlan, row: StatusRow) -> tuple[StudyResult | None, StatusRow]:
    """Return what came of a study, None where it is not through, and how far it is."""
    study = load_plan_result(plan)
    if study is None:
        return None, row
    done = sum(trial.state != "running" for trial in study.trials)
    notes = [_best(study.trials), _counts_of(study.trials)]
    notes += [f"ended by its budget: {study.ended}"] if study.ended else []
    return study if study.done else None, replace(row, done=done, note="; ".join(filter(None, notes)))


def _best(trials: Sequence[TrialResult]) -> str:
    """Say what is best as the choice sees it: of the trials that were trained to their end, while there are some."""
    best = best_complete(trials)
    if best is not None:
        return f"best {best:.2f} years"
    values = [min(trial.values) for trial in trials if trial.values]
    return f"no trial complete, lowest so far {min(values):.2f} years" if values else ""


def _counts_of(trials: Sequence[TrialResult]) -> str:
    """Count the trials that did not end well, and the epochs of those that are not over."""
    states = Counter(trial.state for trial in trials)
    epochs = sum(len(trial.values) for trial in trials if trial.state == "running")
    so_far = f" after {epochs} epochs" if epochs else ""
    counted = [
        (states["pruned"], "stopped early"), (states["failed"], "failed"), (states["running"], f"not over{so_far}"),
    ]  # fmt: skip
    return ", ".join(f"{count} {said}" for count, said in counted if count)


def _refit(
    session: Session,
    prepared: Prepared | None,
    known: Pretrained,
    arm: str,
    selected: dict[str, Selected],
    models: list[FittedModel],
) -> StatusRow:
    total = len(session.experiment.refit.seeds)
    if prepared is None or arm not in selected:
        return StatusRow("refit", arm, 0, total)
    jobs = refit_jobs(session, prepared, known, arm, selected[arm])
    found = [FittedModel(arm, seed, job.run, fit) for seed, job in jobs.items() if (fit := read_result(job.run))]
    models += found
    return StatusRow("refit", arm, len(found), total)


def _evaluation(session: Session, prepared: Prepared | None, models: list[FittedModel]) -> StatusRow:
    total = len(session.experiment.refit.seeds) * len(session.experiment.arms)
    done = sum(prediction_file(session, prepared, m).is_file() for m in models) if prepared else 0
    return StatusRow("evaluate", "models", done, total)
