"""The recorder that writes an experiment into MLflow, and never fails the training."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import yaml

from brainage_ray.tracking.client import load_mlflow, store_uri
from brainage_ray.tracking.environment import commit_tags, machine_tags, package_list
from brainage_ray.tracking.files import RunFiles, artifacts_folder
from brainage_ray.tracking.models import store_models
from brainage_ray.tracking.records import Point, Run, clean_tags
from brainage_ray.tracking.runs import RunStore
from brainage_ray.tracking.writer import WriteBehind

if TYPE_CHECKING:
    from brainage_ray.tracking.registry import Registration
    from brainage_ray.training.recorder import RunInfo, Status

_LOG = logging.getLogger(__name__)
_STATUS = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}
STATE_TAG = "brainage.state"


class MlflowTracker:
    """Writes an experiment's runs, from a thread of its own, in bundles.

    Runs are nested as their slash paths say: experiment > arm > study > trial, experiment > arm > refit >
    seed, experiment > pretraining > stage. A restart finds them by their keys and goes on with them.
    All methods return at once, may be called from any thread, and raise nothing when MLflow is down: what
    cannot be written waits; close says how much was lost. Use it as a context manager.

    Args:
        workspace: folder with `mlflow.db` and `artifacts/`.
        experiment: its name.
        config: the resolved experiment as JSON values; kept as `config/experiment.yaml` and `.json`.
        tags: of the experiment's run and all others, for example the hash of the data.
        uri: of another tracking store than the workspace's database, for example a server's.
        interval_s: shortest time between two bundles, seconds.
    """

    def __init__(
        self,
        workspace: Path,
        experiment: str,
        config: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        uri: str | None = None,
        *,
        interval_s: float = 2.0,
    ) -> None:
        load_mlflow()  # here, because two threads that import at a time can meet half-made modules
        workspace.mkdir(parents=True, exist_ok=True)
        artifacts = None if uri else artifacts_folder(workspace, experiment)
        self._experiment = experiment
        self._store = RunStore(uri or store_uri(workspace), experiment, artifacts, {**commit_tags(), **(tags or {})})
        self._writer = WriteBehind(self._store, interval_s)
        self._describe(config or {})

    def started(self, run: RunInfo) -> None:
        """A run begins, or goes on after a restart."""
        self._put(self._store.start, run, _now_ms())

    def epoch(self, key: str, epoch: int, metrics: Mapping[str, float]) -> None:
        """An epoch (1-based) of a run has ended; one that MLflow has already is not written again."""
        self._put(self._add_point, key, Point(epoch, _now_ms(), dict(metrics)))

    def finished(self, key: str, status: Status, metrics: Mapping[str, float]) -> None:
        """A run has ended; its metrics need other names than those of its epochs.

        complete becomes MLflow's FINISHED, failed FAILED, pruned KILLED with the tag brainage.state.
        """
        self._put(self._finish, key, status, Point(0, _now_ms(), dict(metrics)))

    def tag(self, tags: Mapping[str, str]) -> None:
        """Tag the experiment's run, and every run that is made from now on."""
        self._put(self._add_tags, dict(tags), True, _now_ms())

    def summary(self, metrics: Mapping[str, float], group: str = "") -> None:
        """Write numbers about a whole group, for example an arm's test MAE in years.

        Args:
            metrics: number by name.
            group: slash path under the experiment, for example "unet+brats"; "" is the experiment's run.
        """
        point = Point(0, _now_ms(), dict(metrics))
        self._put(lambda: self._group(group, point.time_ms).points.append(point))

    def log_files(self, source: Path, folder: str = "", group: str = "") -> None:
        """Copy a file, or a folder's content, into the artifacts of a group's run.

        Args:
            source: has to be there until flush or close.
            folder: where to, inside the artifacts.
            group: slash path under the experiment; "" is the experiment's run.
        """
        self._job(lambda files: files.add(source, folder), group)

    def log_models(self, about: Registration, source: Path) -> None:
        """Keep an arm's final models as artifacts of its run, and register them.

        Args:
            about: the models; the same content again makes no new version.
            source: folder with their files; has to be there until flush or close.
        """
        self._job(partial(store_models, about, source), about.arm)

    def flush(self, timeout_s: float = 30.0) -> bool:
        """Wait until everything is written, at most so many seconds; return whether it is."""
        return self._writer.flush(timeout_s)

    def close(self, status: str = "FINISHED", timeout_s: float = 30.0) -> int:
        """End all runs that still run, write what waits, and say in the log how many events were lost.

        Args:
            status: MLflow's FINISHED, FAILED or KILLED, for the experiment and its groups. Trainings that
                have not finished become KILLED.
            timeout_s: longest wait, seconds.

        Returns:
            Number of lost events.
        """
        self._put(self._store.end, status, "KILLED", _now_ms())
        lost = self._writer.close(timeout_s) + self._store.lost
        if lost:
            _LOG.warning("%d events of %s were not written to MLflow.", lost, self._experiment)
        return lost

    def __enter__(self) -> Self:
        """Return the tracker."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close: FINISHED, FAILED after an error, KILLED after Ctrl-C."""
        if kind is None:
            self.close()
        else:
            self.close("FAILED" if issubclass(kind, Exception) else "KILLED")

    def _put(self, event: Callable[..., None], *arguments: Any) -> None:
        self._writer.put(partial(event, *arguments))

    def _job(self, job: Callable[[RunFiles], None], group: str) -> None:
        time_ms = _now_ms()
        self._put(lambda: self._store.add_job(self._group(group, time_ms), job))

    def _group(self, path: str, time_ms: int) -> Run:
        return self._store.group(path, time_ms)

    def _add_point(self, key: str, point: Point) -> None:
        self._store.training(key).points.append(point)

    def _finish(self, key: str, status: Status, point: Point) -> None:
        run = self._store.training(key)
        run.points.append(point)
        run.tags[STATE_TAG] = status
        run.next_status, run.end_ms = _STATUS[status], point.time_ms

    def _add_tags(self, tags: Mapping[str, str], everywhere: bool, time_ms: int) -> None:
        if everywhere:
            self._store.tags.update(tags)
        self._group("", time_ms).tags.update(clean_tags(tags))

    def _describe(self, config: Mapping[str, Any]) -> None:
        # On the experiment's run the newest start counts; the others keep the commit that made them.
        self._put(self._add_tags, {**self._store.tags, **machine_tags()}, False, _now_ms())
        texts = {"environment.txt": package_list()}
        if config:
            texts["config/experiment.yaml"] = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
            texts["config/experiment.json"] = json.dumps(config, indent=1)
        for name, text in texts.items():
            self._job(partial(RunFiles.add_text, text=text, name=name), "")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
