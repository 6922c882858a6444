"""The verbs of models: models, pull, predict and phantom. Heavy imports happen inside them, as in `app`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from brainage_ray.cli.options import RUNS, ClusterFile, Tracking, Workspace
from brainage_ray.cli.places import looked_into


class BrainExtraction(StrEnum):
    """See data.prepare_given.ExtractionChoice."""

    auto = "auto"
    none = "none"
    template = "template"
    hd_bet = "hd_bet"
    synthstrip = "synthstrip"


def pull(
    model: Annotated[
        str, typer.Argument(help="EXPERIMENT/ARM, EXPERIMENT@ALIAS, or EXPERIMENT for the arm chosen on validation.")
    ],
    to: Annotated[Path, typer.Option(help="Folder for the model's files.")] = Path("checkpoints"),
    workspace: Workspace = RUNS,
    tracking: Tracking = None,
    cluster: ClusterFile = None,
) -> None:
    """Copy the final models of an arm: weights, settings, model card, checksums; all that predict needs.

    A pull that broke off goes on when it is given again; what is there whole is not fetched again.

    For example:

    brainage pull quickstart/unet+brats --to checkpoints/

    brainage pull quickstart@champion

    brainage pull quickstart --tracking http://mlflow.example.org:5000

    brainage pull bracis2023/unet+brats --cluster cluster.yaml --to checkpoints/
    """
    if cluster:
        from brainage_ray.cli.cluster import pull_there
        from brainage_ray.cli.run import Place

        pull_there(model, to, Place(workspace, tracking=tracking), cluster)
        return
    from brainage_ray.cli.models import pull_model

    with looked_into(workspace) as folder:
        pull_model(model, to, folder, tracking)


def models(
    experiment: Annotated[
        str | None, typer.Argument(help="Name of an experiment; default: all.", metavar="EXPERIMENT")
    ] = None,
    workspace: Workspace = RUNS,
    tracking: Tracking = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """List the registered models: error, brain-age delta, ages they learned from, date; the chosen arm is marked.

    For example:

    brainage models

    brainage models quickstart --json
    """
    from brainage_ray.cli.models import show_models

    with looked_into(workspace) as folder:
        show_models(experiment, folder.absolute(), tracking or None, as_json)


def predict(  # noqa: PLR0913 (the options of a verb are its parameters)
    inputs: Annotated[
        list[Path],
        typer.Argument(
            help="T1 scans, heads or brains: NIfTI files, folders, BIDS datasets, or tables (CSV, TSV, Parquet) with a "
            "column image and, if there, age_years, sex, subject and session.",
            metavar="INPUT...",
        ),
    ],
    model: Annotated[
        str,
        typer.Option(
            metavar="DIR|NAME",
            help="Folder that `pull` made, EXPERIMENT/ARM of the workspace, or models:/NAME@champion of the registry.",
        ),
    ] = "checkpoints",
    out: Annotated[Path, typer.Option(help="CSV to write.")] = Path("ages.csv"),
    html: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for a page a scan and an index.html.")
    ] = None,
    brain_extraction: Annotated[
        BrainExtraction,
        typer.Option(
            help="How the brain is taken out of a head; auto: where the scan is one, as the model's own were."
        ),
    ] = BrainExtraction.auto,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    batch_size: Annotated[int, typer.Option(help="Slices at a time on a GPU.", min=1)] = 512,
    workers: Annotated[int, typer.Option(help="Processes that prepare scans; 0: one a core.", min=0)] = 0,
    cache: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder for what is done already; default: OUT.cache, beside the CSV."),
    ] = None,
    workspace: Workspace = RUNS,
    tracking: Tracking = None,
) -> None:
    """Read the brain age off scans, with an interval, or with what speaks against trusting it.

    Stopped or killed, the same command goes on where it was.

    For example:

    brainage predict --model checkpoints/ scans/*.nii.gz --out ages.csv

    brainage predict --model models:/quickstart@champion bids/ --html pages/ --workers 4
    """
    import os

    from brainage_ray.cli.models import predict_ages
    from brainage_ray.cli.run import Place
    from brainage_ray.pipeline import PredictOptions

    kept = out.with_name(f"{out.name}.cache") if cache is None else cache
    with looked_into(workspace) as folder:
        options = PredictOptions(device, batch_size, workers or os.cpu_count() or 1, brain_extraction.value, kept, html)
        raise typer.Exit(predict_ages(inputs, model, out, options, Place(folder, tracking=tracking)))


def phantom(
    out: Annotated[Path, typer.Option(help="Folder to make; ADNI/ and BraTS/ go into it.")],
    subjects: Annotated[int, typer.Option(help="People in the ADNI-like tree.", min=0)] = 60,
    tumours: Annotated[int, typer.Option(help="Cases in the BraTS-like tree.", min=0)] = 24,
    seed: Annotated[int, typer.Option(help="Same seed, same bytes.", min=0)] = 0,
) -> None:
    """Write invented people, with planted ageing and tumours, as a download of ADNI and BraTS would look.

    For example: brainage phantom --out phantoms --subjects 60 --seed 0
    """
    from brainage_ray.cli.models import make_phantoms

    make_phantoms(out, subjects, tumours, seed)
