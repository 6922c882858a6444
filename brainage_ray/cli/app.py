"""The verbs. Heavy imports happen inside them, so that --help answers at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from brainage_ray.cli.check_verbs import audit, doctor
from brainage_ray.cli.model_verbs import models, phantom, predict, pull
from brainage_ray.cli.options import RUNS, Address, ClusterFile, ExperimentFile, Overrides, Storage, Tracking, Workspace
from brainage_ray.cli.places import looked_into
from brainage_ray.cli.qc import qc
from brainage_ray.cli.services import services
from brainage_ray.cli.share_verbs import explain, export, serve
from brainage_ray.errors import ConfigError

DEBUG = "Any verb takes --debug for the details of an error."

app = typer.Typer(
    name="brainage",
    help="Brain-age models: pre-training, hyperparameter search, refits, statistics, a report.\n\n"
    "Start with: brainage run experiments/quickstart.yaml",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    epilog=DEBUG,
)
for _model_verb in (models, pull, predict, phantom):
    app.command(rich_help_panel="Models")(_model_verb)
for _share_verb in (explain, export, serve):
    app.command(rich_help_panel="Models")(_share_verb)
app.add_typer(qc, name="qc", rich_help_panel="Experiments", epilog=DEBUG)
app.add_typer(services, name="services", rich_help_panel="Experiments", epilog=DEBUG)


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
    cluster: ClusterFile = None,
) -> None:
    """Run a whole experiment; what is already done is not done again.

    With --cluster it is a job there, with this folder's code: this command follows it, and may go away; run again it
    follows on.

    For example:

    brainage run experiments/quickstart.yaml

    brainage run experiments/ixi.yaml --set data.root=/data/ixi --set search.trials=12

    brainage run experiments/bracis2023.yaml --dry-run

    brainage run experiments/bracis2023.yaml --cluster cluster.yaml --set data.root=/srv/brainage/data
    """
    from brainage_ray.cli.run import Place

    place = Place(workspace, address, storage, tracking)
    if dry_run and cluster:
        raise ConfigError("--dry-run measures this machine, not a cluster", "Leave out --cluster, or --dry-run.")
    if cluster:
        from brainage_ray.cli.cluster import run_there

        raise typer.Exit(run_there(experiment, set_ or [], place, until, cluster))
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
    experiment: Annotated[
        Path | None, typer.Argument(help="Experiment file (YAML); with --cluster it may be left out.")
    ] = None,
    set_: Overrides = None,
    workspace: Workspace = RUNS,
    storage: Storage = None,
    cluster: ClusterFile = None,
) -> None:
    """Show how far each stage of an experiment is, and what is best so far; with --cluster its jobs there too.

    For example:

    brainage status experiments/quickstart.yaml

    brainage status --cluster cluster.yaml
    """
    from brainage_ray.cli.run import Place

    place = Place(workspace, storage=storage)
    if cluster:
        from brainage_ray.cli.cluster import status_there

        status_there(experiment, set_ or [], place, cluster)
        return
    if experiment is None:
        raise ConfigError("status was given no experiment", "Write: brainage status EXPERIMENT.")
    from brainage_ray.cli.plan import show_status

    show_status(experiment, set_ or [], place)


@app.command(rich_help_panel="Experiments")
def stop(
    cluster: Annotated[Path, typer.Option(help="File that `ray up` started the cluster with.", metavar="FILE")],
    experiment: Annotated[
        Path | None, typer.Argument(help="Experiment file (YAML); not needed where one runs.")
    ] = None,
    workspace: Workspace = RUNS,
) -> None:
    """Stop a job of a cluster: it saves what it has and ends, and the same `brainage run` goes on from there.

    A run on this machine is stopped with Ctrl-C.

    For example: brainage stop experiments/bracis2023.yaml --cluster cluster.yaml
    """
    from brainage_ray.cli.cluster import stop_there
    from brainage_ray.cli.run import Place

    stop_there(experiment, Place(workspace), cluster)


for _check_verb in (audit, doctor):
    app.command(rich_help_panel="Experiments")(_check_verb)


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
    cluster: ClusterFile = None,
) -> None:
    """Browse all runs of a workspace in MLflow's own pages, until Ctrl-C; or its searches in Optuna's dashboard.

    With --cluster both, and Ray's dashboard, come here from the head.

    For example:

    brainage ui --port 5001

    brainage ui --optuna

    brainage ui --cluster cluster.yaml
    """
    if cluster:
        from brainage_ray.cli.cluster import pages_there
        from brainage_ray.cli.run import Place

        pages_there(Place(workspace, storage=storage), host, port, cluster)
        return
    if optuna:
        from brainage_ray.cli.dashboard import show_dashboard

        with looked_into(workspace) as folder:
            show_dashboard(folder, storage, host, port)
        return
    from brainage_ray.tracking import serve_ui

    with looked_into(workspace) as folder:
        raise typer.Exit(serve_ui(folder, host, port, typer.echo))


@app.callback(invoke_without_command=True)
def _top(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> Any:
    if version:
        from brainage_ray import __version__

        typer.echo(__version__)
        raise typer.Exit


for _verbs in (app, qc, services):
    for _verb in _verbs.registered_commands:
        _verb.epilog = DEBUG
