"""`brainage run` and the verbs of the stages."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from brainage_ray.cli.options import RUNS, STORAGE, TRACKING
from brainage_ray.cli.places import Where
from brainage_ray.cli.progress import Bars
from brainage_ray.cli.tables import headline, results_table, say
from brainage_ray.config import load_experiment
from brainage_ray.errors import ConfigError

if TYPE_CHECKING:
    from brainage_ray.pipeline import Servers

USAGE = "Write: brainage report EXPERIMENT, or: brainage report --runs RUNS.csv --out DIR."


@dataclass(frozen=True)
class Place:
    """Where a run works, as the options say."""

    workspace: Where = RUNS
    address: str | None = None
    storage: str | None = field(default=None, repr=False)
    tracking: str | None = None

    @property
    def servers(self) -> Servers:
        """Those that are named; an empty word, as of an empty variable, names none."""
        from brainage_ray.pipeline import Servers

        return Servers(self.storage or None, self.tracking or None)

    @property
    def words(self) -> list[str]:
        """The options that name it again; a password is not in them, nor what the environment says anyway."""
        words = ["--workspace", str(self.workspace)] if self.workspace != RUNS else []
        words += ["--address", self.address] if self.address else []
        if self.storage and self.storage != os.environ.get(STORAGE):
            from brainage_ray.execution import storage_without_secrets

            words += ["--storage", storage_without_secrets(self.storage)]
        if self.tracking and self.tracking != os.environ.get(TRACKING):
            words += ["--tracking", self.tracking]
        return words


def run(path: Path, overrides: Sequence[str], place: Place, until: str) -> None:
    """Run an experiment up to a stage, show bars, print the table and where the report lies."""
    experiment = load_experiment(path, overrides)
    from brainage_ray.pipeline import check_stage, preflight_here

    check_stage(until)
    if place.address is None and isinstance(place.workspace, Path):
        preflight_here(experiment, place.workspace.absolute(), until)
    console = Console()
    console.print(headline(experiment))
    from brainage_ray.pipeline import run_experiment  # takes seconds: a refusal does not wait for it

    result = run_experiment(experiment, place.workspace, place.address, until, Bars(console), place.servers)
    if result is None:
        rest = the_rest(path, overrides, place)
        say(console, f"Done up to {until}. Go on with: {rest}")
        return
    console.print(results_table(result))
    console.print(result.verdict, markup=False, highlight=False)
    arm = result.champion
    pull = shlex.join(["brainage", "pull", f"{experiment.name}/{arm}", "--to", "checkpoints/", *_elsewhere(place)])
    console.print(f"Chosen on validation: {arm}.  {pull}", markup=False, highlight=False)
    if result.page is not None:
        say(console, f"Report: {result.page}")
    if not isinstance(place.workspace, Path):
        say(console, f"All of it is in {place.workspace}")


def _elsewhere(place: Place) -> list[str]:
    return [] if isinstance(place.workspace, Path) else ["--workspace", place.workspace]


def the_rest(path: Path, overrides: Sequence[str], place: Place) -> str:
    """Return the command that goes on with what was done: with the same values, in the same place."""
    words = ["brainage", "run", str(path)]
    for override in overrides:
        words += ["--set", override]
    return shlex.join(words + place.words)


def report(path: Path | None, overrides: Sequence[str], place: Place, tables: Path | None) -> None:
    """Run an experiment up to its report.

    Raises:
        ConfigError: there is no experiment, or a folder for tables that only --runs writes.
    """
    if path is None:
        raise ConfigError("report was given nothing to report", USAGE)
    if tables is not None:
        problem = f"--out {tables} is for the tables of --runs; an experiment's report lies in its workspace"
        raise ConfigError(problem, USAGE)
    run(path, overrides, place, "report")
