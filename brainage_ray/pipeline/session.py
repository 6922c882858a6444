"""What every stage needs: the experiment, its folder, the cluster, the tracker and the progress bars."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from brainage_ray.config import Experiment
from brainage_ray.data import atomic_write
from brainage_ray.errors import EngineError
from brainage_ray.execution import Cluster
from brainage_ray.pipeline.progress import EpochProgress, Fanout, Progress
from brainage_ray.pipeline.servers import Servers, note_told, told_elsewhere
from brainage_ray.tracking import MlflowTracker
from brainage_ray.training import RunInfo, Status

MARK = "mlflow.behind"


class Tracking:
    """The MLflow tracker, made at the first event: a run in which all is done already never loads MLflow.

    Args:
        make: the tracker.
        folder: of the experiment. A mark is in it while MLflow may lack something: from the tracker's start until it
            has written all. None: nothing is noted.
        uri: of the MLflow server; None: the workspace's database.
    """

    def __init__(self, make: Callable[[], MlflowTracker], folder: Path | None = None, uri: str | None = None) -> None:
        self._make, self._folder, self._uri = make, folder, uri
        self._tracker: MlflowTracker | None = None
        self.behind = folder is not None and ((folder / MARK).is_file() or told_elsewhere(folder, uri))
        """Whether an earlier start was killed, lost events to a server that was down, or told another MLflow: what is
        done is told again."""
        self.tags: dict[str, str] = {}
        """Of every run, once the tracker is made."""

    @property
    def tracker(self) -> MlflowTracker:
        """The tracker itself."""
        if self._tracker is None:
            if self._folder is not None:
                (self._folder / MARK).touch()
            self._tracker = self._make()
            self._tracker.tag(self.tags)
        return self._tracker

    def started(self, run: RunInfo) -> None:
        """Pass on."""
        self.tracker.started(run)

    def epoch(self, key: str, epoch: int, metrics: Mapping[str, float]) -> None:
        """Pass on."""
        self.tracker.epoch(key, epoch, metrics)

    def finished(self, key: str, status: Status, metrics: Mapping[str, float]) -> None:
        """Pass on."""
        self.tracker.finished(key, status, metrics)

    def close(self, status: str) -> None:
        """Close the tracker if it was made: MLflow's FINISHED, FAILED or KILLED."""
        if self._tracker is not None and self._tracker.close(status) == 0 and self._folder is not None:
            note_told(self._folder, self._uri)
            (self._folder / MARK).unlink(missing_ok=True)


@dataclass(frozen=True)
class Session:
    """One run of one experiment in a workspace."""

    experiment: Experiment
    workspace: Path
    """Holds mlflow.db, artifacts, cache and one folder per experiment."""
    cluster: Cluster
    tracking: Tracking
    progress: Progress
    servers: Servers = field(default_factory=Servers)
    """For studies and runs."""

    @property
    def folder(self) -> Path:
        """The experiment's folder."""
        return self.workspace / self.experiment.name

    @property
    def cache(self) -> Path:
        """Phantoms, prepared scans and downloaded weights, shared by all experiments of the workspace."""
        return self.workspace / "cache"

    def recorder(self, epochs: Mapping[str, int], default_epochs: int = 0) -> Fanout:
        """Return the recorder that feeds MLflow and the current bar."""
        return Fanout([self.tracking, EpochProgress(self.progress, epochs, default_epochs)])

    @contextmanager
    def bar(self, name: str, total: int, unit: str) -> Iterator[None]:
        """Show a bar while the body runs, and add the time that it took to the stage's account."""
        if total == 0:  # all is done already
            yield
            return
        start = time.monotonic()
        self.progress.begin(name, total, unit)
        try:
            yield
        finally:
            self.progress.end()
            self._account(name, time.monotonic() - start)

    def _account(self, name: str, seconds: float) -> None:
        timings = read_timings(self.folder)
        timings[name] = round(timings.get(name, 0.0) + seconds, 1)
        with atomic_write(self.folder / "timings.json") as file:
            file.write(json.dumps(timings, indent=1).encode())


@contextmanager
def open_session(
    experiment: Experiment, workspace: Path, address: str | None, progress: Progress, servers: Servers | None = None
) -> Iterator[Session]:
    """Open a session, alone in the experiment's folder; nothing heavy starts before it is needed.

    Raises:
        ConfigError: a server's URL is wrong.
        EngineError: the workspace cannot be written, a server not used, or another process runs this experiment in it.
    """
    servers = servers or Servers()
    servers.check()
    status = "FAILED"
    with _alone(workspace / experiment.name), Cluster(address, debug="BRAINAGE_DEBUG" in os.environ) as cluster:
        make = make_tracker(experiment, workspace, servers.tracking)
        tracking = Tracking(make, workspace / experiment.name, servers.tracking)
        session = Session(experiment, workspace, cluster, tracking, progress, servers)
        save_experiment(session)
        try:
            yield session
            status = "FINISHED"
        except KeyboardInterrupt:
            status = "KILLED"
            raise
        finally:
            tracking.close(status)


def save_experiment(session: Session) -> None:
    """Write experiment.json, the experiment with all its defaults, into its folder.

    Raises:
        NoSpaceError: the disk is full.
    """
    with atomic_write(session.folder / "experiment.json") as file:
        file.write(session.experiment.model_dump_json(indent=1).encode())


def make_tracker(experiment: Experiment, workspace: Path, uri: str | None = None) -> Callable[[], MlflowTracker]:
    """Return what makes the tracker of an experiment."""
    return lambda: MlflowTracker(workspace, experiment.name, experiment.to_json(), uri=uri)


def read_timings(folder: Path) -> dict[str, float]:
    """Return the seconds that each stage of an experiment took, over all its starts."""
    file = folder / "timings.json"
    return dict(json.loads(file.read_text())) if file.is_file() else {}


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock", timeout=0)
        lock.acquire()
    except Timeout:
        raise EngineError(
            f"Another process is running {folder.name} in {folder.parent}",
            "Wait for it, or give this one its own --workspace.",
        ) from None
    except OSError as error:
        problem = f"The workspace {folder.parent} cannot be written: {error.strerror}"
        raise EngineError(problem, "Name another with --workspace.") from None
    try:
        yield
    finally:
        lock.release()
