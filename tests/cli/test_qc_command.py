"""`brainage qc` as a user types it, where no scan has to be prepared."""

from __future__ import annotations

import pytest
import yaml
from typer.testing import CliRunner

from brainage_ray.cli.app import app
from brainage_ray.config import load_experiment
from brainage_ray.data import TestLedger, read_exclusions
from brainage_ray.errors import ConfigError


@pytest.fixture
def workspace(tmp_path):
    """A workspace that knows one experiment, on six people whose scans nobody has to read."""
    rows = [f"s{i},{50 + i},F,CN,s{i}.nii.gz" for i in range(6)]
    (tmp_path / "people.csv").write_text("\n".join(["subject,age_years,sex,diagnosis,image", *rows]) + "\n")
    for i in range(6):
        (tmp_path / f"s{i}.nii.gz").write_bytes(b"")
    experiment = {
        "name": "small",
        "data": {"sources": [{"kind": "table", "table": "people.csv", "cohort": "X"}], "exclusions": "qc.csv"},
        "arms": {"unet": {"backbone": {"kind": "unet"}}},
        "search": {"space": {"parameters": {"training.optimizer.lr": {"type": "float", "low": 1.0e-4, "high": 0.01}}}},
    }
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(experiment))
    folder = tmp_path / "runs"
    (folder / "small").mkdir(parents=True)
    (folder / "small" / "experiment.json").write_text(load_experiment(tmp_path / "small.yaml").model_dump_json())
    return folder


def brainage(*arguments):
    done = CliRunner().invoke(app, ["qc", *map(str, arguments)])
    if isinstance(done.exception, Exception):
        raise done.exception
    return done


@pytest.mark.parametrize("verb", ["page", "exclude", "include"])
def test_each_verb_has_help_with_an_example(verb):
    done = brainage(verb, "--help")
    assert done.exit_code == 0
    example = "qc experiments/ixi.yaml" if verb == "page" else f"qc {verb} IXI035"
    assert f"brainage {example}" in " ".join(done.output.split())


def test_as_the_issue_writes_it(workspace, monkeypatch):
    monkeypatch.chdir(workspace.parent)  # the workspace is runs/ here, as by default
    assert "X s1.nii.gz is excluded in" in brainage("exclude", "s1.nii.gz", "--reason", "motion").output
    assert "nothing is changed" in brainage("exclude", "s1.nii.gz", "--reason", "motion").output
    assert "it was: motion" in brainage("exclude", "s1.nii.gz", "--reason", "half empty").output
    (one,) = read_exclusions(workspace.parent / "qc.csv")
    assert (one.id, one.reason) == (("X", "s1.nii.gz"), "half empty")
    assert "s1.nii.gz is back" in brainage("include", "s1.nii.gz").output
    assert "was not excluded" in brainage("include", "s1.nii.gz").output
    assert read_exclusions(workspace.parent / "qc.csv") == ()


def test_a_choice_after_results_is_said(workspace):
    TestLedger(workspace / "small" / "test_ledger.jsonl").record("quality control", "hash")
    quiet = brainage("exclude", "s0.nii.gz", "--reason", "motion", "--workspace", workspace)
    assert "Mind" not in quiet.output
    TestLedger(workspace / "small" / "test_ledger.jsonl").record("unet seed 0", "hash")
    loud = brainage("exclude", "s1.nii.gz", "--reason", "motion", "--workspace", workspace)
    assert "Mind that the test split was opened once for models before" in loud.output


def test_a_file_without_an_experiment_needs_the_cohort(workspace, tmp_path):
    file = tmp_path / "other.csv"
    with pytest.raises(ConfigError, match=r"reads its exclusions from .*other\.csv.*--cohort"):
        brainage("exclude", "a", "--reason", "x", "--file", file, "--workspace", workspace)
    brainage("exclude", "a", "--reason", "x", "--file", file, "--cohort", "X", "--workspace", workspace)
    assert read_exclusions(file)[0].id == ("X", "a")
    assert "a is back" in brainage("include", "a", "--file", file, "--workspace", workspace).output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["exclude", "s9.nii.gz", "--reason", "x"], r'no image "s9\.nii\.gz"\. Did you mean the image "s\d\.nii'),
        (["exclude", "s1.nii.gz", "--reason", "x", "--cohort", "Y"], r"in the cohort Y"),
        (["exclude", "s1.nii.gz", "--reason", " "], r"without a reason"),
        (["exclude", "s1.nii.gz", "--reason", "x", "--experiment", "large"], r"no experiment large.*There are small"),
        (["include", "zzzzzzzzzzz"], r'no image "zzzzzzzzzzz"'),
    ],
)
def test_what_the_user_wrote_wrong_is_named(workspace, arguments, words):
    with pytest.raises(ConfigError, match=words) as raised:
        brainage(*arguments, "--workspace", workspace)
    assert raised.value.exit_code == 2
    assert not (workspace.parent / "qc.csv").exists()


def test_a_workspace_that_knows_no_file_says_how_to_name_one(tmp_path):
    with pytest.raises(ConfigError, match=r"reads exclusions\. Write exclusions: qc\.csv under data"):
        brainage("exclude", "a", "--reason", "x", "--workspace", tmp_path / "none")
