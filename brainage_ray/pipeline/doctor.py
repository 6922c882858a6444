"""Is everything there that a run needs: asked before the first trial, with the fix for what is not."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from brainage_ray.data.remote import RemoteFolder
from brainage_ray.errors import BrainageError, EngineError
from brainage_ray.execution import GIB, Cluster, NodeFacts, SilentNode, ask_nodes, versions_here

State = Literal["ok", "warning", "wrong", "not checked"]

CLOCK_WARNING, CLOCK_WRONG = 2.0, 60.0
"""Seconds: from the first on times of files and logs mislead; from the second on leases and signed requests fail."""
FREE_WARNING, FREE_WRONG = 20 * GIB, 2 * GIB
"""Bytes: a whole programme's slices and checkpoints; one pre-training's."""
FULL = 0.95
"""Share of a disk from which on Ray writes nothing more to it."""
_SURVIVED = ("node ", "clock ")
"""Lines that no run is refused for: work goes to the other nodes, and only signed requests mind the clock."""
_NO_GPU_CAME = (
    "Ray's log on the head says why (/tmp/ray/session_latest/logs/monitor.*): mostly a quota, or no capacity."
)


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Check:
    """One line of the checklist."""

    what: str
    state: State
    found: str
    fix: str = ""


def examine(workspace: Path | str, address: str | None = None, *, gpu: bool = False) -> list[Check]:
    """Check this machine, or every node of the cluster at an address, against what a run needs.

    Args:
        workspace: folder that runs will use, or the URI of one; left as it was found.
        address: of a Ray cluster; None starts one on this machine for the while.
        gpu: have a machine with a GPU started first where none is up, and wait for it.
    """
    try:
        if not isinstance(workspace, Path):
            RemoteFolder(workspace).check()
    except BrainageError as error:
        return [Check("workspace", "wrong", error.problem, error.fix)]
    try:
        with Cluster(address) as cluster:
            if gpu and not cluster.places(1, 1):
                return [Check("GPU machine", "wrong", f"none came; there are {cluster.resources()}", _NO_GPU_CAME)]
            nodes = ask_nodes(cluster, workspace)
            resources = cluster.resources()
    except EngineError as error:
        return [Check("Ray", "wrong", error.problem, error.fix)]
    except OSError as error:
        return [_unwritable(workspace, error.strerror or str(error))]
    there = f"{len(nodes)} nodes, " if address else ""
    return [Check("Ray", "ok", f"{there}{resources.cpus:g} CPUs, {resources.gpus:g} GPUs"), *check_nodes(nodes)]


def refuse_bad_nodes(cluster: Cluster, workspace: Path | str) -> None:
    """Refuse nodes on which trials would fail or give other numbers; of what may go well the log tells.

    Args:
        cluster: running; machines that it may still start are not looked at.
        workspace: a folder, or the URI of one.

    Raises:
        EngineError: one will not do, with what and how to mend it.
    """
    bad = [check for check in check_nodes(ask_nodes(cluster, workspace)) if check.state != "ok"]
    wrong = [check for check in bad if check.state == "wrong" and not check.what.startswith(_SURVIVED)]
    for check in bad:
        if check not in wrong:
            logger.warning("%s: %s. %s", check.what, check.found, check.fix)
    if wrong:
        more = f" (and {len(wrong) - 1} more; brainage doctor shows all)" if len(wrong) > 1 else ""
        raise EngineError(f"{wrong[0].what}: {wrong[0].found}{more}", wrong[0].fix)


def check_nodes(nodes: Sequence[NodeFacts | SilentNode]) -> list[Check]:
    """Judge what nodes say of themselves; what all have alike is one line.

    Args:
        nodes: as `ask_nodes` returns them.
    """
    facts = [node for node in nodes if isinstance(node, NodeFacts)]
    silent = [
        Check(f"node {node.address}", "wrong", node.problem, "Look at its logs (ray logs), or end it: another comes.")
        for node in nodes
        if isinstance(node, SilentNode)
    ]
    here = versions_here()
    kinds = (
        _merged("versions", facts, [_versions(node, here) for node in facts]),
        _merged("clock", facts, [judge_clock(node.clock_ahead) for node in facts]),
        _merged("workspace", facts, [_workspace(node) for node in facts]),
        _merged("disk", facts, [_disk(node) for node in facts]),
        _merged("GPU", facts, [_gpu(node) for node in facts]),
    )
    return silent + [check for checks in kinds for check in checks]


def _unwritable(workspace: Path | str, reason: str) -> Check:
    fix = "Name a folder of yours with --workspace, or have its owner give you the right (chown, chmod)."
    return Check("workspace", "wrong", f"{workspace} cannot be written: {reason}", fix)


def _merged(what: str, nodes: Sequence[NodeFacts], checks: Iterable[Check]) -> Iterator[Check]:
    """Yield one line for all nodes where all are well, else one for each that is not."""
    checks = list(checks)
    bad = [(node, check) for node, check in zip(nodes, checks, strict=True) if check.state != "ok"]
    if checks and not bad:
        alike = {check.found for check in checks}
        yield Check(what, "ok", checks[0].found if len(alike) == 1 else f"all {len(checks)} nodes")
    for node, check in bad:
        yield Check(f"{what} on {node.name} ({node.address})", check.state, check.found, check.fix)


def _versions(node: NodeFacts, here: dict[str, str]) -> Check:
    wrong = [
        f"{name} {node.versions.get(name) or 'not installed'}, here {version or 'not installed'}"
        for name, version in here.items()
        if _compared(name, node.versions.get(name, "")) != _compared(name, version)
    ]
    if wrong:
        fix = "Install the same there: pip install -c constraints.txt '.[cluster]', same Python; then start it anew."
        return Check("versions", "wrong", "; ".join(wrong), fix)
    return Check("versions", "ok", f"Python {here['python']}, torch {here['torch']}, ray {here['ray']}")


def _compared(name: str, version: str) -> str:
    """Return the part of a version that counts: Python's third number changes nothing that is computed or sent."""
    return version.rpartition(".")[0] if name == "python" else version


