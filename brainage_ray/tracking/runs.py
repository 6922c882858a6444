"""One MLflow experiment and its tree of runs, found again after a restart by the tag `brainage.key`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainage_ray.tracking.client import KEY_TAG, KIND_TAG, PARENT_TAG, all_runs, first_line, is_temporary, open_client
from brainage_ray.tracking.files import RunFiles
from brainage_ray.tracking.records import GROUP, Run, clean_tags, flatten

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowRun

    from brainage_ray.training.recorder import RunInfo

Job = Callable[[RunFiles], None]
"""Gets the artifacts of a run."""

_LOG = logging.getLogger(__name__)
_METRICS, _PARAMS, _TAGS = 800, 100, 100
"""Of each in a call; MLflow takes 1000 things, of which 100 parameters and 100 tags."""


class RunStore:
    """The runs of one experiment. Used by one thread; only `unwritten` may be called by others.

    Args:
        uri: of MLflow's tracking store.
        experiment: its name.
        artifacts: absolute folder for artifacts; None leaves the place to the server.
        tags: of every run that is made.
    """

    def __init__(self, uri: str, experiment: str, artifacts: Path | None, tags: Mapping[str, str]) -> None:
        self._uri, self._experiment, self._artifacts = uri, experiment, artifacts
        self.tags = dict(tags)
        self.lost = 0
        self._client: Any = None
        self._experiment_id = ""
        self._runs: dict[str, Run] = {}
        self._jobs: list[tuple[str, Job]] = []

    def group(self, path: str, time_ms: int) -> Run:
        """Return the run of a slash path of groups under the experiment; the experiment's own for ""."""
        key = f"{self._experiment}/{path}".rstrip("/")
        above, _, name = path.rpartition("/")
        parent = self.group(above, time_ms).key if path else None
        run = self._runs.setdefault(key, Run(key, name or self._experiment, GROUP, parent, time_ms))
        run.wake()
        return run

    def start(self, info: RunInfo, time_ms: int) -> None:
        """Make the run of a training, or take up the one of before a restart."""
        parent = self.group(info.parent, time_ms).key
        run = self._runs.setdefault(info.key, Run(info.key, info.name, info.kind, parent, time_ms))
        run.wake()
        run.tags |= clean_tags(info.tags)
        if not run.has_params:
            run.params = flatten(info.params)

    def training(self, key: str) -> Run:
        """Return the run of a training that was started.

        Raises:
            KeyError: it was not.
        """
        return self._runs[key]

    def add_job(self, group: Run, job: Job) -> None:
        """Have a function called with the artifacts of a group's run, once that run is there."""
        self._jobs.append((group.key, job))

    def end(self, groups: str, trainings: str, time_ms: int) -> None:
        """Give every run that is still running its last status, also those that a killed process left."""
        for run in self._runs.values():
            if (run.next_status or run.status) == "RUNNING":
                run.next_status, run.end_ms = groups if run.kind == GROUP else trainings, time_ms

    def unwritten(self) -> int:
        """Return how many events wait."""
        return len(self._jobs) + sum(run.unwritten() for run in list(self._runs.values()))

    def write(self) -> None:
        """Write all that waits; raises where the store is down, and then the rest goes on waiting."""
        if self._client is None:
            self._open()
        for run in list(self._runs.values()):
            if run.unwritten():
                self._attempt(partial(self._write_run, run), run.drop)
        while self._jobs:
            key, job = self._jobs[0]
            self._attempt(partial(job, RunFiles(self._client, self._runs[key].id, self._artifacts)), lambda: 1)
            del self._jobs[0]

    def _attempt(self, write: Callable[[], None], drop: Callable[[], int]) -> None:
        """Write; what MLflow will never take is dropped, so that it does not hold up the rest."""
        try:
            write()
        except Exception as error:
            if is_temporary(error):
                raise
            if not self.lost:
                _LOG.warning("MLflow refuses an event, which is dropped: %s", first_line(error))
            self.lost += drop()

    def _open(self) -> None:
        client = open_client(self._uri)
        found = client.get_experiment_by_name(self._experiment)
        if found is None:
            folder = self._artifacts.as_uri() if self._artifacts else None
            self._experiment_id = client.create_experiment(self._experiment, artifact_location=folder)
        else:
            self._experiment_id = found.experiment_id
            if found.lifecycle_stage == "deleted":
                client.restore_experiment(self._experiment_id)
        for row in all_runs(client, self._experiment_id):
            self._take_up(row)
        self._client = client

    def _take_up(self, row: MlflowRun) -> None:
        key = row.data.tags.get(KEY_TAG)
        if key is None:
            return
        run = self._runs.setdefault(key, Run(key, row.info.run_name, row.data.tags.get(KIND_TAG, GROUP)))
        run.id, run.status, run.has_params = row.info.run_id, row.info.status, bool(row.data.params)
        run.metrics = tuple(row.data.metrics)
        if run.has_params:
            run.params = {}

    def _make(self, run: Run) -> None:
        above = self._runs[run.parent] if run.parent else None
        if above and not above.id:
            self._make(above)
        tags = {**clean_tags(self.tags), KEY_TAG: run.key, KIND_TAG: run.kind}
        if above:
            tags[PARENT_TAG] = above.id
        made = self._client.create_run(self._experiment_id, start_time=run.start_ms, tags=tags, run_name=run.name)
        run.id, run.status, run.logged = made.info.run_id, "RUNNING", {}

    def _write_run(self, run: Run) -> None:
        if not run.id:
            self._make(run)
        if run.points and run.logged is None:
            run.logged = self._history(run)
        self._log(run)
        if run.next_status == "RUNNING" and run.status not in ("RUNNING", "FINISHED"):
            self._client.update_run(run.id, status="RUNNING")
            run.status = "RUNNING"
        elif run.next_status not in ("", "RUNNING", run.status):
            self._client.set_terminated(run.id, status=run.next_status, end_time=run.end_ms)
            run.status = run.next_status
        run.next_status = ""

    def _history(self, run: Run) -> dict[tuple[str, int], float]:
        rows = (row for name in run.metrics for row in self._client.get_metric_history(run.id, name))
        return {(row.key, row.step): row.value for row in rows}

    def _log(self, run: Run) -> None:
        """Write parameters, tags and points, as few calls as MLflow's limits allow."""
        from mlflow.entities import Metric, Param, RunTag

        values = list(run.new_values())
        params = [Param(name, value) for name, value in run.params.items()]
        tags = [RunTag(name, value) for name, value in run.tags.items()]
        metrics = [Metric(*value) for value in values]
        calls = zip_longest(_parts(metrics, _METRICS), _parts(params, _PARAMS), _parts(tags, _TAGS), fillvalue=())
        for some_metrics, some_params, some_tags in calls:
            self._client.log_batch(run.id, some_metrics, some_params, some_tags)
        if run.logged is not None:  # None: MLflow was not asked yet what it has of before a restart
            run.logged |= {(name, epoch): value for name, value, _, epoch in values}
        run.has_params = run.has_params or bool(params)
        run.params, run.tags, run.points = {}, {}, []


def _parts(rows: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (rows[i : i + size] for i in range(0, len(rows), size))
