"""The search of one arm: an Optuna study whose trials Ray Tune places on the cluster."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from brainage_ray.data.files import SCRATCH
from brainage_ray.errors import EngineError, TrialFailed
from brainage_ray.execution.budget import check_result
from brainage_ray.execution.cluster import Cluster
from brainage_ray.execution.preflight import no_room, trial_demand
from brainage_ray.execution.results import StudyPlan, StudyResult
from brainage_ray.execution.study import Study, load_plan_result

if TYPE_CHECKING:
    from brainage_ray.execution.session import StudySession
    from brainage_ray.execution.trial import EpochSource
    from brainage_ray.training.recorder import Recorder


def run_study(cluster: Cluster, plan: StudyPlan, recorder: Recorder, epochs: EpochSource | None = None) -> StudyResult:
    """Run the trials of a study that have no answer yet.

    A study in the plan's folder goes on: its answered trials count, and those that were cut off are run again
    with the same parameters. A trial that ends with NaN is answered, as failed. One that raises, or whose process
    dies or hangs, goes on at once from its last checkpoint, until three tries came no further; and the next start
    tries it too where no trial is complete.

    Args:
        cluster: where the trials run; not started where all are answered.
        plan: the search.
        recorder: told of every trial, those of earlier starts included; of none where all are answered.
        epochs: what trains a run in place of brainage_ray.training.loop.epochs; is pickled.

    Returns:
        All trials of the study, each with an answer; and why the budget ended it, if it did.

    Raises:
        EngineError: a trial does not fit on the cluster; another process runs the study, or the folder holds
            another one; Tune stopped early.
        TrialFailed: no trial gave a value, or none was trained to its end within the budget.
        NoSpaceError: the disk of the study or of a trial is full.
    """
    with Study(plan) as study:
        if not study.result().done:
            _run_open_trials(cluster, plan, study, recorder, epochs)
        result = study.result()
        if not result.done:
            raise EngineError(
                f"Ray Tune left {study.open_places} of {study.wanted} trials of {plan.arm} undone",
                "Run again to go on; --debug shows what Ray says.",
            )
    check_result(plan, result)
    _check_some_succeeded(plan, result)
    return result


def retell(plan: StudyPlan, recorder: Recorder) -> None:
    """Tell a recorder of all answered trials of a study, where it may have missed some; starts nothing."""
    from brainage_ray.execution.session import replay

    result = load_plan_result(plan)
    if result is not None:
        replay(plan, result, recorder)


def concurrent_trials(cluster: Cluster, plan: StudyPlan, trials: int) -> int:
    """Count how many of so many trials of a plan run at once on a cluster.

    Raises:
        EngineError: not even one fits.
    """
    demand = trial_demand(plan.search, plan.resources)
    wanted = min(trials, plan.search.max_concurrent or trials)
    places = cluster.places(demand.cpus, demand.gpus, wanted * demand.processes, demand.memory)
    if places < demand.processes:
        where = f"the cluster has {cluster.resources()}"
        raise no_room(demand, where, places, "give the cluster more or larger nodes")
    return min(places // demand.processes, wanted)


def _run_open_trials(
    cluster: Cluster, plan: StudyPlan, study: Study, recorder: Recorder, epochs: EpochSource | None
) -> None:
    from brainage_ray.execution.population_session import PopulationSession
    from brainage_ray.execution.session import StudySession
    from brainage_ray.execution.trial_files import reserve

    kind = PopulationSession if plan.search.scheduler == "pbt" else StudySession
    session = kind(plan, study, recorder)
    try:
        session.replay()  # before Ray starts: who stops meanwhile is told what there is
        at_once = concurrent_trials(cluster, plan, study.open_places)
        if epochs is None:
            session.files.keep_free(reserve(plan, at_once))
        _tune(plan, session, at_once, epochs)
    finally:
        session.abandon()
        cluster.release()


def _tune(plan: StudyPlan, session: StudySession, at_once: int, epochs: EpochSource | None) -> None:
    from ray import tune  # seconds: only where there is work

    from brainage_ray.execution.searcher import StartingActors, StudySearcher, StudyStopper
    from brainage_ray.execution.silence import SilenceWatch

    scratch = plan.folder / SCRATCH
    tuner = tune.Tuner(
        _trainable(plan, epochs),
        tune_config=tune.TuneConfig(
            search_alg=StudySearcher(session),
            scheduler=StartingActors(),
            num_samples=-1,
            max_concurrent_trials=at_once,
            reuse_actors=True,
            trial_name_creator=lambda trial: f"trial-{trial.trial_id}",
            trial_dirname_creator=lambda trial: f"trial-{trial.trial_id}",
        ),
        run_config=tune.RunConfig(
            name="study",
            storage_path=str(scratch.absolute()),
            stop=StudyStopper(session),
            verbose=0,
            callbacks=[SilenceWatch(session, plan.search.hang_minutes)],
        ),
    )
    try:
        tuner.fit()
    except Exception:
        if session.problem is None:
            raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if session.problem is not None:  # itself: Tune raises the text of its traceback
        raise session.problem


def _trainable(plan: StudyPlan, epochs: EpochSource | None) -> Any:
    """Return what Tune makes of a trial, with what it holds."""
    from ray import tune

    from brainage_ray.execution.trial import TrialActor
    from brainage_ray.execution.wide import WideTrialActor, bundles

    demand = trial_demand(plan.search, plan.resources)
    if demand.processes > 1:
        return tune.with_resources(tune.with_parameters(WideTrialActor, epochs=epochs, demand=demand), bundles(demand))
    return tune.with_resources(tune.with_parameters(TrialActor, epochs=epochs), bundles(demand))


def _check_some_succeeded(plan: StudyPlan, result: StudyResult) -> None:
    failed = [trial for trial in result.trials if trial.state == "failed"]
    if failed and len(failed) == len(result.trials):
        raise TrialFailed(
            f"all {len(failed)} trials of {plan.arm} failed; trial {failed[0].number}: {failed[0].reason}",
            "Correct that, or widen the search space.",
        )