def judge_clock(ahead: float) -> Check:
    """Return the check of a clock that is so many seconds ahead of this one."""
    if abs(ahead) < CLOCK_WARNING:
        return Check("clock", "ok", "the same everywhere")
    found = f"{abs(ahead):.0f} s {'ahead' if ahead > 0 else 'behind'}"
    fix = "Let it follow a time server: sudo timedatectl set-ntp true."
    return Check("clock", "wrong" if abs(ahead) >= CLOCK_WRONG else "warning", found, fix)


def _workspace(node: NodeFacts) -> Check:
    if node.workspace_problem:
        fix = "Mount the driver's folder there under the same path, writable for this user (docs/cluster.md)."
        if node.workspace_is_uri:
            fix = "Give the node what the driver has: network, endpoint, credentials (docs/workspaces.md)."
        return Check("workspace", "wrong", node.workspace_problem, fix)
    return Check("workspace", "ok", "can be written")


def _disk(node: NodeFacts) -> Check:
    worst: State = "ok"
    words = []
    for folder, free in node.free_bytes.items():
        used = 1 - free / max(1, node.total_bytes[folder])
        state: State = "ok"
        if free < FREE_WARNING or used > FULL:
            state = "wrong" if free < FREE_WRONG else "warning"
        worst = max(worst, state, key=("ok", "warning", "wrong").index)
        words.append(f"{free / GIB:.0f} GiB free in {folder}" + (f", {used:.0%} full" if used > FULL else ""))
    return Check("disk", worst, "; ".join(words), "" if worst == "ok" else "Free some, or take a larger disk.")


def _gpu(node: NodeFacts) -> Check:
    if not node.gpus_declared:
        return Check("GPU", "ok", "none")
    if node.gpus_seen >= node.gpus_declared:
        return Check("GPU", "ok", f"{node.gpus_seen} seen by torch")
    why = f": {node.gpu_problem}" if node.gpu_problem else ""
    found = f"Ray counts {node.gpus_declared:g}, torch sees {node.gpus_seen}{why}"
    fix = "Take an image with NVIDIA's driver (nvidia-smi shows it) and a CUDA build of torch."
    return Check("GPU", "wrong", found, fix)
