"""`brainage models`, `pull`, `predict` and `phantom`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from brainage_ray.cli.progress import Bars
from brainage_ray.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

    from brainage_ray.cli.run import Place
    from brainage_ray.pipeline import ModelFolder, PredictOptions


def show_models(experiment: str | None, workspace: Path, tracking: str | None, as_json: bool) -> None:
    """Print the registered models as tables, one an experiment, or as JSON."""
    from brainage_ray.cli.models_table import models_tables
    from brainage_ray.tracking import check_server, list_models

    if tracking:
        check_server(tracking)
    rows = list_models(workspace, experiment, tracking)
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    console = Console()
    if not rows:
        console.print("No models yet: run an experiment to its end.")
    for table in models_tables(rows, console.width):
        console.print(table)


def pull_model(name: str, to: Path, workspace: Path, tracking: str | None) -> None:
    """Copy the models of EXPERIMENT/ARM, or of the winning arm of EXPERIMENT."""
    from brainage_ray.pipeline import pull

    bars = Bars(Console())
    say_pulled(pull(name, to, workspace.absolute(), tracking or None, bars), to)


def say_pulled(described: ModelFolder, to: Path) -> None:
    """Print which models came."""
    seeds = ", ".join(str(member.seed) for member in described.members)
    Console().print(
        f"{described.experiment}/{described.arm}: {len(described.members)} models (seeds {seeds}) in {to}",
        markup=False, highlight=False,
    )  # fmt: skip


def predict_ages(inputs: Sequence[Path], model: str, out: Path, options: PredictOptions, place: Place) -> int:
    """Write a CSV of brain ages; return 1 where a scan could not be read, else 0."""
    from brainage_ray.data.files import atomic_write
    from brainage_ray.data.given import find_given
    from brainage_ray.pipeline import found_model, predict

    if out.is_dir() or not out.absolute().parent.is_dir():
        raise ConfigError(f"--out {out} is no file that can be written", "Name a CSV file in an existing folder.")
    given = find_given(inputs)
    console = Console()
    with found_model(model, Path(place.workspace), place.tracking) as folder:
        table = predict(folder, given, options, Bars(console))
    with atomic_write(out) as file:
        file.write(table.to_csv(index=False).encode())
    counts = ", ".join(f"{n} {status}" for status, n in table["status"].value_counts(sort=False).items())
    console.print(f"{out}: {len(table)} scans, {counts}", markup=False, highlight=False)
    if options.html:
        console.print(f"{options.html / 'index.html'}: a page a scan", markup=False, highlight=False)
    return _complain(table)


def _complain(table: pd.DataFrame) -> int:
    """Print why scans are flagged and failed; return 1 where one failed."""
    console = Console(stderr=True)
    for row in table[table["status"] == "flagged"].itertuples():
        console.print(f"brainage: {row.image}: {row.flags}", markup=False, highlight=False)
    failed = table[table["status"] == "failed"]
    for error in failed["error"]:
        console.print(f"brainage: {error}", markup=False, highlight=False)
    return int(len(failed) > 0)


def make_phantoms(out: Path, subjects: int, tumours: int, seed: int) -> None:
    """Write an ADNI-like and a BraTS-like tree."""
    from brainage_ray.data import atomic_folder, refuse_full
    from brainage_ray.data.phantoms import write_phantoms

    refuse_full(out, "--out")
    console = Console()
    bars = Bars(console)
    bars.begin("phantoms", subjects + tumours, "people")
    try:
        with atomic_folder(out) as partial:  # all of them, or none
            write_phantoms(partial, subjects, tumours, seed, lambda done, total: bars.advance())
    finally:
        bars.end()
    console.print(f"{out}/ADNI: {subjects} people, {out}/BraTS: {tumours} cases", markup=False, highlight=False)


def explain_ages(inputs: Sequence[Path], model: Path, out: Path) -> int:
    """Write maps of what drives the ages and print them by region; return 1 where a scan could not be read, else 0."""
    from rich.table import Table

    from brainage_ray.pipeline import explain

    files = [file for given in inputs for file in (sorted(given.rglob("*.nii*")) if given.is_dir() else [given])]
    console = Console()
    found = explain(model, files, out, Bars(console))
    table = Table(*found.regions.columns, title="What drives the age")
    for row in found.regions.itertuples(index=False):
        table.add_row(*map(str, row))
    console.print(table)
    verdict = "other than" if found.sane else "LIKE, so do not trust it,"
    console.print(
        f"{out}: maps in {found.space}. With random weights the map is {verdict} this one "
        f"(rank correlation {found.random_similarity:.2f}, "
        f"of absolute values {found.random_similarity_absolute:.2f})", markup=False, highlight=False, soft_wrap=True,
    )  # fmt: skip
    for error in found.failed.values():
        Console(stderr=True).print(f"brainage: {error}", markup=False, highlight=False)
    return int(len(found.failed) > 0)
