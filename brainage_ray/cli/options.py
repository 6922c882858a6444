"""Arguments and options that several verbs have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ExperimentFile = Annotated[Path, typer.Argument(help="Experiment file (YAML).", metavar="EXPERIMENT")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY.PATH=VALUE", help="Change a value of the file; may be given many times."),
]
Workspace = Annotated[Path, typer.Option(help="Folder for runs, stores, models and mlflow.db.")]
Address = Annotated[str | None, typer.Option(help="Ray cluster to use (auto, host:port); default: a local one.")]
RUNS = Path("runs")
