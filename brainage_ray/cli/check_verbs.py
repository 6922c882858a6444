"""The verbs that look for what is wrong: audit and doctor. Heavy imports happen inside them, as in `app`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from brainage_ray.cli.options import RUNS, Address, ClusterFile, ExperimentFile, Overrides, Workspace
from brainage_ray.cli.places import looked_into


def audit(
    experiment: ExperimentFile,
    set_: Overrides = None,
    workspace: Workspace = RUNS,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write all findings to this file.", metavar="FILE")
    ] = None,
) -> None:
    """Look for leaks: people in two splits, copied images, test people in pre-training. Exit 0 clean, 3 leaking.

    Before the data are prepared the images are read and hashed, which is kept in the workspace's cache.

    For example:

    brainage audit experiments/quickstart.yaml

    brainage audit experiments/bracis2023.yaml --set data.root=/data/adni --json audit.json
    """
    from brainage_ray.cli.audit import audit as audit_verb

    with looked_into(workspace) as folder:
        raise typer.Exit(audit_verb(experiment, set_ or [], folder, json_file))


def doctor(
    workspace: Workspace = RUNS,
    address: Address = None,
    cluster: ClusterFile = None,
    gpu: Annotated[bool, typer.Option("--gpu", help="Have a GPU machine started first, where none is up.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Check that all is there that a run needs, with the fix for what is not. Exit 0 when nothing is wrong, else 1.

    For example:

    brainage doctor --workspace /srv/brainage/runs

    brainage doctor --cluster cluster.yaml
    """
    from brainage_ray.cli.doctor import show_checks

    raise typer.Exit(show_checks(workspace, address, cluster, gpu=gpu, as_json=as_json))
