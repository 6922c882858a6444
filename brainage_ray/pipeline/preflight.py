"""Before anything trains: does every stage fit on the cluster, the last one too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from brainage_ray.config import Experiment, RefitConfig, ResourcesConfig, SegmentationPretraining
from brainage_ray.errors import EngineError
from brainage_ray.execution import GIB, Demand, check_demands, check_here, trial_demand
from brainage_ray.pipeline.stages import STAGES

if TYPE_CHECKING:
    from brainage_ray.pipeline.session import Session  # which would load torch: a refusal takes a second


def preflight_here(experiment: Experiment, workspace: Path, until: str) -> None:
    """Refuse what this machine cannot place, in a moment: nothing is started and nothing written.

    One that has begun is not looked at: there may be nothing left to do.

    Raises:
        EngineError: a stage does not fit.
    """
    if not _has_begun(workspace / experiment.name):
        check_here(list(demands_of(experiment, until)))


def unplaceable(experiment: Experiment, until: str) -> str:
    """Return what this machine cannot place, as a sentence; "" where it can place all."""
    try:
        check_here(list(demands_of(experiment, until)))
    except EngineError as error:
        return error.problem
    return ""


def preflight(session: Session, until: str) -> None:
    """Refuse what the cluster cannot place, and nodes that will not do, as soon as there is a cluster.

    For a new experiment on a cluster that is at once.

    One that has begun joins no cluster for it: there may be nothing left to do; and one on this machine starts none:
    what `preflight_here` lets through fits but for the memory, which Ray shares out.

    Raises:
        EngineError: a stage does not fit on the cluster, now or after it has grown; or a node has other versions, no
            room on its disk, no driver.
    """
    demands = list(demands_of(session.experiment, until))
    session.cluster.when_connected(lambda: check_demands(session.cluster, demands))
    if session.cluster.address is None:
        return
    session.cluster.when_connected(lambda: _check_nodes(session))
    if not _has_begun(session.folder):
        session.cluster.connect()


def _check_nodes(session: Session) -> None:
    from brainage_ray.data.node_files import driver_uri
    from brainage_ray.pipeline.doctor import refuse_bad_nodes

    refuse_bad_nodes(session.cluster, driver_uri() or session.workspace)


def _has_begun(folder: Path) -> bool:
    return (folder / "store").exists()


def demands_of(experiment: Experiment, until: str = "report") -> Iterator[Demand]:
    """Yield what each stage up to `until` has to hold at the same time, in the order of the stages."""
    held, search = experiment.resources, experiment.search
    wanted = STAGES[: STAGES.index(until) + 1]
    yield Demand("the preparation of a scan", 1, held.cpus_per_scan, 0, held.memory_gib_per_scan * GIB,
                 "resources.cpus_per_scan or resources.memory_gib_per_scan")  # fmt: skip
    if "pretrain" in wanted:
        for name in dict.fromkeys(stage for arm in experiment.arms.values() for stage in arm.pretraining):
            config = experiment.pretraining[name]
            if isinstance(config, SegmentationPretraining):
                yield _job(f"pretraining.{name}", config, held)
    if "search" in wanted:
        yield trial_demand(search, held)
    if "refit" in wanted:
        yield _job("refit", experiment.refit, held)


def _job(key: str, config: RefitConfig | SegmentationPretraining, held: ResourcesConfig) -> Demand:
    """Workers that share out the runs are content with one place, those that fit a run together need all."""
    settings = f"{key}.workers, resources.cpus_per_worker or resources.gpus_per_worker"
    processes = config.workers if config.parallel == "ddp" else 1
    return Demand(f"{key} ({config.parallel})", processes, held.cpus_per_worker, held.gpus_per_worker, 0.0, settings)
