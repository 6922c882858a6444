"""A job followed to its end, over a network that may go away for hours."""

from __future__ import annotations

import time
from collections.abc import Callable

from brainage_ray.cluster.head import Head
from brainage_ray.cluster.submit import jobs_of
from brainage_ray.errors import ConnectionLost, EngineError
from brainage_ray.execution import ClusterJob, ClusterJobs

LAST_LINES = 10
"""Of a job that is found running."""
LONGEST_WAIT_S = 30
SIGNALLED = 143
"""Exit code of what SIGTERM ended."""


class Follower:
    """Shows what a job prints.

    Args:
        find: the head, which may have another address after a while.
        job_id: of the job.
        show: takes what it prints.
        tell: takes a line about the connection.
    """

    def __init__(
        self, find: Callable[[], Head], job_id: str, show: Callable[[str], object], tell: Callable[[str], object]
    ) -> None:
        self._find, self._id, self._show, self._tell = find, job_id, show, tell
        self._shown = 0  # characters of its log
        self._job: ClusterJob | None = None

    def skip_to_end(self, jobs: ClusterJobs) -> None:
        """Show the last lines of what the job has printed so far, and count the rest as shown."""
        log = jobs.log(self._id)
        self._shown = len(log)
        self._show("".join(log.splitlines(keepends=True)[-LAST_LINES:]))

    def follow(self, jobs: ClusterJobs) -> ClusterJob:
        """Follow until the job has ended, first over a connection that there is, then over new ones.

        Raises:
            EngineError: the cluster no longer knows the job.
        """
        try:
            return self._to_its_end(jobs)
        except ConnectionLost:
            self._tell("The connection is lost; the job goes on. Trying again until it is back (Ctrl-C ends that).")
        wait, said = 1.0, ""
        while True:
            try:
                with jobs_of(self._find()) as again:
                    self._known(again)
                    self._tell("Connected again.")
                    wait, said = 1.0, ""
                    return self._to_its_end(again)
            except _GoneError:
                raise
            except EngineError as error:  # the network, or a head that is starting: which one, time will tell
                if said != (said := error.problem):
                    self._tell(f"Not yet: {error.problem}")
            time.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT_S)

    def _to_its_end(self, jobs: ClusterJobs) -> ClusterJob:
        while True:
            passed = 0
            for part in jobs.follow(self._id):
                passed += len(part)
                fresh = part[max(0, len(part) - (passed - self._shown)) :] if passed > self._shown else ""
                if fresh:
                    self._show(fresh)
                self._shown = max(self._shown, passed)
            job = self._known(jobs)
            if job.ended:
                return job
            time.sleep(1)  # the log is followed by a process of the head that may have started anew

    def _known(self, jobs: ClusterJobs) -> ClusterJob:
        job = jobs.find(self._id)
        if job is None:
            raise _GoneError(
                f"The cluster no longer knows the job {self._id}: its head was replaced",
                "The same command starts it again, and it goes on from what its workspace holds.",
            )
        return job


class _GoneError(EngineError):
    pass


def exit_code(job: ClusterJob) -> int:
    """Return what the job exited with; 143 where it was stopped, 1 where it did not get to run."""
    if job.status == "SUCCEEDED":
        return 0
    if job.status == "STOPPED":
        return SIGNALLED
    return job.exit_code or 1


def wait_for_end(jobs: ClusterJobs, job_id: str) -> ClusterJob:
    """Wait until a job has ended."""
    while True:
        job = jobs.find(job_id)
        if job is None:
            raise _GoneError(f"The cluster no longer knows the job {job_id}", "")
        if job.ended:
            return job
        time.sleep(1)
