"""The verbs with --cluster: jobs, pages and models of a cluster that `ray up` started."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import time
import webbrowser
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path, PurePosixPath

import typer
from rich.console import Console
from rich.table import Table

from brainage_ray.cli.options import RUNS
from brainage_ray.cli.run import Place, the_rest
from brainage_ray.cli.tables import headline
from brainage_ray.cluster import (
    WORKSPACE,
    Follower,
    Head,
    Order,
    Page,
    Tunnel,
    answering,
    exit_code,
    find_head,
    find_pages,
    find_tree,
    jobs_of,
    open_pages,
    remote_pull,
    remote_status,
    running,
    submit,
    wait_for_end,
)
from brainage_ray.config import load_experiment
from brainage_ray.errors import ConfigError, Detached, EngineError
from brainage_ray.execution import ClusterJob


def run_there(path: Path, overrides: Sequence[str], place: Place, until: str, cluster: Path) -> int:
    """Run an experiment as a job of a cluster, follow it, and return what it exits with.

    Raises:
        Detached: Ctrl-C, after which the job goes on.
    """
    from brainage_ray.pipeline import check_stage

    order = Order(load_experiment(path, overrides), path, overrides, until, run_place(place), find_tree(Path.cwd()))
    check_stage(until)
    order.command()  # whether the file goes along, before ssh is asked
    Console().print(headline(order.experiment))
    head = find_head(cluster)
    job_id = ""
    try:
        with jobs_of(head) as jobs:
            job_id, is_new = submit(order, jobs)
            follower = Follower(lambda: find_head(cluster), job_id, _show, _tell)
            if is_new:
                _tell(f"Job {job_id} on {head}. Ctrl-C leaves it, and it goes on.")
            else:
                _tell(f"Job {job_id} runs already on {head}; its last lines:")
                follower.skip_to_end(jobs)
            job = follower.follow(jobs)
    except KeyboardInterrupt:
        if not job_id:
            raise
        words = ["--cluster", str(cluster)]
        up_to = ["--until", until] if until != "report" else []
        again = f"{the_rest(path, overrides, Place(place.workspace))} {shlex.join([*up_to, *words])}"
        stop = shlex.join(["brainage", "stop", str(path), *words])
        raise Detached(f"Job {job_id} goes on without you. Back to it: {again}", f"Stop it: {stop}") from None
    if job.status != "SUCCEEDED":
        _tell(f"Job {job_id}: {job.status.lower()}. The same command goes on from what is done.")
        if job.exit_code is None and job.message:
            _tell(job.message)
    return exit_code(job)


def status_there(path: Path | None, overrides: Sequence[str], place: Place, cluster: Path) -> None:
    """Print the jobs of a cluster, and how far one experiment is there."""
    if overrides:
        problem = "--set does nothing with --cluster: an experiment is shown as it was last started there"
        raise ConfigError(problem, "Leave it out.")
    name = load_experiment(path).name if path else None
    head, workspace = find_head(cluster), workspace_there(place)
    with jobs_of(head) as jobs:
        found = [job for job in jobs.all() if job.about.get("experiment") and name in (None, job.about["experiment"])]
    if found or name is None:
        Console().print(_jobs_table(found) if found else "No job of brainage's has run on this cluster.")
    if name is not None:
        typer.echo(remote_status(head, find_tree(Path.cwd()), name, workspace, shutil.get_terminal_size().columns))


def stop_there(path: Path | None, place: Place, cluster: Path) -> None:
    """Stop a job gently, and wait until it has ended."""
    name = load_experiment(path).name if path else None
    workspace = None if place.workspace == RUNS else run_place(place)
    with jobs_of(find_head(cluster)) as jobs:
        found = running(jobs, name, workspace)
        if not found:
            _tell(f"Nothing{f' of {name}' if name else ''} runs on this cluster.")
            return
        if len(found) > 1:
            names = ", ".join(f"{job.about['experiment']} in {job.about['workspace']}" for job in found)
            raise ConfigError(
                f"{len(found)} jobs run there: {names}", "Name one: brainage stop EXPERIMENT --workspace W."
            )
        jobs.stop(found[0].id)
        _tell(f"Stopping {found[0].id}: it saves what it has.")
        job = wait_for_end(jobs, found[0].id)
    _tell(f"Job {job.id}: {job.status.lower()}. What is done is kept: the same `brainage run` goes on from here.")


def pull_there(name: str, to: Path, place: Place, cluster: Path) -> None:
    """Bring the models of EXPERIMENT/ARM, or of the chosen arm of EXPERIMENT."""
    from brainage_ray.cli.models import say_pulled

    say_pulled(remote_pull(find_head(cluster), name, to, workspace_there(place)), to)


def pages_there(place: Place, host: str, port: int, cluster: Path) -> None:
    """Show where MLflow's, Ray's and Optuna's pages are, and carry them until Ctrl-C."""
    if host not in ("127.0.0.1", "localhost"):
        raise ConfigError(f"--host {host} with --cluster would show the cluster's pages to others", "Leave it out.")
    head = find_head(cluster)
    pages, here = find_pages(head, workspace_there(place), port), dict[int, int]()
    while True:
        first = not here
        try:
            with open_pages(head, pages, here) as tunnel:
                if first:
                    _introduce(head, pages, tunnel)
                while tunnel.alive:
                    time.sleep(1)
            _tell("The connection is lost. Trying again.")
        except EngineError as error:
            if first:
                raise
            _tell(f"Not yet: {error.problem}")
        except KeyboardInterrupt:
            return
        time.sleep(5)


