"""Every file for `ray up` passes Ray's own checks, opens nothing to the world and names only what is there."""

from __future__ import annotations

import copy
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).resolve().parent.parent
CLOUDS = ("cluster.yaml", "cluster/gcp.yaml")
FILES = (*CLOUDS, "cluster/local.yaml")
COMMANDS = (
    "initialization_commands",
    "setup_commands",
    "head_setup_commands",
    "worker_setup_commands",
    "head_start_ray_commands",
    "worker_start_ray_commands",
)


@pytest.fixture(params=FILES)
def file(request) -> Path:
    return ROOT / request.param


@pytest.fixture
def cluster(file) -> dict[str, Any]:
    return yaml.safe_load(file.read_text())


@pytest.fixture
def commands(cluster) -> list[str]:
    return [command for name in COMMANDS for command in cluster.get(name, [])]


def starts(cluster: dict[str, Any], role: str) -> list[str]:
    return [c for c in cluster[f"{role}_start_ray_commands"] if "ray start" in c]


def test_ray_takes_the_file_and_keeps_every_command(cluster):
    prepared = prepare_config(copy.deepcopy(cluster))
    validate_config(prepared)
    for name in ("head_start_ray_commands", "worker_start_ray_commands", "file_mounts"):
        assert prepared[name] == cluster[name]
    assert prepared["head_setup_commands"][: len(cluster["setup_commands"])] == cluster["setup_commands"]


def test_ray_refuses_an_unknown_key(cluster):
    prepared = prepare_config(copy.deepcopy(cluster) | {"learning_rate": 1.0e-4})
    with pytest.raises(jsonschema.ValidationError, match="learning_rate"):
        validate_config(prepared)


@pytest.mark.parametrize("file", [ROOT / name for name in CLOUDS], ids=CLOUDS)
def test_workers_come_from_zero_on_spot_and_go_when_idle(cluster):
    types = cluster["available_node_types"]
    workers = {name: kind for name, kind in types.items() if name != cluster["head_node_type"]}
    assert "GPU" not in types["head"]["resources"]
    assert any(kind["resources"].get("GPU") for kind in workers.values())
    for kind in workers.values():
        assert kind["min_workers"] == 0
        assert 0 < kind["max_workers"] <= cluster["max_workers"]
        assert "spot" in yaml.safe_dump(kind["node_config"]).lower()
    assert "spot" not in yaml.safe_dump(types["head"]).lower()
    assert 0 < cluster["idle_timeout_minutes"] <= 30


def test_pages_listen_on_the_loopback_only(cluster, commands):
    (head,) = starts(cluster, "head")
    assert "--dashboard-host=127.0.0.1" in shlex.split(head)
    assert not any("mlflow server" in c for c in commands)  # `brainage services` starts it, on the loopback
    assert not re.search(r"(?<![\d.])0\.0\.0\.0", "\n".join(commands))


def test_every_node_asks_for_the_token_and_gets_it_as_a_file(cluster, file):
    for role in ("head", "worker"):
        (command,) = starts(cluster, role)
        assert command.startswith("export RAY_AUTH_MODE=token")
        assert 'PATH="$HOME/venv/bin:$PATH"' in command.partition(";")[0]  # jobs of Ray have it from there
    assert cluster["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert not re.search(r"RAY_AUTH_TOKEN|[0-9a-f]{32}", file.read_text())


def test_nodes_install_exactly_the_pinned_packages(cluster, commands):
    (install,) = [c for c in commands if "pip install" in c]
    assert "-c constraints.txt '.[cluster]'" in install
    assert "~/brainage/constraints.txt" in cluster["file_mounts"]


def test_what_is_sent_is_in_the_repository_and_enough_to_install(cluster):
    sent = {remote: local for remote, local in cluster["file_mounts"].items() if not local.startswith("~")}
    missing = [local for local in sent.values() if not (ROOT / local).exists()]
    assert missing == []
    assert all(remote == f"~/brainage/{local}" for remote, local in sent.items())
    assert {"pyproject.toml", "README.md", "LICENSE", "brainage_ray"} <= set(sent.values())


def test_no_command_ends_processes_by_name(commands):
    text = "\n".join(commands)
    assert not re.search(r"\bray stop\b|pkill|killall", text)


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_every_command_is_shell(commands):
    for command in commands:
        subprocess.run(["bash", "-n", "-c", command], check=True, capture_output=True)


def test_a_command_that_runs_again_changes_nothing(cluster, tmp_path):
    remember = [c for name in ("setup_commands", "head_setup_commands") for c in cluster[name] if ">>" in c]
    (path,) = {re.search(r">> ~/(\S+)", command)[1] for command in remember}
    profile = tmp_path / path
    profile.touch()
    for command in remember * 2:
        subprocess.run(["bash", "-c", command], check=True, env=os.environ | {"HOME": str(tmp_path)})
    assert len(profile.read_text().splitlines()) == len(remember) == 2
    told = ["bash", "-e", "-c", f". {profile}; echo $RAY_AUTH_MODE $PATH"]  # no services have been started here
    said = subprocess.run(told, env=os.environ | {"HOME": str(tmp_path)}, capture_output=True, text=True, check=True)
    assert said.stdout.startswith(f"token {tmp_path}/venv/bin:")


def test_the_services_start_before_ray_and_with_the_machine(cluster, tmp_path):
    start = "~/venv/bin/brainage services start --workspace /srv/brainage/runs"
    assert cluster["head_start_ray_commands"][0] == start
    (remember,) = [c for c in cluster["head_setup_commands"] if "crontab" in c]
    table = tmp_path / "table"
    table.write_text("5 4 * * * backup\n")
    crontab = tmp_path / "crontab"  # nobody's own table is touched
    crontab.write_text(f'#!/bin/sh\n[ "$1" = -l ] && exec cat {table}\ncat > {table}.new; mv {table}.new {table}\n')
    crontab.chmod(0o755)
    for _ in range(2):
        environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
        subprocess.run(["bash", "-c", remember], check=True, env=environment)
    assert table.read_text() == f"5 4 * * * backup\n@reboot {start}\n"


def test_postgresql_is_installed_on_the_head_where_it_is_not(cluster):
    (install,) = [c for c in cluster["head_setup_commands"] if "install -qy postgresql" in c]
    assert install.startswith("ls /usr/lib/postgresql/*/bin/initdb")
    assert not any("postgresql" in c for c in [*cluster["setup_commands"], *cluster["worker_setup_commands"]])


def test_the_commands_at_its_head_name_the_file_itself(file):
    name = str(file.relative_to(ROOT))
    calls = re.findall(r"(?:ray (?:up|down|exec|attach|dashboard|rsync-up)|--cluster) ([\w./]+)", file.read_text())
    assert len(calls) >= 8
    assert set(calls) == {name}


def test_no_hyperparameter_is_in_it(cluster):
    words = set(re.findall(r"[a-z_]+", yaml.safe_dump(cluster)))
    assert words.isdisjoint({"lr", "learning_rate", "batch_size", "epochs", "trials", "seeds", "optimizer"})
