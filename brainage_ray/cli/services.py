"""`brainage services`: the servers on the head of a cluster."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from brainage_ray.cli.options import RUNS
from brainage_ray.cli.places import parse_folder
from brainage_ray.errors import ConfigError

services = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")

Where = Annotated[
    Path,
    typer.Option(
        "--workspace", parser=parse_folder, metavar="FOLDER", help="Folder that holds the services and their data."
    ),
]


@services.callback()
def _services() -> None:
    """Run MLflow's server and PostgreSQL on this machine, restarted after a crash and backed up.

    For example:

    brainage services start --workspace runs

    . runs/services/environment; brainage run experiments/quickstart.yaml
    """


@services.command()
def start(
    workspace: Where = RUNS,
    port: Annotated[int | None, typer.Option(help="MLflow's; at first 5000.", min=1, max=65535)] = None,
    postgres_port: Annotated[int | None, typer.Option(help="PostgreSQL's; at first 5433.", min=1, max=65535)] = None,
    artifacts: Annotated[
        str | None,
        typer.Option(help="Where MLflow keeps artifacts, s3://... for example; at first a folder.", metavar="URI"),
    ] = None,
    backup_minutes: Annotated[float | None, typer.Option(help="Between two backups; at first 30.", min=0.01)] = None,
) -> None:
    """Start all services; what runs is left alone. What is not said stays as at the last start.

    For example: brainage services start --workspace runs --artifacts s3://bucket/mlflow
    """  # fmt: skip
    from brainage_ray.services import newest_backup
    from brainage_ray.services import start as start_services

    wishes = {"port": port, "postgres_port": postgres_port, "artifacts": artifacts, "backup_minutes": backup_minutes}
    done = start_services(workspace, **wishes)
    _show(workspace)
    if not done.changed:
        typer.echo("All ran already; nothing was changed.")
    there = shlex.quote(str(workspace))
    if done.new and newest_backup(workspace):
        typer.echo(f"There are backups from before: brainage services restore --latest --workspace {there}")
    typer.echo(f"To use them: . {there}/services/environment")


@services.command()
def stop(workspace: Where = RUNS) -> None:
    """Stop all services gently; their data stay.

    For example: brainage services stop --workspace runs
    """
    from brainage_ray.services import stop as stop_services

    typer.echo("Stopped; the data stay." if stop_services(workspace) else "No services ran.")


@services.command()
def status(
    workspace: Where = RUNS,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Show what each service does. Exit 0 when all run, 1 otherwise.

    For example: brainage services status --workspace runs --json
    """
    raise typer.Exit(0 if _show(workspace, as_json=as_json) else 1)


@services.command()
def backup(workspace: Where = RUNS) -> None:
    """Make a backup of the databases now.

    For example: brainage services backup --workspace runs
    """
    from brainage_ray.services import backup as make

    made = make(workspace)
    typer.echo(f"Backup: {made.folder} ({made.size:,} bytes)" if made else "There is nothing to back up yet.")


@services.command()
def restore(
    files: Annotated[
        list[Path] | None, typer.Argument(help="A backup's folder, or files of it.", metavar="FILE...")
    ] = None,
    workspace: Where = RUNS,
    latest: Annotated[bool, typer.Option("--latest", help="The newest backup of this workspace.")] = False,
) -> None:
    """Put a backup into services that run and hold nothing yet.

    For example:

    brainage services restore --latest --workspace runs

    brainage services restore runs/backups/20260131T120000.000000Z --workspace other
    """
    from brainage_ray.services import restore as put_back

    if bool(files) == latest:
        raise ConfigError("restore was given no backup, or two", "Name one, or write --latest.")
    typer.echo(f"Put back: {', '.join(put_back(workspace, files or []))}. Artifacts are files, to be copied apart.")


def _show(workspace: Path, *, as_json: bool = False) -> bool:
    from rich.console import Console
    from rich.table import Table

    from brainage_ray.services import healthy, newest_backup
    from brainage_ray.services import status as read_status

    found, newest = read_status(workspace), newest_backup(workspace)
    last = {"folder": str(newest.folder), "made": newest.made.isoformat(), "bytes": newest.size} if newest else None
    if as_json:
        rows = [{**asdict(row), "since": row.since.isoformat() if row.since else None} for row in found]
        typer.echo(json.dumps({"services": rows, "newest_backup": last}, indent=2))
        return healthy(found)
    table = Table("service", "state", "since", "address")
    for row in found:
        since = row.since.astimezone().strftime("%Y-%m-%d %H:%M:%S") if row.since else ""
        table.add_row(row.name, row.state, since, row.address)
    Console().print(table)
    typer.echo(f"Newest backup: {newest.folder} ({newest.size:,} bytes)" if newest else "Newest backup: none yet")
    return healthy(found)
