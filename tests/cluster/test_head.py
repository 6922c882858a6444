"""The head of a cluster, and what is said where there is none."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path

import pytest
import yaml
from test_cluster_local import free_port

from brainage_ray.cluster import find_head
from brainage_ray.errors import BrainageError, ConfigError, EngineError

LOCAL = {
    "cluster_name": "c",
    "provider": {"type": "local", "head_ip": "192.0.2.10", "worker_ips": []},
    "auth": {"ssh_user": "me"},
}


def written(folder: Path, config: dict) -> Path:
    (folder / "cluster.yaml").write_text(yaml.safe_dump(config))
    return folder / "cluster.yaml"


def test_machines_of_ones_own_are_found_in_the_file(tmp_path):
    (tmp_path / "key").touch()
    config = LOCAL | {"auth": {"ssh_user": "me", "ssh_private_key": str(tmp_path / "key"), "ssh_proxy_command": "x"}}
    head = find_head(written(tmp_path, config))
    assert (head.ip, head.user, head.key, head.proxy) == ("192.0.2.10", "me", tmp_path / "key", "x")
    assert head.words()[-1] == "me@192.0.2.10"
    assert {"ProxyCommand=x", str(tmp_path / "key")} <= set(head.words())


@pytest.mark.filterwarnings("ignore:.*autoscaler-sdk-tmp:pytest.PytestUnraisableExceptionWarning")  # Ray's own file
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds null"),
        ("a: [", "is not YAML"),
        ("name: quickstart", "has no provider"),
        ("{provider: {type: local}, auth: {}, cluster_name: c}", "provider.head_ip is None"),
        ("{provider: {}, auth: {}, cluster_name: c}", "no provider.type"),
        ("{provider: {type: local}, auth: {ssh_private_key: /no/key}, cluster_name: c}", "/no/key, which is not there"),
        ("{provider: {type: moon}, auth: {}, cluster_name: c}", "moon"),
    ],
)
def test_a_file_that_is_no_cluster_is_refused_with_its_name(tmp_path, text, said):
    file = tmp_path / "c.yaml"
    file.write_text(text)
    with pytest.raises(BrainageError, match=said) as refused:
        find_head(file)
    assert str(file) in str(refused.value)


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(ConfigError, match="There is no file"):
        find_head(tmp_path / "no.yaml")


def test_a_command_runs_on_the_head(head, machine):
    done = head.ssh("cat; echo $HOME >&2; exit 3", told=b"what it is told")
    assert (done.returncode, done.stdout, done.stderr.strip()) == (3, "what it is told", str(machine.home))
    with pytest.raises(EngineError, match=r"not answered within 0\.5 s"):
        head.ssh("sleep 5", timeout_s=0.5)


def test_the_token_is_read_from_the_head(head, machine):
    with pytest.raises(EngineError, match="no token"):
        head.read_token()
    (machine.home / ".ray").mkdir()
    (machine.home / ".ray" / "auth_token").write_text("secret\n")
    assert head.read_token() == "secret"


def test_why_ssh_does_not_get_in_is_said(head, tmp_path):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "other")], check=True)
    (tmp_path / "open").write_bytes(head.key.read_bytes())
    (tmp_path / "open").chmod(0o644)
    for change, said in (
        ({"key": tmp_path / "other"}, "does not let you in"),
        ({"key": tmp_path / "open"}, "chmod 600"),
        ({"port": free_port()}, "No sshd listens"),
        ({"ip": "no.such.machine.invalid"}, "no machine of the name"),
    ):
        with pytest.raises(EngineError, match=said):
            dataclasses.replace(head, **change).ssh("true")
