"""What is special about each way to a cluster beside cluster.yaml, and what stands in no schema of Ray's."""

from __future__ import annotations

import json
import os
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

sys.path.append(str(Path(__file__).resolve().parent.parent / "cluster"))

from commands import commands

from brainage_ray.execution.growth import BOOTSTRAP, Autoscaler

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "cluster"


def load(name: str) -> dict[str, Any]:
    return yaml.safe_load((FOLDER / name).read_text())


@pytest.fixture
def token_at_home(tmp_path, monkeypatch):
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").touch()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(ROOT)
    return tmp_path / ".ray" / "auth_token"


# Every command in order, as Ray's own updater gives it


@pytest.mark.parametrize("file", [ROOT / "cluster.yaml", FOLDER / "gcp.yaml", FOLDER / "local.yaml"], ids=str)
@pytest.mark.parametrize("role", ["head", "worker"])
def test_every_command_of_a_node_is_shown_in_the_order_it_runs(file, role, token_at_home):
    config = yaml.safe_load(file.read_text())
    shown = commands(config, role)
    wanted = [
        *config["setup_commands"], *config[f"{role}_setup_commands"], *config[f"{role}_start_ray_commands"],
    ]  # fmt: skip
    environment = "export RAY_HEAD_IP=HEAD; " if role == "worker" else ""
    starts = config[f"{role}_start_ray_commands"]
    assert shown[-len(wanted) :] == [(environment if c in starts else "") + c for c in wanted]
    sent = [line for line in shown if line.startswith("rsync ")]
    assert sent[0] == f"rsync {token_at_home} ~/.ray/auth_token"
    assert len(sent) == len(config["file_mounts"])


def test_a_file_that_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(ROOT)
    with pytest.raises(FileNotFoundError, match=re.escape(f"{tmp_path}/.ray/auth_token")):
        commands(load("local.yaml"), "head")


# Machines of one's own


def test_only_the_shared_folder_and_packages_need_root():
    kept = [line for line in (FOLDER / "local.yaml").read_text().splitlines() if "sudo" not in line]
    config = yaml.safe_load("\n".join(kept))
    validate_config(prepare_config(config))
    everything = commands_of(config)
    assert not any("sudo" in command for command in everything)
    assert sum("ray start" in command for command in everything) == 2
    assert any("pip install -q -c constraints.txt" in command for command in everything)
    rooted = [command for command in commands_of(load("local.yaml")) if "sudo" in command]
    assert all(re.search(r"nfs|export|/srv/brainage|install -qy postgresql cron", command) for command in rooted)


def commands_of(config: dict[str, Any]) -> list[str]:
    return [c for name, value in config.items() if name.endswith("_commands") for c in value]


def test_the_machines_to_replace_are_nobodys():
    text = (FOLDER / "local.yaml").read_text()
    addresses = set(re.findall(r"\b\d+\.\d+\.\d+\.\d+\b", text)) - {"127.0.0.1"}
    assert addresses
    assert all(address.startswith("192.0.2.") for address in addresses)  # RFC 5737
    assert all("# HERE" in line for line in text.splitlines() if "192.0.2." in line)


def test_the_autoscaler_that_starts_workers_is_asked_for_after_what_ray_up_says():
    *_, start = commands_of({"head_start_ray_commands": load("local.yaml")["head_start_ray_commands"]})
    before, _, _ = start.partition("ray start")
    assert "RAY_enable_autoscaler_v2=0" in before


def test_another_persons_ray_keeps_nobody_from_starting():
    for command in commands_of(load("local.yaml")):
        assert "pgrep" not in command or 'pgrep -u "$(id -u)" -x' in command


# Google Cloud


def test_machines_and_disks_are_in_one_zone():
    text = (FOLDER / "gcp.yaml").read_text()
    provider = load("gcp.yaml")["provider"]
    assert provider["availability_zone"].startswith(provider["region"])
    assert set(re.findall(r"zones/([a-z0-9-]+)/", text)) == {provider["availability_zone"]}


def test_google_knows_every_field():
    api = pytest.importorskip("googleapiclient", reason="needs google-api-python-client")
    document = Path(api.__file__).parent / "discovery_cache" / "documents" / "compute.v1.json"
    schemas = json.loads(document.read_text())["schemas"]

    def check(value: Any, schema: dict[str, Any], where: str) -> None:
        schema = schemas[schema["$ref"]] if "$ref" in schema else schema
        if isinstance(value, dict):
            assert set(value) <= set(schema["properties"]), where
            for key, inner in value.items():
                check(inner, schema["properties"][key], f"{where}.{key}")
        elif isinstance(value, list):
            for inner in value:
                check(inner, schema["items"], where)
        else:
            assert schema["type"] == {str: "string", bool: "boolean", int: "string"}[type(value)], where
            assert value in schema.get("enum", [value]), where

    for name, kind in load("gcp.yaml")["available_node_types"].items():
        check(kind["node_config"], {"$ref": "Instance"}, name)


def test_a_spot_machine_that_is_taken_away_leaves_no_disk():
    for name, kind in load("gcp.yaml")["available_node_types"].items():
        assert all(disk["autoDelete"] for disk in kind["node_config"]["disks"])
        scheduling = kind["node_config"].get("scheduling", {})
        assert (scheduling.get("instanceTerminationAction") == "DELETE") == (name != "head")


# Kubernetes


@pytest.fixture
def manifests() -> dict[str, dict[str, Any]]:
    return {m["kind"]: m for m in yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text())}


@pytest.fixture
def spec(manifests) -> dict[str, Any]:
    return manifests["RayCluster"]["spec"]


