"""What each node of a cluster says of itself: versions, clock, disks, GPUs, and whether it sees the workspace."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainage_ray.data.node_files import local_root
from brainage_ray.data.remote import RemoteFolder, is_uri
from brainage_ray.errors import BrainageError
from brainage_ray.execution.cluster import Cluster

COMPARED = ("torch", "monai", "numpy", "scipy", "pandas", "pyarrow", "nibabel", "safetensors", "ray")
"""Packages whose version decides what a trial computes, or whether nodes understand each other."""
_PATIENCE = 120.0
"""Seconds in which a node has to answer: a cold import of torch from a network's disk takes its time."""
_GPU_PROBE = """
import json, torch
problem = ""
try:
    torch.cuda.init()
except Exception as error:
    problem = str(error)
print(json.dumps([torch.version.cuda or "", torch.cuda.device_count(), problem]))
"""


@dataclass(frozen=True)
class NodeFacts:
    """One node, as it is now."""

    address: str
    """IP address in the cluster."""
    name: str
    versions: dict[str, str]
    """Of Python and the packages in `COMPARED`; "" for one that is not installed."""
    clock_ahead: float
    """Seconds that its clock is at least ahead of the driver's; negative: behind."""
    gpus_declared: float
    """As Ray counts them."""
    gpus_seen: int
    """By torch."""
    gpu_problem: str
    """Why torch sees fewer, in its words; "" where it does not."""
    free_bytes: dict[str, int]
    """By folder: the workspace, Ray's temporary folder."""
    total_bytes: dict[str, int]
    workspace_problem: str
    """Why the node cannot work in the workspace; "" where it can."""
    workspace_is_uri: bool = False


@dataclass(frozen=True)
class SilentNode:
    """A node that is counted as alive, and does not answer."""

    address: str
    problem: str


def ask_nodes(cluster: Cluster, workspace: Path | str, patience: float = _PATIENCE) -> list[NodeFacts | SilentNode]:
    """Ask every node of a cluster about itself, in a worker of its own that holds no CPU.

    Args:
        cluster: is joined, or started on this machine.
        workspace: a folder, made for the while where it is not there yet; or a URI.
        patience: seconds in which a node has to answer.

    Raises:
        EngineError: there is no cluster.
        OSError: the workspace cannot be written from here.
    """
    cluster.connect()
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = [node for node in ray.nodes() if node["Alive"]]
    with _marked(workspace) if isinstance(workspace, Path) else nullcontext(workspace) as mark:
        asked = []
        for node in nodes:
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            witness = ray.remote(num_cpus=0, max_restarts=0, scheduling_strategy=there)(Witness).remote()
            asked.append((node, witness, witness.facts.remote(str(mark), node["Resources"].get("GPU", 0.0))))
        end = time.monotonic() + patience
        return [_answer(node, witness, facts, end) for node, witness, facts in asked]


def _answer(node: Mapping[str, Any], witness: Any, facts: Any, end: float) -> NodeFacts | SilentNode:
    import ray

    address = node["NodeManagerAddress"]
    try:
        said = ray.get(facts, timeout=max(1.0, end - time.monotonic()))
        before = time.time()
        now = ray.get(witness.now.remote(), timeout=10)
        return NodeFacts(address=address, clock_ahead=least_offset(now, before, time.time()), **said)
    except ray.exceptions.GetTimeoutError:
        return SilentNode(address, "it does not answer")
    except ray.exceptions.RayError as error:
        return SilentNode(address, str(error).strip().splitlines()[-1])
    finally:
        ray.kill(witness)


def least_offset(there: float, before: float, after: float) -> float:
    """Return how far a clock is off at least, seconds, that showed `there` at some moment between two others."""
    return max(there - after, 0.0) + min(there - before, 0.0)


class Witness:
    """Runs on a node and says what is there."""

    def facts(self, mark: str, gpus: float) -> dict[str, Any]:
        """Return the fields of `NodeFacts` that the node knows.

        Args:
            mark: a file in the workspace that the driver wrote, or the workspace's URI.
            gpus: that Ray counts on this node.
        """
        seen, problem = gpus_here() if gpus else (0, "")
        at_uri = is_uri(mark)
        place = _existing(local_root(mark)) if at_uri else Path(mark).parent
        folders = [place, Path(tempfile.gettempdir())]
        disks = {str(folder): shutil.disk_usage(folder) for folder in folders if folder.exists()}
        return {
            "name": platform.node(),
            "versions": versions_here(),
            "gpus_declared": gpus,
            "gpus_seen": seen,
            "gpu_problem": problem,
            "free_bytes": {folder: disk.free for folder, disk in disks.items()},
            "total_bytes": {folder: disk.total for folder, disk in disks.items()},
            "workspace_problem": uri_problem(mark) if at_uri else workspace_problem(Path(mark)),
            "workspace_is_uri": at_uri,
        }

    def now(self) -> float:
        """Return this node's clock, seconds since 1970."""
        return time.time()


def versions_here() -> dict[str, str]:
    """Return the versions of Python and of the packages in `COMPARED`."""
    found = {"python": platform.python_version()}
    for name in COMPARED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = ""
    return found


def gpus_here() -> tuple[int, str]:
    """Count the GPUs that torch sees, in a process of its own: Ray hides them from one that holds none.

    Returns:
        The count, and what is wrong where it is 0.
    """
    environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    done = subprocess.run([sys.executable, "-c", _GPU_PROBE], env=environment, capture_output=True, text=True)
    if done.returncode:
        return 0, (done.stderr.strip().splitlines() or ["torch does not start"])[-1]
    built_for, count, problem = json.loads(done.stdout.splitlines()[-1])
    if not built_for:
        return 0, "torch is a build without CUDA"
    return count, "" if count else problem


def workspace_problem(mark: Path) -> str:
    """Return why this node cannot work in the folder of a mark that the driver wrote there; "" where it can."""
    folder = mark.parent
    if not folder.is_dir():
        return "there is no such folder"
    if not mark.is_file():
        return "it is another folder of the same name: what the driver writes is not there"
    try:
        mine = mark.with_name(f"{mark.name}-{uuid.uuid4().hex[:8]}")
        mine.write_bytes(b"x")
        mine.unlink()
    except OSError as error:
        return f"it cannot be written: {error.strerror}"
    return ""


def uri_problem(uri: str) -> str:
    """Return why this node cannot work in a workspace at a URI; "" where it can."""
    try:
        RemoteFolder(uri).check()
    except BrainageError as error:
        return error.problem
    return ""


def _existing(folder: Path) -> Path:
    return next(there for there in (folder, *folder.parents) if there.exists())


@contextmanager
def _marked(workspace: Path) -> Iterator[Path]:
    """Leave a file in the workspace for the while, and no folder that was not there."""
    missing = [folder for folder in (workspace, *workspace.parents) if not folder.exists()]
    workspace.mkdir(parents=True, exist_ok=True)
    mark = workspace / f".doctor-{uuid.uuid4().hex[:8]}"
    try:
        mark.write_bytes(b"x")
        yield mark
    finally:
        mark.unlink(missing_ok=True)
        for folder in missing:
            folder.rmdir()
