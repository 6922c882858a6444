"""The verbs. Heavy imports happen inside them, so that --help answers at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from brainage_ray.cli.options import RUNS, Address, ExperimentFile, Overrides, Storage, Tracking, Workspace
from brainage_ray.cli.places import looked_into
from brainage_ray.cli.qc import qc
from brainage_ray.cli.services import services

app = typer.Typer(
    name="brainage",
    help="Brain-age models: pre-training, hyperparameter search, refits, statistics, a report.\n\n"
    "Start with: brainage run experiments/quickstart.yaml",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    epilog="Any verb takes --debug for the details of an error.",
)
app.add_typer(qc, name="qc", rich_help_panel="Experiments")
app.add_typer(services, name="services", rich_help_panel="Experiments")


def _pipeline_verb(stage: str, what: str, number: int) -> None:
    """Register the verb of a stage: run the experiment up to and with that stage."""

    def verb(
        experiment: ExperimentFile,
        set_: Overrides = None,
        workspace: Workspace = RUNS,
        address: Address = None,
        storage: Storage = None,
        tracking: Tracking = None,
    ) -> None:
        from brainage_ray.cli.run import Place, run

        run(experiment, set_ or [], Place(workspace, address, storage, tracking), stage)

    verb.__doc__ = (
        f"Stage {number} of 6: {what}.\n\n"
        "Stages before it that are not done run first.\n\n"
        f"For example: brainage {stage} experiments/quickstart.yaml"
    )
    app.command(stage, rich_help_panel="Stages")(verb)


@app.command(rich_help_panel="Experiments")
def run(  # noqa: PLR0913 (the options of a verb are its parameters)
    experiment: ExperimentFile,
    set_: Overrides = None,
    workspace: Workspace = RUNS,
    address: Address = None,
    storage: Storage = None,
    tracking: Tracking = None,
    until: Annotated[
        str, typer.Option(help="Stop after: prepare, pretrain, search, refit, evaluate or report.", metavar="STAGE")
    ] = "report",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would run and what it costs.")] = False,
) -> None:
    """Run a whole experiment; what is already done is not done again.

    For example:

    brainage run experiments/quickstart.yaml

    brainage run experiments/ixi.yaml --set data.root=/data/ixi --set search.trials=12

    brainage run experiments/bracis2023.yaml --dry-run
    """
    from brainage_ray.cli.run import Place

    place = Place(workspace, address, storage, tracking)
    if dry_run:
        from brainage_ray.cli.plan import show_plan

        show_plan(experiment, set_ or [], place, until)
    else:
        from brainage_ray.cli.run import run as run_verb

        run_verb(experiment, set_ or [], place, until)


for _number, (_stage, _what) in enumerate(
    {
        "prepare": "read the sources and cut the scans into slices",
        "pretrain": "pre-train the encoders on segmentation, or fetch their weights",
        "search": "search hyperparameters per arm, on the validation split",
        "refit": "train the final models on train + validation",
        "evaluate": "open the test split once per model and compute the statistics",
    }.items(),
    start=1,
):
    _pipeline_verb(_stage, _what, _number)


@app.command(rich_help_panel="Stages")
def report(  # noqa: PLR0913 (the options of a verb are its parameters)
    experiment: Annotated[
        Path | None, typer.Argument(help="Experiment file (YAML); not with --runs.", metavar="EXPERIMENT")
    ] = None,
    set_: Overrides = None,
    workspace: Workspace = RUNS,
    address: Address = None,
    storage: Storage = None,
    tracking: Tracking = None,
    runs: Annotated[Path | None, typer.Option(help="CSV of per-run results, one row a run.", metavar="CSV")] = None,
    out: Annotated[Path | None, typer.Option(help="With --runs: folder for the tables.", metavar="DIR")] = None,
) -> None:
    """Stage 6 of 6: write the report page. Or, with --runs, the paper's two tables from a file of per-run results.

    Stages before it that are not done run first.

    For example:

    brainage report experiments/quickstart.yaml

    brainage report --runs runs.csv --out tables/
    """
    if runs is not None:
        from brainage_ray.cli.published import make_published_tables

        make_published_tables(runs, out, experiment, set_ or [])
    else:
        from brainage_ray.cli.run import Place
        from brainage_ray.cli.run import report as report_verb

        report_verb(experiment, set_ or [], Place(workspace, address, storage, tracking), out)


@app.command(rich_help_panel="Experiments")
def status(
    experiment: ExperimentFile, set_: Overrides = None, workspace: Workspace = RUNS, storage: Storage = None
) -> None:
    """Show how far each stage of an experiment is, and what is best so far.

    For example: brainage status experiments/quickstart.yaml
    """
    from brainage_ray.cli.plan import show_status
    from brainage_ray.cli.run import Place

    show_status(experiment, set_ or [], Place(workspace, storage=storage))


@app.command(rich_help_panel="Experiments")
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


@app.command(rich_help_panel="Experiments")
def compare(
    runs: Annotated[
        list[str],
        typer.Argument(help="Finished experiments: names in the workspace, or their folders.", metavar="RUN RUN..."),
    ],
    workspace: Workspace = RUNS,
    out: Annotated[Path | None, typer.Option(help="Folder for a page, Markdown and CSV.", metavar="DIR")] = None,
) -> None:
    """Put finished experiments side by side: results, settings that differ, and the paired difference of the MAE.

    For example:

    brainage compare quickstart quickstart-wide --out comparison/

    brainage compare runs/quickstart /mnt/other/runs/quickstart
    """
    from brainage_ray.cli.compare import compare_runs

    with looked_into(workspace) as folder:
        compare_runs(runs, folder.absolute(), out)


@app.command(rich_help_panel="Experiments")
def ui(
    workspace: Workspace = RUNS,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 5000,
    optuna: Annotated[bool, typer.Option("--optuna", help="The searches in Optuna's dashboard instead.")] = False,
    storage: Storage = None,
) -> None:
    """Browse all runs of a workspace in MLflow's own pages, until Ctrl-C; or its searches in Optuna's dashboard.

    For example:

    brainage ui --port 5001

    brainage ui --optuna
    """
    if optuna:
        from brainage_ray.cli.dashboard import show_dashboard

        with looked_into(workspace) as folder:
            show_dashboard(folder, storage, host, port)
        return
    from brainage_ray.tracking import serve_ui

    typer.echo(f"MLflow on http://{host}:{port} (Ctrl-C ends it)")
    with looked_into(workspace) as folder:
        raise typer.Exit(serve_ui(folder, host, port))


@app.command(rich_help_panel="Models")
def pull(
    model: Annotated[str, typer.Argument(help="EXPERIMENT/ARM, or EXPERIMENT for the arm chosen on validation.")],
    to: Annotated[Path, typer.Option(help="Folder for the model's files.")] = Path("checkpoints"),
    workspace: Workspace = RUNS,
    tracking: Tracking = None,
) -> None:
    """Copy the final models of an arm, with all that predict needs.

    For example:

    brainage pull quickstart/unet+brats --to checkpoints/

    brainage pull quickstart
    """
    from brainage_ray.cli.models import pull_model

    with looked_into(workspace) as folder:
        pull_model(model, to, folder, tracking)


@app.command(rich_help_panel="Models")
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


@app.command(rich_help_panel="Models")
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


@app.callback(invoke_without_command=True)
def _top(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> Any:
    if version:
        from brainage_ray import __version__

        typer.echo(__version__)
        raise typer.Exit
