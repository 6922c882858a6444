"""What an experiment is called on a cluster, and what runs there."""

from __future__ import annotations

import subprocess
from pathlib import Path, PurePosixPath

import yaml
from test_cluster_jobs import EXPERIMENT

from brainage_ray.cluster import WORKSPACE, Order, find_tree
from brainage_ray.cluster.submit import on_head
from brainage_ray.config import load_experiment


def order(folder: Path, *overrides: str, until: str = "report", workspace: PurePosixPath = WORKSPACE) -> Order:
    (folder / "sub").mkdir(parents=True, exist_ok=True)
    experiment = EXPERIMENT | {
        "data": EXPERIMENT["data"] | {"sources": [{"kind": "table", "table": "scans.csv", "cohort": "c"}]}
    }
    file = folder / "sub" / "e.yaml"
    file.write_text(yaml.safe_dump(experiment))
    tree = find_tree(folder)
    return Order(load_experiment(file, overrides), file, overrides, until, workspace, tree)


def test_the_same_settings_have_the_same_name_wherever_they_are(tmp_path):
    base = order(tmp_path / "mine").base
    assert base.startswith("afar-")
    assert order(tmp_path / "yours").base == base
    assert order(tmp_path / "mine", "search.trials=4").base == base  # what the file says anyway
    others = [
        order(tmp_path / "mine", "search.trials=7"), order(tmp_path / "mine", until="search"),
        order(tmp_path / "mine", workspace=PurePosixPath("/other")),
    ]  # fmt: skip
    assert len({base, *(other.base for other in others)}) == 4


def test_the_command_is_the_one_that_was_given(tmp_path):
    command = order(tmp_path, "search.seed= 1", until="search").command()
    assert command.endswith(
        "exec python -m brainage_ray.cli run sub/e.yaml --set 'search.seed= 1' --until search --address auto "
        "--workspace /srv/brainage/runs"
    )


def test_the_services_of_the_workspace_are_used_where_they_are(tmp_path):
    services = tmp_path / "services"
    services.mkdir()
    (services / "environment").write_text("export WHERE='my db'\n")
    for workspace, said in ((tmp_path, "my db"), (tmp_path / "none", "")):
        command = on_head(PurePosixPath(workspace), 'echo "$WHERE"; pwd', Path("sub"))
        (tmp_path / "sub").mkdir(exist_ok=True)
        done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert done.stdout.splitlines() == [said, str(tmp_path / "sub")]