def groups_of(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [spec["headGroupSpec"], *spec["workerGroupSpecs"]]


def test_the_manifest_is_what_kuberay_takes(manifests, spec):
    assert manifests["RayCluster"]["apiVersion"] == "ray.io/v1"
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", manifests["RayCluster"]["metadata"]["name"])
    assert set(spec) == {
        "rayVersion", "authOptions", "enableInTreeAutoscaling", "autoscalerOptions", "headGroupSpec",
        "workerGroupSpecs",
    }  # fmt: skip
    assert set(spec["headGroupSpec"]) == {"serviceType", "rayStartParams", "template"}
    for group in spec["workerGroupSpecs"]:
        assert set(group) == {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"}
    for group in groups_of(spec):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        assert "restartPolicy" not in group["template"]["spec"]  # the second autoscaler's own


def test_the_version_is_the_one_that_the_image_installs(spec):
    assert f"ray=={spec['rayVersion']}" in (ROOT / "constraints.txt").read_text().split()
    assert tuple(map(int, spec["rayVersion"].split("."))) >= (2, 53)  # tokens, and one page for all health checks


def test_pods_come_from_zero_and_go_when_idle(spec):
    assert spec["enableInTreeAutoscaling"] is True
    assert 60 <= spec["autoscalerOptions"]["idleTimeoutSeconds"] <= 1800
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    gpus = 0
    for group in spec["workerGroupSpecs"]:
        assert (group["replicas"], group["minReplicas"]) == (0, 0)
        assert 0 < group["maxReplicas"] <= 8
        (container,) = group["template"]["spec"]["containers"]
        assert container["resources"]["requests"] == container["resources"]["limits"]
        gpus += int(container["resources"]["limits"].get("nvidia.com/gpu", 0))
    assert gpus == 1


def test_the_head_knows_how_far_the_cluster_may_grow(manifests, spec):
    """From zero pods a search is refused where nobody says that there may be more."""
    pod = spec["headGroupSpec"]["template"]["spec"]
    (mount,) = [m for m in pod["containers"][0]["volumeMounts"] if m["name"] == "growth"]
    home = re.search(r"^RUN useradd --create-home --uid 1000 (\w+)$", (FOLDER / "Dockerfile").read_text(), re.M)[1]
    assert mount["mountPath"] == f"/home/{home}/{BOOTSTRAP}"
    assert {"name": "growth", "configMap": {"name": manifests["ConfigMap"]["metadata"]["name"]}} in pod["volumes"]
    growth = yaml.safe_load(manifests["ConfigMap"]["data"][mount["subPath"]])
    machines = Counter(tuple(sorted(machine.items())) for machine in Autoscaler(growth).machines())
    expected = Counter({(("CPU", 0),): 1})
    for group in spec["workerGroupSpecs"]:
        limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
        named = {"CPU": int(limits["cpu"])} | ({"GPU": int(limits["nvidia.com/gpu"])} if len(limits) > 2 else {})
        expected[tuple(sorted(named.items()))] += group["maxReplicas"]
    assert machines == expected


def test_nothing_has_an_address_outside_and_ray_asks_for_the_token(manifests, spec):
    assert set(manifests) == {"PersistentVolumeClaim", "ConfigMap", "RayCluster"}
    head = spec["headGroupSpec"]
    assert head["serviceType"] == "ClusterIP"
    assert head["rayStartParams"]["dashboard-host"] == "127.0.0.1"
    assert spec["authOptions"] == {"mode": "token"}
    assert not re.search(
        r"NodePort|LoadBalancer|Ingress|hostNetwork|0\.0\.0\.0", (FOLDER / "kubernetes.yaml").read_text()
    )


def test_all_pods_see_the_workspace_as_the_user_of_the_image(manifests, spec):
    claim = manifests["PersistentVolumeClaim"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    images = set()
    for group in groups_of(spec):
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        images.add(container["image"])
        volume = {"name": "workspace", "persistentVolumeClaim": {"claimName": claim["metadata"]["name"]}}
        assert volume in pod["volumes"]
        assert {"name": "workspace", "mountPath": "/srv/brainage"} in container["volumeMounts"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        user = str(pod["securityContext"]["runAsUser"])
        assert re.search(rf"^USER {user}$", (FOLDER / "Dockerfile").read_text(), re.MULTILINE)
    assert len(images) == 1


def test_the_image_has_what_the_repository_has_and_installs_exactly_the_pinned_packages():
    lines = (FOLDER / "Dockerfile").read_text().splitlines()
    copied = [word for line in lines if line.startswith("COPY ") for word in line.split()[1:-1]]
    assert {"pyproject.toml", "constraints.txt", "README.md", "LICENSE", "brainage_ray"} <= set(copied)
    assert all((ROOT / name).exists() for name in copied)
    (install,) = [line for line in lines if "pip install" in line]
    assert "-c constraints.txt '.[cluster]'" in install
    assert not [line for line in lines if re.search(r"^(ADD|EXPOSE) |RAY_AUTH_TOKEN", line)]


# The page


def test_the_page_for_users_names_every_file_and_every_file_runs_from_the_root():
    page = (ROOT / "docs" / "cluster.md").read_text()
    for path in (ROOT / "cluster.yaml", *FOLDER.iterdir()):
        if path.is_file():
            assert str(path.relative_to(ROOT)) in page, path.name
    assert "docs/cluster.md" in (ROOT / "README.md").read_text()


def test_only_programs_may_be_executed():
    assert {path.name for path in FOLDER.iterdir() if path.is_file() and os.access(path, os.X_OK)} == {"slurm.sh"}
