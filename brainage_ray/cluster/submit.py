"""An experiment as a job on a cluster: under which name, with what command, new or already running."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from brainage_ray.cluster.head import Head
from brainage_ray.cluster.tree import Tree
from brainage_ray.cluster.tunnel import Tunnel
from brainage_ray.config import Experiment
from brainage_ray.errors import ConfigError, EngineError
from brainage_ray.execution import ClusterJob, ClusterJobs

WORKSPACE = PurePosixPath("/srv/brainage/runs")
"""Where the files for `ray up` keep it."""
STOP_WAIT_S = 600
"""How long a job may take to save all and end, after which Ray kills it; Ray's own patience is 3 s."""
EXPERIMENT, PLACE = "experiment", "workspace"
"""What a job says of itself."""


@dataclass(frozen=True)
class Order:
    """What is to run on a cluster."""

    experiment: Experiment
    file: Path
    overrides: Sequence[str]
    until: str
    workspace: PurePosixPath | str
    """On the cluster; or the URI of one."""
    tree: Tree

    @property
    def base(self) -> str:
        """Return what the names of its jobs begin with: the same for the same experiment and settings, whoever asks."""
        settings = self.experiment.model_dump_json().replace(json.dumps(str(self.tree.root))[1:-1], "")
        digest = hashlib.sha256(json.dumps([settings, self.until, str(self.workspace)]).encode()).hexdigest()
        return f"{re.sub(r'[^A-Za-z0-9_-]', '-', self.experiment.name)}-{digest[:8]}"

    @property
    def about(self) -> dict[str, str]:
        """Return what its jobs say of themselves."""
        return {EXPERIMENT: self.experiment.name, PLACE: str(self.workspace)}

    def command(self) -> str:
        """Return the line of shell that runs it in the unpacked tree, on the head."""
        words = ["run", self.tree.place(self.file).as_posix()]
        for override in self.overrides:
            words += ["--set", override]
        words += ["--until", self.until, "--address", "auto", "--workspace", str(self.workspace)]
        return on_head(self.workspace, f"COLUMNS=120 exec {shlex.join(['python', '-m', 'brainage_ray.cli', *words])}",
                       self.tree.here)  # fmt: skip


def on_head(workspace: PurePosixPath | str, command: str, folder: Path | None = None) -> str:
    """Return shell that runs a command with the head's own Python, and with its services where there are some.

    Args:
        workspace: whose services are meant; one at a URI has none, as what they hold would go with the head.
        command: of the shell.
        folder: where it starts; None: where the shell does.
    """
    steps = ['PATH="$HOME/venv/bin:$PATH"; export PATH']
    if isinstance(workspace, PurePosixPath):
        environment = shlex.quote(f"{workspace}/services/environment")
        steps += [f"if [ -r {environment} ]; then . {environment}; fi"]
    steps += [f"cd {shlex.quote(folder.as_posix())}"] if folder and folder.parts else []
    return "; ".join([*steps, command])


@contextmanager
def jobs_of(head: Head) -> Iterator[ClusterJobs]:
    """Reach the jobs of a cluster while a block runs.

    Raises:
        EngineError: ssh does not get in, there is no token, or Ray does not take it.
    """
    token = head.read_token()  # over ssh, and no further than into this process's memory
    with Tunnel(head, {head.dashboard: 0}) as tunnel:
        yield ClusterJobs(tunnel.url(head.dashboard), token)


def submit(order: Order, jobs: ClusterJobs) -> tuple[str, bool]:
    """Start an experiment, or find it where it runs already.

    Returns:
        The job's name, and whether it is new. Ended jobs stay known; a new one goes on from their files.

    Raises:
        ConfigError: the experiment runs there with other settings, or the tree is too large.
        EngineError: Ray takes no job.
    """
    known = jobs.all()
    same = [job for job in known if job.id.startswith(f"{order.base}-")]
    if running := [job for job in same if not job.ended]:
        return running[-1].id, False
    if others := [job for job in known if not job.ended and dict(job.about) == order.about]:
        raise ConfigError(
            f"{order.experiment.name} runs already in {order.workspace} of the cluster, with other settings: "
            f"job {others[-1].id}",
            "Stop that one (brainage stop), or give this one its own --workspace.",
        )
    job_id = f"{order.base}-{len(same) + 1}"
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder, "tree.zip")
        order.tree.pack(package)
        try:
            jobs.submit(job_id, order.command(), package, {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S)}, order.about)
        except EngineError:
            if jobs.find(job_id) is None:  # else somebody else was faster
                raise
            return job_id, False
    return job_id, True


def running(jobs: ClusterJobs, experiment: str | None, workspace: PurePosixPath | str | None) -> list[ClusterJob]:
    """Return the jobs of ours that have not ended, of one experiment and in one workspace where these are named."""
    ours = [job for job in jobs.all() if EXPERIMENT in job.about and not job.ended]
    return [
        job
        for job in ours
        if experiment in (None, job.about[EXPERIMENT]) and (workspace is None or job.about[PLACE] == str(workspace))
    ]
