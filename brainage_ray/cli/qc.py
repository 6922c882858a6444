"""`brainage qc`: the page, exclude and include."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from brainage_ray.cli.options import RUNS, Address, ExperimentFile, Overrides, Workspace
from brainage_ray.cli.places import looked_into, worked_in

LISTED = 10
"""Outliers that the terminal names."""


class PageByDefault(TyperGroup):
    """`brainage qc EXPERIMENT` is `brainage qc page EXPERIMENT`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put in the verb that is left out."""
        if args and args[0] not in {*self.commands, "--help"}:
            args = ["page", *args]
        return super().parse_args(ctx, args)


qc = typer.Typer(cls=PageByDefault, no_args_is_help=True, rich_markup_mode="rich")

Images = Annotated[list[str], typer.Argument(help="Image ids, as the page writes them.", metavar="IMAGE...")]
Named = Annotated[
    str | None,
    typer.Option(
        "--experiment", help="Experiment, by name in the workspace or by file; default: whichever has the image.",
        metavar="EXPERIMENT",
    ),
]  # fmt: skip
Cohort = Annotated[str | None, typer.Option(help="Cohort, where two have an image of that id.")]
File = Annotated[
    Path | None, typer.Option(help="CSV to change; default: the one that data.exclusions names.", metavar="CSV")
]


@qc.callback()
def _quality_control() -> None:
    """Look at every scan, outliers first, and leave out the bad ones.

    For example:

    brainage qc experiments/ixi.yaml

    brainage qc exclude IXI035 --reason 'lower half missing'

    brainage qc include IXI035
    """


@qc.command()
def page(
    experiment: ExperimentFile,
    set_: Overrides = None,
    workspace: Workspace = RUNS,
    address: Address = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the page; default: WORKSPACE/NAME/qc.", metavar="DIR")
    ] = None,
    test_images: Annotated[
        bool,
        typer.Option("--test-images/--no-test-images", help="Show test scans too; their ledger takes that down."),
    ] = True,
) -> None:
    """Write the page of all scans; the word page may be left out. Scans that are not prepared yet are prepared first.

    For example: brainage qc experiments/ixi.yaml --out qc/
    """
    from rich.console import Console

    from brainage_ray.cli.progress import Bars
    from brainage_ray.config import load_experiment
    from brainage_ray.pipeline.qc import write_quality_page

    console = Console()
    loaded = load_experiment(experiment, set_ or [])
    with worked_in(workspace, f"qc {loaded.name}") as folder:
        made = write_quality_page(loaded, folder, out, test_images=test_images, address=address,
                                  progress=Bars(console))  # fmt: skip
    outliers = made.scans[made.scans["outlier"]]
    _say(f"{len(made.scans)} scans, {len(outliers)} outliers" + (":" if len(outliers) else "."))
    for scan in outliers.head(LISTED).itertuples():
        _say(f"  {scan.cohort} {scan.image}: {scan.why}")
    if len(outliers) > LISTED:
        _say(f"  and {len(outliers) - LISTED} more")
    _say(f"Quality control: {made.page}")


@qc.command()
def exclude(
    images: Images,
    reason: Annotated[str, typer.Option(help="Why, in words; the ledger and the report print it.")],
    experiment: Named = None,
    cohort: Cohort = None,
    file: File = None,
    workspace: Workspace = RUNS,
) -> None:
    """Leave scans out: writes them into the CSV that data.exclusions of the experiment names.

    For example:

    brainage qc exclude IXI035 --reason 'lower half missing'

    brainage qc exclude IXI035 IXI036 --experiment ixi --reason 'motion'

    brainage qc exclude IXI035 --file qc.csv --cohort IXI --reason 'motion'
    """
    from brainage_ray.pipeline.exclusions import Where, exclude_images

    with looked_into(workspace) as folder:
        changes = exclude_images(images, reason, Where(folder.absolute(), experiment, cohort, _absolute(file)))
    for change in changes:
        if change.before is None:
            _say(f"{change.cohort} {change.image} is excluded in {change.file}.")
        elif change.before.reason == " ".join(reason.split()):
            _say(f"{change.cohort} {change.image} was excluded already, for that reason; nothing is changed.")
        else:
            _say(f"{change.cohort} {change.image} has another reason now in {change.file}; it was: "
                 f"{change.before.reason}")  # fmt: skip
    if openings := max(change.openings for change in changes):
        times = "once" if openings == 1 else f"{openings} times"
        _say(f"Mind that the test split was opened {times} for models before: results may have led to this choice. "
             "Report them with and without.")  # fmt: skip


@qc.command()
def include(
    images: Images,
    experiment: Named = None,
    cohort: Cohort = None,
    file: File = None,
    workspace: Workspace = RUNS,
) -> None:
    """Bring excluded scans back: takes them out of the CSV.

    For example: brainage qc include IXI035
    """
    from brainage_ray.pipeline.exclusions import Where, include_images

    with looked_into(workspace) as folder:
        changes = include_images(images, Where(folder.absolute(), experiment, cohort, _absolute(file)))
    for change in changes:
        if change.before is None:
            _say(f"{change.cohort} {change.image} was not excluded; nothing is changed.")
        else:
            _say(f"{change.cohort} {change.image} is back; it was excluded in {change.file}: {change.before.reason}")


def _absolute(file: Path | None) -> Path | None:
    return None if file is None else file.absolute()


def _say(line: str) -> None:
    typer.echo(line)
