"""What the clouds would say of an account, in their own clients' words; no cloud is asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from botocore.stub import Stubber
from googleapiclient import discovery
from googleapiclient.http import HttpMockSequence

from brainage_ray.cluster.quotas import MachineType, aws_quota, check_account, judge_quota, machine_types

ROOT = Path(__file__).resolve().parent.parent.parent
CPUS = {"m7i.2xlarge": 8, "c7i.4xlarge": 16, "g6.4xlarge": 16}


def read(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / name).read_text())


@pytest.mark.parametrize(
    ("machine", "spot", "code"),
    [
        ("m7i.2xlarge", False, "L-1216C47A"),
        ("c7i.4xlarge", True, "L-34B43A08"),
        ("g6.4xlarge", True, "L-3819A6DF"),
        ("gr6.4xlarge", False, "L-DB2E81BA"),
        ("p4d.24xlarge", True, "L-7212CCBC"),
        ("p5.48xlarge", True, "L-C4BD4855"),
        ("p5.48xlarge", False, "L-417A185B"),
    ],
)
def test_a_machine_counts_against_the_quota_of_its_family(machine: str, spot: bool, code: str):
    assert aws_quota(MachineType("gpu", machine, spot, 1, 1)) == code


@pytest.mark.parametrize(
    ("limit", "state"), [(0, "wrong"), (15, "wrong"), (16, "warning"), (127, "warning"), (128, "ok")]
)
def test_a_quota_is_held_against_one_machine_and_all(limit: float, state: str):
    check = judge_quota("G", limit, 16, 128, "vCPUs")
    assert (check.state, bool(check.fix)) == (state, state != "ok")
    assert check.found == f"{limit:g} vCPUs; one machine takes 16, all together 128"


@pytest.mark.parametrize(("file", "gpu"), [("cluster.yaml", "g6.4xlarge"), ("cluster/gcp.yaml", "g2-standard-16")])
def test_the_machines_of_our_files_are_read(file: str, gpu: str):
    kinds = {kind.name: kind for kind in machine_types(read(file))}
    assert kinds["gpu"] == MachineType("gpu", gpu, True, 8, 1.0)
    assert (kinds["head"].spot, kinds["head"].at_most, kinds["cpu"].at_most) == (False, 1, 4)


def stubbed(monkeypatch: pytest.MonkeyPatch, answers: dict[str, list[tuple[str, Any]]]) -> None:
    """Have AWS's own clients answer so; an error is a code."""
    session = boto3.Session(region_name="us-west-2", aws_access_key_id="a", aws_secret_access_key="b")
    clients = {}
    for service, calls in answers.items():
        clients[service] = session.client(service)
        stub = Stubber(clients[service])
        for operation, answer in calls:
            if isinstance(answer, str):
                stub.add_client_error(operation, answer, "so it is")
            else:
                stub.add_response(operation, answer)
        stub.activate()
    monkeypatch.setattr(session, "client", clients.__getitem__)
    monkeypatch.setattr(boto3, "Session", lambda region_name: session)


WHO = ("get_caller_identity", {"Account": "123456789012"})
TYPES = (
    "describe_instance_types",
    {"InstanceTypes": [{"InstanceType": name, "VCpuInfo": {"DefaultVCpus": cpus}} for name, cpus in CPUS.items()]},
)


def quota(value: float) -> tuple[str, Any]:
    return ("get_service_quota", {"Quota": {"QuotaName": "All of them", "Value": value}})


@pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow")
@pytest.mark.parametrize(
    ("answers", "states"),
    [
        ({"sts": [("get_caller_identity", "ExpiredToken")]}, ["wrong"]),
        ({"sts": [WHO], "ec2": [("describe_instance_types", "InvalidInstanceType")]}, ["ok", "wrong"]),
        ({"sts": [WHO], "ec2": [("describe_instance_types", "UnauthorizedOperation")]}, ["ok", "not checked"]),
        (
            {"sts": [WHO], "ec2": [TYPES], "service-quotas": [quota(8), quota(32), quota(0)]},
            ["ok", "ok", "warning", "wrong"],
        ),
        (
            {
                "sts": [WHO],
                "ec2": [TYPES],
                "service-quotas": [quota(8), quota(64), ("get_service_quota", "AccessDenied")],
            },
            ["ok", "ok", "ok", "not checked"],
        ),
    ],
)
def test_an_account_at_aws(monkeypatch: pytest.MonkeyPatch, answers: Any, states: list[str]):
    stubbed(monkeypatch, answers)
    checks = list(check_account(read("cluster.yaml"), Path("cluster.yaml")))
    assert [check.state for check in checks] == states
    assert all(check.fix for check in checks if check.state != "ok")


def google(monkeypatch: pytest.MonkeyPatch, *answers: tuple[dict[str, str], str]) -> None:
    service = discovery.build("compute", "v1", http=HttpMockSequence([*answers]), static_discovery=True)
    monkeypatch.setattr("google.auth.default", lambda: (None, None))
    monkeypatch.setattr(discovery, "build", lambda *_, **__: service)


def quotas(**limits: float) -> tuple[dict[str, str], str]:
    return {"status": "200"}, json.dumps({"quotas": [{"metric": key, "limit": value} for key, value in limits.items()]})


def gcp() -> dict[str, Any]:
    config = read("cluster/gcp.yaml")
    config["provider"]["project_id"] = "mine"
    return config


def test_an_account_at_google(monkeypatch: pytest.MonkeyPatch):
    google(monkeypatch, quotas(PREEMPTIBLE_NVIDIA_L4_GPUS=8), quotas(GPUS_ALL_REGIONS=0))
    checks = list(check_account(gcp(), Path("gcp.yaml")))
    found = [(check.what, check.state) for check in checks]
    assert found == [
        ("Google Cloud", "ok"),
        ("quota PREEMPTIBLE_NVIDIA_L4_GPUS", "ok"),
        ("quota GPUS_ALL_REGIONS", "wrong"),
    ]


def test_a_project_that_is_not_there(monkeypatch: pytest.MonkeyPatch):
    google(monkeypatch, ({"status": "404"}, json.dumps({"error": {"message": "no such project"}})))
    (check,) = check_account(gcp(), Path("gcp.yaml"))
    assert (check.state, "project_id" in check.fix) == ("wrong", True)


def test_the_line_that_was_not_filled_in_is_named(monkeypatch: pytest.MonkeyPatch):
    google(monkeypatch)
    (check,) = check_account(read("cluster/gcp.yaml"), Path("gcp.yaml"))
    assert check.state == "wrong"
    assert "YOUR-PROJECT" in check.found


def test_machines_of_ones_own_need_no_account():
    assert list(check_account(read("cluster/local.yaml"), Path("local.yaml"))) == []
