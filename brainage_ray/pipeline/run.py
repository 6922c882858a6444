"""The science in order; each stage does only what is not done yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from brainage_ray.config import Experiment
from brainage_ray.evaluation.summary import Summary
from brainage_ray.pipeline.evaluate import evaluate
from brainage_ray.pipeline.imported import check_local_weights
from brainage_ray.pipeline.preflight import preflight, preflight_here
from brainage_ray.pipeline.prepare import prepare
from brainage_ray.pipeline.pretrain import pretrain
from brainage_ray.pipeline.progress import Progress, Silent
from brainage_ray.pipeline.publish import publish
from brainage_ray.pipeline.refit import refit
from brainage_ray.pipeline.report import make_page
from brainage_ray.pipeline.results import Results
from brainage_ray.pipeline.search import search
from brainage_ray.pipeline.servers import Servers
from brainage_ray.pipeline.session import open_session
from brainage_ray.pipeline.stages import check_stage
from brainage_ray.pipeline.starting_points import check_first_trials
from brainage_ray.pipeline.statistics import analyse_results
from brainage_ray.pipeline.workspace import opened_workspace


@dataclass(frozen=True)
class ExperimentResult:
    """What an experiment came to."""

    experiment: str
    folder: Path
    champion: str
    """The arm that is taken where one is wanted: chosen on the validation split."""
    verdict: str
    """Whether it is better than the other arms there, as a sentence."""
    summary: Summary
    validation_mae: Mapping[str, float]
    """Of each arm's chosen settings, years; over fresh seeds where its finalists were trained again."""
    page: Path | None
    """report/index.html; None where the run ended before the report."""
    leak: str = ""
    """A sentence for a note under every table where people leak, as published; else empty."""


def run_experiment(
    experiment: Experiment,
    workspace: Path | str,
    address: str | None = None,
    until: str = "report",
    progress: Progress | None = None,
    servers: Servers | None = None,
) -> ExperimentResult | None:
    """Run an experiment, or go on with it.

    Args:
        experiment: what to run.
        workspace: folder for everything that is made; or the URI of one, see docs/workspaces.md.
        address: of a Ray cluster; None for one on this machine, started when it is first needed.
        until: the last stage to run.
        progress: where bars are drawn.
        servers: for the studies of the search and for MLflow; None: the workspace's own files.

    Returns:
        The result, or None where the run ended before the evaluation.

    Raises:
        BrainageError: what failed; everything done before is kept.
    """
    check_stage(until)
    if until != "prepare":
        check_first_trials(experiment)
    progress = progress or Silent()
    with opened_workspace(workspace, experiment.name, progress.say) as folder:
        return _run(experiment, folder, address, until, progress, servers)


def _run(
    experiment: Experiment,
    workspace: Path,
    address: str | None,
    until: str,
    progress: Progress,
    servers: Servers | None,
) -> ExperimentResult | None:
    if address is None:
        preflight_here(experiment, workspace, until)
    with open_session(experiment, workspace, address, progress, servers) as session:
        preflight(session, until)
        if until != "prepare":
            check_local_weights(session)
        prepared = prepare(session)
        session.tracking.tags["data_hash"] = prepared.data_hash
        if until == "prepare":
            return None
        pretrained = pretrain(session, prepared)
        if until == "pretrain":
            return None
        searched = search(session, prepared, pretrained)
        if until == "search":
            return None
        models = refit(session, prepared, pretrained, searched.selected)
        if until == "refit":
            return None
        predictions, summary = evaluate(session, prepared, models)
        statistics = partial(analyse_results, session)
        verdict = searched.judge(experiment)
        results = Results(prepared, pretrained, searched, verdict, models, predictions, summary, statistics)
        new = publish(session, results)
        page = make_page(session, results, again=new) if until == "report" else None
        validation = {arm: chosen.validation_mae for arm, chosen in searched.selected.items()}
        return ExperimentResult(
            experiment.name,
            session.folder,
            verdict.champion,
            verdict.sentence,
            summary,
            validation,
            page,
            prepared.audit.leak_sentence,
        )
