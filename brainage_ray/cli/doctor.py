"""`brainage doctor`: a checklist, with the fix for what is wrong."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from brainage_ray.cli.places import Where
from brainage_ray.cli.tables import say

if TYPE_CHECKING:
    from brainage_ray.pipeline import Check

_STYLES = {"ok": "green", "warning": "yellow", "wrong": "red", "not checked": "dim"}


def show_checks(workspace: Where, address: str | None, cluster: Path | None, *, gpu: bool, as_json: bool) -> int:
    """Check this machine or a cluster, print the checklist, and return the exit code: 1 where something is wrong.

    Raises:
        ConfigError: the options do not go together, or the file is no cluster's.
    """
    console = Console(stderr=as_json)
    if cluster is not None:
        from brainage_ray.cli.cluster import workspace_there
        from brainage_ray.cli.run import Place
        from brainage_ray.cluster import examine_cluster

        there = workspace_there(Place(workspace, address))
        with console.status(f"Asking the cluster of {cluster}"):
            return _print(list(examine_cluster(cluster, there, gpu=gpu)), as_json=as_json)
    from brainage_ray.pipeline import examine

    with console.status("Asking the nodes" if address else "Starting Ray for the while"):
        return _print(
            examine(workspace.absolute() if isinstance(workspace, Path) else workspace, address, gpu=gpu),
            as_json=as_json,
        )


def _print(checks: Sequence[Check], *, as_json: bool) -> int:
    wrong = sum(check.state == "wrong" for check in checks)
    if as_json:
        typer.echo(json.dumps([asdict(check) for check in checks], indent=1))
        return 1 if wrong else 0
    console = Console()
    table = Table("", "", "found")
    for check in checks:
        style = _STYLES[check.state]
        table.add_row(escape(check.what), f"[{style}]{check.state}[/{style}]", escape(check.found))
    console.print(table)
    for check in checks:
        if check.fix:
            say(console, f"{check.what}: {check.fix}")
    say(console, f"{wrong} of {len(checks)} checks are wrong." if wrong else "Nothing is wrong.")
    return 1 if wrong else 0
