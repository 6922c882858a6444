"""Ray's job submission, through the address of a dashboard."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from brainage_ray.errors import ConnectionLost, EngineError

Answer = TypeVar("Answer")
AGENT_S = 120
"""How long a head that has just started may take until it runs jobs, after its dashboard answers."""
ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
_ELSEWHERE = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS")
"""They win over the address that the client is given."""


@dataclass(frozen=True)
class ClusterJob:
    """A job as the cluster knows it."""

    id: str
    status: str
    """PENDING, RUNNING, or one of ENDED."""
    message: str = ""
    exit_code: int | None = None
    """Of its program; None where it has not ended by itself."""
    started_ms: int | None = None
    """Since 1970."""
    ended_ms: int | None = None
    about: Mapping[str, str] = field(default_factory=dict)
    """What was said of it when it was submitted."""

    @property
    def ended(self) -> bool:
        """Whether nothing more comes of it."""
        return self.status in ENDED


class ClusterJobs:
    """The jobs of a cluster.

    Args:
        url: of the dashboard.
        token: that it asks for.

    Raises:
        ConnectionLost: nothing answers there.
        EngineError: the token is not the cluster's, or Ray's client is not installed.
    """

    def __init__(self, url: str, token: str) -> None:
        try:
            from ray.job_submission import JobSubmissionClient
        except ImportError as error:
            fix = "Install it: pip install 'brainage-ray[cluster]'."
            raise EngineError(f"Ray's client for jobs is not installed: {error}", fix) from None
        for name in ("ray", "ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # each has a level of its own
        _without_proxy()
        with _without(*_ELSEWHERE):
            self._client = self._asked(lambda: JobSubmissionClient(url, headers={"Authorization": f"Bearer {token}"}))

    def all(self) -> list[ClusterJob]:
        """Return all jobs that were submitted, in this order."""
        found = [_job(details) for details in self._asked(self._client.list_jobs) if details.submission_id]
        return sorted(found, key=lambda job: job.started_ms or 0)

    def find(self, job_id: str) -> ClusterJob | None:
        """Return a job, None where the cluster does not know it."""
        return next((job for job in self.all() if job.id == job_id), None)

    def submit(
        self, job_id: str, command: str, package: Path, environment: Mapping[str, str], about: Mapping[str, str]
    ) -> None:
        """Submit a job that runs on the head.

        Args:
            job_id: new on this cluster.
            command: for the shell.
            package: a zip, unpacked into the folder where the command starts; all that it starts has it too.
            environment: variables; everybody with the token can read them.
            about: said of it in `all`.

        Raises:
            EngineError: the cluster has such a job already.
        """
        runtime = {"working_dir": str(package), "env_vars": dict(environment)}
        end = time.monotonic() + AGENT_S
        while True:
            try:
                self._asked(
                    lambda: self._client.submit_job(
                        entrypoint=command, submission_id=job_id, runtime_env=runtime, metadata=dict(about)
                    )
                )
            except ConnectionLost as error:
                if "No available agent" not in str(error) or time.monotonic() > end:
                    raise
                time.sleep(2)
            else:
                return

    def stop(self, job_id: str) -> None:
        """Ask a job to end; it takes its time."""
        self._asked(lambda: self._client.stop_job(job_id))

    def log(self, job_id: str) -> str:
        """Return what a job has printed so far."""
        return str(self._asked(lambda: self._client.get_job_logs(job_id)))

    def follow(self, job_id: str) -> Iterator[str]:
        """Yield what a job prints, from its beginning until it has ended; "" each second in between.

        Raises:
            ConnectionLost: the connection broke.
        """
        # In a thread, so that Ctrl-C reaches whoever reads, and not the middle of a request.
        parts: queue.Queue[str | Exception | None] = queue.Queue()
        threading.Thread(target=self._pump, args=(job_id, parts), daemon=True).start()
        while True:
            try:
                part = parts.get(timeout=1)
            except queue.Empty:
                part = ""
            if part is None:
                return
            if isinstance(part, Exception):
                raise ConnectionLost(f"The log of {job_id} broke off: {part}") from part
            yield part

    def _pump(self, job_id: str, parts: queue.Queue[str | Exception | None]) -> None:
        async def pump() -> None:
            async for part in self._client.tail_job_logs(job_id):
                parts.put(part)

        try:
            asyncio.run(pump())
        except Exception as error:  # whatever it is, the connection is of no use any more
            parts.put(error)
        else:
            parts.put(None)

    def _asked(self, ask: Callable[[], Answer]) -> Answer:
        from ray.exceptions import AuthenticationError
        from requests.exceptions import RequestException

        try:
            return ask()
        except AuthenticationError:
            problem = "The cluster does not take the token: it is not the one that its Ray was started with"
            raise EngineError(problem, "Start Ray anew with the token that is there now: ray down, ray up.") from None
        except (ConnectionError, RequestException) as error:
            reason = str(error).splitlines()[0]
            raise ConnectionLost(f"Ray's dashboard does not answer: {reason}", "Start the cluster: ray up.") from None
        except (RuntimeError, ValueError) as error:
            problem = " ".join(str(error).split())[:600]
            if "status code 5" in problem:  # of a head that is starting, or has too much to do
                raise ConnectionLost(f"Ray's dashboard is in trouble: {problem}", "Try again.") from error
            raise EngineError(f"Ray does not do what is asked: {problem}", "See its logs: ray exec.") from error


def _job(details: Any) -> ClusterJob:
    return ClusterJob(
        str(details.submission_id), str(getattr(details.status, "value", details.status)), details.message or "",
        details.driver_exit_code, details.start_time, details.end_time, details.metadata or {},
    )  # fmt: skip


def _without_proxy() -> None:
    """Keep what goes into the tunnel, with the token, from a proxy that the environment names."""
    for name in ("no_proxy", "NO_PROXY"):
        known = os.environ.get(name, "")
        if "127.0.0.1" not in known.split(","):
            os.environ[name] = ",".join(filter(None, [known, "127.0.0.1"]))


@contextlib.contextmanager
def _without(*names: str) -> Iterator[None]:
    before = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(before)
