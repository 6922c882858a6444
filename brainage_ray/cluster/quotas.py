"""May this account have the machines that a cluster's file wants: credentials and quotas, asked before `ray up`."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainage_ray.pipeline import Check

AWS_QUOTAS = {
    ("standard", False): "L-1216C47A", ("standard", True): "L-34B43A08",
    ("G", False): "L-DB2E81BA", ("G", True): "L-3819A6DF",
    ("P", False): "L-417A185B", ("P", True): "L-7212CCBC", ("P5", True): "L-C4BD4855",
}  # fmt: skip
"""Codes of EC2's quotas of vCPUs by family of machines, on demand and on spot (AWS Service Quotas, service ec2)."""
GCP_GPUS = {"g2": "NVIDIA_L4_GPUS", "a2": "NVIDIA_A100_GPUS", "a3": "NVIDIA_H100_GPUS"}
"""Compute Engine's quotas of GPUs by the family of machines that carries them."""


@dataclass(frozen=True)
class MachineType:
    """A kind of node, as a cluster's file wants it."""

    name: str
    """Of the node type."""
    machine: str
    """The cloud's name of it."""
    spot: bool
    at_most: int
    gpus: float
    """Each."""


def machine_types(config: Mapping[str, Any]) -> list[MachineType]:
    """Return the kinds of nodes of a cluster's file, each with how many there may be."""
    most, head = int(config.get("max_workers", 0)), config.get("head_node_type")
    found = []
    for name, kind in config.get("available_node_types", {}).items():
        node = kind.get("node_config", {})
        spot = (
            node.get("InstanceMarketOptions", {}).get("MarketType") == "spot"
            or node.get("scheduling", {}).get("provisioningModel") == "SPOT"
        )
        machine = str(node.get("InstanceType") or node.get("machineType") or "")
        at_most = 1 if name == head else min(most, int(kind.get("max_workers", most)))
        found.append(MachineType(name, machine, spot, at_most, float(kind.get("resources", {}).get("GPU", 0))))
    return found


def check_account(config: Mapping[str, Any], file: Path) -> Iterator[Check]:
    """Yield what the cloud says of this account; nothing for machines of one's own.

    Args:
        config: what the file says.
        file: for the messages.
    """
    kind = config["provider"].get("type")
    if kind == "aws":
        yield from _aws(config, file)
    elif kind == "gcp":
        yield from _gcp(config, file)


def judge_quota(name: str, limit: float, one: float, everything: float, unit: str) -> Check:
    """Return the check of one quota.

    Args:
        name: as the cloud calls it.
        limit: what the account may have.
        one: what the smallest machine that counts against it takes.
        everything: what all machines together take.
        unit: of all of them.
    """
    found = f"{limit:g} {unit}; one machine takes {one:g}, all together {everything:g}"
    fix = f"Ask the cloud for {everything:g} (its page of quotas), or lower max_workers."
    if limit < one:
        return Check(f"quota {name}", "wrong", found, fix)
    return Check(f"quota {name}", "ok" if limit >= everything else "warning", found, "" if limit >= everything else fix)


def _aws(config: Mapping[str, Any], file: Path) -> Iterator[Check]:
    import boto3
    import botocore.exceptions as failures

    region = config["provider"].get("region")
    session = boto3.Session(region_name=region)
    try:
        account = session.client("sts").get_caller_identity()["Account"]
    except (failures.BotoCoreError, failures.ClientError) as error:
        yield Check("AWS", "wrong", f"no access: {_line(error)}", "Give your credentials: aws configure.")
        return
    yield Check("AWS", "ok", f"account {account}, {region}")
    kinds = [kind for kind in machine_types(config) if kind.machine]
    try:
        described = session.client("ec2").describe_instance_types(InstanceTypes=sorted({k.machine for k in kinds}))
    except (failures.BotoCoreError, failures.ClientError) as error:
        fix = f"Correct InstanceType in {file}, or take a region that has it."
        yield Check(
            "machine types", "wrong" if "InvalidInstanceType" in str(error) else "not checked", _line(error), fix
        )
        return
    cpus = {found["InstanceType"]: found["VCpuInfo"]["DefaultVCpus"] for found in described["InstanceTypes"]}
    wanted: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for kind in kinds:
        wanted[aws_quota(kind)].append((cpus[kind.machine], cpus[kind.machine] * kind.at_most))
    client = session.client("service-quotas")
    for code, takes in wanted.items():
        one, everything = min(one for one, _ in takes), sum(all_ for _, all_ in takes)
        try:
            quota = client.get_service_quota(ServiceCode="ec2", QuotaCode=code)["Quota"]
        except (failures.BotoCoreError, failures.ClientError) as error:
            fix = "Look at the page Service Quotas; to be told here the right servicequotas:GetServiceQuota is needed."
            yield Check(f"quota {code}", "not checked", _line(error), fix)
            continue
        yield judge_quota(f"{quota['QuotaName']} ({code})", quota["Value"], one, everything, "vCPUs")


def aws_quota(kind: MachineType) -> str:
    """Return the code of the quota that a machine type counts against."""
    family = re.match(r"[a-z]+", kind.machine)
    letters = family[0] if family else ""
    name = "P" if letters == "p" else "G" if letters in ("g", "gr", "vt") else "standard"
    if kind.spot and kind.machine.startswith("p5"):
        name = "P5"
    return AWS_QUOTAS[name, kind.spot]


def _gcp(config: Mapping[str, Any], file: Path) -> Iterator[Check]:
    import google.auth
    from google.auth.exceptions import GoogleAuthError
    from googleapiclient import discovery, errors

    provider = config["provider"]
    project, region = provider.get("project_id"), provider.get("region")
    try:
        credentials, _ = google.auth.default()
        compute = discovery.build("compute", "v1", credentials=credentials, cache_discovery=False)
        found = compute.regions().get(project=project, region=region).execute()
        everywhere = compute.projects().get(project=project).execute()
    except GoogleAuthError as error:
        yield Check("Google Cloud", "wrong", f"no access: {_line(error)}", "gcloud auth application-default login")
        return
    except (errors.Error, OSError, TypeError) as error:  # TypeError: a name that cannot be one
        fix = f"Correct project_id and region in {file}, or enable compute.googleapis.com."
        yield Check("Google Cloud", "wrong", _line(error), fix)
        return
    yield Check("Google Cloud", "ok", f"project {project}, {region}")
    yield from gcp_quotas(machine_types(config), found.get("quotas", []), everywhere.get("quotas", []))


def gcp_quotas(
    kinds: list[MachineType], region: list[Mapping[str, Any]], project: list[Mapping[str, Any]]
) -> Iterator[Check]:
    """Yield the checks of Google's quotas of GPUs.

    Args:
        kinds: of nodes.
        region: quotas of the region, each with metric and limit.
        project: those of the whole project.
    """
    limits = {quota["metric"]: float(quota["limit"]) for quota in [*region, *project]}
    wanted: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for kind in kinds:
        metric = GCP_GPUS.get(kind.machine.partition("-")[0])
        if kind.gpus and metric:
            wanted[f"PREEMPTIBLE_{metric}" if kind.spot else metric].append((kind.gpus, kind.gpus * kind.at_most))
    if wanted:
        wanted["GPUS_ALL_REGIONS"] = [take for takes in list(wanted.values()) for take in takes]
    for metric, takes in wanted.items():
        one, everything = min(one for one, _ in takes), sum(all_ for _, all_ in takes)
        yield judge_quota(metric, limits.get(metric, 0.0), one, everything, "GPUs")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
