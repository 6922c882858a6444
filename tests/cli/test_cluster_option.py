"""What --cluster does not go with."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from brainage_ray.cli.cluster import run_place, status_there, workspace_there
from brainage_ray.cli.main import _account
from brainage_ray.cli.run import Place
from brainage_ray.cluster.submit import on_head
from brainage_ray.errors import ConfigError, Detached


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (Place(address="auto"), "two clusters"),
        (Place(Path("my/runs")), "no absolute path"),
        (Place("s3://bucket/runs"), "no folder of the head"),
        (Place(storage="sqlite:///s.db"), "--storage does not go"),
        (Place(tracking="http://localhost:5000"), "--tracking does not go"),
    ],
)
def test_what_names_this_machine_is_refused(place, said):
    with pytest.raises(ConfigError, match=said):
        workspace_there(place)


def test_the_workspace_is_the_clusters_and_the_environment_this_machines(monkeypatch):
    monkeypatch.setenv("BRAINAGE_STORAGE", "sqlite:///s.db")
    assert workspace_there(Place(storage="sqlite:///s.db")) == PurePosixPath("/srv/brainage/runs")
    assert workspace_there(Place(Path("/scratch/runs"))) == PurePosixPath("/scratch/runs")


def test_a_job_works_in_a_workspace_at_a_uri_without_the_heads_services():
    assert run_place(Place("s3://bucket/runs")) == "s3://bucket/runs"
    assert run_place(Place()) == PurePosixPath("/srv/brainage/runs")
    assert "services" in on_head(PurePosixPath("/srv/brainage/runs"), "true")
    assert "services" not in on_head("s3://bucket/runs", "true")


def test_a_status_takes_no_settings():
    with pytest.raises(ConfigError, match="as it was last started"):
        status_there(None, ["search.trials=3"], Place(), Path("cluster.yaml"))


def test_leaving_a_job_is_not_stopping_it():
    assert _account(Detached("It goes on", "Come back."), []) == ("It goes on. Come back.", 130)
    assert _account(Detached("It goes on", ""), [1])[1] == 129