def _introduce(head: Head, pages: list[Page], tunnel: Tunnel) -> None:
    """Say where each page is, and show it where there is a screen."""
    for page, there in answering(pages, tunnel):
        if not there:
            said = tunnel.said().strip().splitlines()
            _tell(f"{page.name:7} does not answer{f': {said[-1]}' if said else ''}")
            continue
        _tell(f"{page.name:7} {tunnel.url(page.port)}")
        if page.login:
            _tell(f"        asks for what this prints: {shlex.join(['ray', 'exec', str(head.file), page.login])}")
        if _has_screen():
            webbrowser.open(tunnel.url(page.port))
    _tell("Ctrl-C ends it.")


def run_place(place: Place) -> PurePosixPath | str:
    """Return where a job works: a folder of the cluster, or a URI.

    Raises:
        ConfigError: an option names a place on this machine, or in another cluster.
    """
    if isinstance(place.workspace, Path):
        return workspace_there(place)
    workspace_there(replace(place, workspace=RUNS))  # the other options
    return place.workspace


def workspace_there(place: Place) -> PurePosixPath:
    """Return the workspace on the cluster.

    Raises:
        ConfigError: an option names a place on this machine, or in another cluster.
    """
    if place.address is not None:
        problem = f"--address {place.address} and --cluster name two clusters"
        raise ConfigError(problem, "Leave out --address: on the cluster it is auto.")
    for option, value, variable in (
        ("--storage", place.storage, "BRAINAGE_STORAGE"), ("--tracking", place.tracking, "MLFLOW_TRACKING_URI"),
    ):  # fmt: skip
        if value and value != os.environ.get(variable):  # what this machine's environment says is for this machine
            problem = f"{option} does not go with --cluster, where the services of its head are used"
            raise ConfigError(problem, "Leave it out; docs/services.md says which those are.")
    if place.workspace == RUNS:
        return WORKSPACE
    if not isinstance(place.workspace, Path):
        problem = f"--workspace {place.workspace} is no folder of the head"
        raise ConfigError(problem, "Leave out --cluster: such a workspace is reached from here.")
    if not place.workspace.is_absolute():
        problem = f"--workspace {place.workspace} is no absolute path, and --cluster has it on the head"
        raise ConfigError(problem, f"Write one, or leave it out for {WORKSPACE}.")
    return PurePosixPath(place.workspace)


def _jobs_table(jobs: Sequence[ClusterJob]) -> Table:
    table = Table(title="jobs")
    for heading in ("job", "experiment", "workspace", "state", "started", "ended"):
        table.add_column(heading, overflow="fold")
    for job in jobs:
        times = [_time(moment) for moment in (job.started_ms, job.ended_ms)]
        code = f" ({job.exit_code})" if job.exit_code else ""
        table.add_row(job.id, job.about["experiment"], job.about["workspace"], job.status.lower() + code, *times)
    return table


def _time(milliseconds: int | None) -> str:
    return datetime.fromtimestamp(milliseconds / 1000).strftime("%Y-%m-%d %H:%M:%S") if milliseconds else ""


def _has_screen() -> bool:
    return sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _show(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _tell(line: str) -> None:
    typer.echo(line, err=True)
