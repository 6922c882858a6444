"""What a terminal is left with: its cursor, and the user's words as they were written."""

from __future__ import annotations

import io
import json
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from brainage_ray.cli import models, tables
from brainage_ray.cli.progress import Bars
from brainage_ray.cli.run import Place, the_rest
from brainage_ray.config import load_experiment
from brainage_ray.errors import ConfigError
from brainage_ray.evaluation.metrics import MaeSummary
from brainage_ray.pipeline import Plan, PlanRow, PredictOptions, StatusRow
from brainage_ray.pipeline.plan import Counts

QUICKSTART = Path(__file__).resolve().parents[2] / "experiments" / "quickstart.yaml"
HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"


@pytest.fixture
def terminal(monkeypatch):
    """Everything that is written to a terminal."""
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=200)
    monkeypatch.setattr(models, "Console", lambda **_: console)
    return written


def test_a_model_that_is_not_there_leaves_the_cursor_on(terminal, tmp_path):
    with pytest.raises(ConfigError, match="no model"):
        models.predict_ages([tmp_path / "a.nii"], str(tmp_path), tmp_path / "ages.csv", PredictOptions(), Place())
    assert HIDE in terminal.getvalue()
    assert terminal.getvalue().rindex(SHOW) > terminal.getvalue().rindex(HIDE)


def test_ctrl_c_in_the_phantoms_leaves_the_cursor_on(terminal, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("brainage_ray.data.phantoms.write_phantoms", interrupted)
    with pytest.raises(KeyboardInterrupt):
        models.make_phantoms(tmp_path / "p", 5, 1, 0)
    assert HIDE in terminal.getvalue()
    assert terminal.getvalue().rindex(SHOW) > terminal.getvalue().rindex(HIDE)
    assert not list(tmp_path.iterdir())


def test_what_to_go_on_with_has_the_same_values_and_the_same_folder():
    line = the_rest(Path("my study.yaml"), ["name=a b", "data.max_failures=2"], Place(Path("elsewhere"), "auto"))
    path, *options = shlex.split(line)[2:]
    assert path == "my study.yaml"
    assert options[:4] == ["--set", "name=a b", "--set", "data.max_failures=2"]
    assert options[4:] == ["--workspace", "elsewhere", "--address", "auto"]
    assert the_rest(Path("a.yaml"), [], Place()) == "brainage run a.yaml"


def test_a_bar_ends_once(terminal):
    bars = Bars(models.Console())
    bars.end()
    assert terminal.getvalue() == ""
    bars.begin("search [unet]", 2, "epochs")
    bars.advance(2, "best [/b] 3.0 years")
    bars.end()
    bars.end()
    assert terminal.getvalue().count("search [unet]: 2 of 2 done") == 1


def shown(what) -> str:
    written = io.StringIO()
    Console(file=written, width=200).print(what)
    return written.getvalue()


def test_what_the_user_wrote_is_no_markup():
    words = "a [bold] claim [/b] \\"
    assert f"quickstart {words}\n" in shown(
        tables.headline(load_experiment(QUICKSTART, [f"description={json.dumps(words)}"]))
    )
    assert words in shown(tables.status_table("x", [StatusRow("search", "unet", 0, 1, words)]))
    row = PlanRow("pretrain", f"import {words}", 0, 0, 0.0, 0.1)
    assert words in shown(tables.plan_table(Plan(Counts({}, 0, "read from the sources"), (row,), "CPU")))


def test_a_table_of_results_that_leak_says_so_below():
    mae = MaeSummary((0,), (3.0,), 3.0, None, 3.0, 3.0, 12)
    arm = SimpleNamespace(arm="unet", mae=mae, deltas=())
    summary = SimpleNamespace(arms=(arm,), null=SimpleNamespace(mae_years=5.0))
    result = SimpleNamespace(experiment="e", summary=summary, validation_mae={"unet": 3.1}, leak="They leak.")
    shown = io.StringIO()
    Console(file=shown, width=100).print(tables.results_table(result))
    assert "over seeds \N{DAGGER}" in shown.getvalue()
    assert "\N{DAGGER} They leak." in shown.getvalue()
    result.leak = ""
    assert "\N{DAGGER}" not in str(tables.results_table(result).title) + str(tables.results_table(result).caption)
