"""Arguments and options that several verbs have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from brainage_ray.cli.places import parse_where

STORAGE = "BRAINAGE_STORAGE"
TRACKING = "MLFLOW_TRACKING_URI"

ExperimentFile = Annotated[Path, typer.Argument(help="Experiment file (YAML).", metavar="EXPERIMENT")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY.PATH=VALUE", help="Change a value of the file; may be given many times."),
]
Workspace = Annotated[
    Any,
    typer.Option(
        parser=parse_where,
        metavar="FOLDER|URI",
        help="Folder for runs, stores, models and mlflow.db; or s3://BUCKET/PATH, gs://BUCKET/PATH, file:///PATH, "
        "which is mirrored from a folder of this machine.",
    ),
]
Address = Annotated[str | None, typer.Option(help="Ray cluster to use (auto, host:port); default: a local one.")]
Storage = Annotated[
    str | None,
    typer.Option(
        envvar=STORAGE,
        metavar="URL",
        help="Database for the searches' studies, postgresql://USER@HOST/DATABASE, its password in PGPASSWORD or "
        "~/.pgpass; default: journal files in the workspace.",
    ),
]
Tracking = Annotated[
    str | None,
    typer.Option(
        envvar=TRACKING,
        metavar="URL",
        help="MLflow server, http://HOST:PORT, its name and password in MLFLOW_TRACKING_USERNAME and "
        "MLFLOW_TRACKING_PASSWORD; default: SQLite in the workspace.",
    ),
]
ClusterFile = Annotated[
    Path | None,
    typer.Option(
        "--cluster",
        metavar="FILE",
        help="On the cluster that `ray up FILE` started; --workspace is then there, by default /srv/brainage/runs.",
    ),
]
RUNS = Path("runs")
