"""The verbs that open a model up: explain, export and serve. Heavy imports happen inside them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

ModelFolder = Annotated[Path, typer.Option(help="Folder that `pull` made.")]


class Format(StrEnum):
    """See pipeline.export.FORMATS."""

    monai = "monai"
    onnx = "onnx"
    torch = "torch"
    pyfunc = "pyfunc"


def explain(
    inputs: Annotated[
        list[Path], typer.Argument(help="Scans (NIfTI), as predict takes them, or folders of them.", metavar="INPUT...")
    ],
    out: Annotated[Path, typer.Option(help="New folder for maps, tables and a figure.")],
    model: ModelFolder = Path("checkpoints"),
) -> None:
    """Show which regions drive the age: integrated gradients and occlusion, the mean over scans and seeds.

    For example: brainage explain --model checkpoints/ scans/*.nii.gz --out explained
    """
    from brainage_ray.cli.models import explain_ages

    raise typer.Exit(explain_ages(inputs, model, out))


def export(
    to: Annotated[Path, typer.Option(help="New folder.")],
    format_: Annotated[Format, typer.Option("--format", help="What others run it with.")] = Format.monai,
    model: ModelFolder = Path("checkpoints"),
) -> None:
    """Write a model as a MONAI bundle, ONNX, a program of torch.export, or an MLflow pyfunc.

    An exported network is run and compared with the model before it is written: 1e-4 years at most.

    For example: brainage export --model checkpoints/ --to bundle --format monai
    """
    from rich.console import Console

    from brainage_ray.pipeline import export_model

    difference = export_model(model, to, format_.value)
    same = "" if difference is None else f"; its ages differ by {difference:.1g} years at most"
    Console().print(f"{to}: {format_.value}{same}", markup=False, highlight=False, soft_wrap=True)


def serve(
    model: ModelFolder = Path("checkpoints"),
    port: Annotated[int, typer.Option(help="To listen on.", min=0, max=65535)] = 5001,
    host: Annotated[str, typer.Option(help="Address to listen on. The server asks for no password.")] = "127.0.0.1",
    max_mb: Annotated[int, typer.Option(help="Of a request.", min=1, max=2048)] = 128,
) -> None:
    r"""Answer uploads with brain ages: MLflow's model server with a model in it.

    For example:

    brainage serve --model checkpoints/ --port 5001

    echo "{\"dataframe_records\": [{\"image\": \"$(base64 -w0 scan.nii.gz)\"}]}" | curl -s -d @-
    -H "Content-Type: application/json" http://127.0.0.1:5001/invocations
    """
    from rich.console import Console

    from brainage_ray.pipeline import serve_model

    console = Console()
    serve_model(model, host, port, max_mb << 20, lambda text: console.print(text, markup=False, highlight=False))
