"""The verbs of models: models, pull, predict and phantom. Heavy imports happen inside them, as in `app`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from brainage_ray.cli.options import RUNS, ClusterFile, Tracking, Workspace
from brainage_ray.cli.places import looked_into


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


def predict(
    images: Annotated[list[Path], typer.Argument(help="Skull-stripped T1 scans (NIfTI).", metavar="SCAN...")],
    model: Annotated[Path, typer.Option(help="Folder that `pull` made.")] = Path("checkpoints"),
    out: Annotated[Path, typer.Option(help="CSV to write.")] = Path("ages.csv"),
) -> None:
    """Read the brain age off scans.

    For example: brainage predict --model checkpoints/ scans/*.nii.gz --out ages.csv
    """
    from brainage_ray.cli.models import predict_ages

    raise typer.Exit(predict_ages(images, model, out))


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
