"""A cluster's checklist, from a laptop: the account, ssh, the head, its services, and what every node says."""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from brainage_ray.cluster.head import Head, find_head
from brainage_ray.cluster.quotas import check_account, machine_types
from brainage_ray.cluster.submit import on_head
from brainage_ray.config.read import read_yaml
from brainage_ray.errors import BrainageError, ConfigError
from brainage_ray.execution import least_offset
from brainage_ray.pipeline import Check, judge_clock

ANSWER_S = 600
"""Seconds for all nodes: a GPU machine may have to start first."""
_MISSING = "No module named brainage_ray"


def examine_cluster(file: Path, workspace: PurePosixPath, *, gpu: bool = False) -> Iterator[Check]:
    """Yield the checks of a cluster one after the other; after one without which nothing goes, no more.

    Args:
        file: that `ray up` takes.
        workspace: on the cluster's nodes.
        gpu: also have a machine with a GPU started where none is up, to see whether its driver works.

    Raises:
        ConfigError: the file is no cluster's.
    """
    config = read_yaml(file)
    if not isinstance(config.get("provider"), dict):
        raise ConfigError(
            f"{file} is no cluster: it has no provider", "Give a file for `ray up`, cluster.yaml for one."
        )
    yield from check_account(config, file)
    what = "head"
    try:
        head = find_head(file)
        yield Check(what, "ok", str(head))
        what = "ssh"
        ahead = _clock_ahead(head)
        yield Check(what, "ok", "lets you in")
        what = "token"
        head.read_token()
        yield Check(what, "ok", "the head has Ray's")
    except ConfigError:
        raise
    except BrainageError as error:
        yield Check(what, "wrong", error.problem, error.fix)
        return
    yield replace(judge_clock(ahead), what="clock of the head")
    yield from _services(head, workspace)
    nodes = list(_nodes(head, workspace, gpu=gpu))
    yield from nodes
    yield from _unseen(config, nodes, file)


def _clock_ahead(head: Head) -> float:
    before = time.time()
    there = float(head.ssh("date +%s.%N").stdout)
    return least_offset(there, before, time.time())


def _services(head: Head, workspace: PurePosixPath) -> Iterator[Check]:
    done = _brainage(head, workspace, ["services", "status"])
    start = f"On the head (ray attach {head.file}): brainage services start --workspace {workspace}"
    said = _parsed(done.stdout)
    if isinstance(said, dict):
        for service in said["services"]:
            ok = service["state"] == "running"
            yield Check(service["name"], "ok" if ok else "warning", service["state"], "" if ok else start)
    elif _MISSING not in done.stderr:
        yield Check("services", "warning", _words(done), start)


def _nodes(head: Head, workspace: PurePosixPath, *, gpu: bool) -> Iterator[Check]:
    done = _brainage(head, workspace, ["doctor", "--address", "auto", *(["--gpu"] if gpu else [])])
    said = _parsed(done.stdout)
    if isinstance(said, list):
        yield from (Check(**check) for check in said)
    elif _MISSING in done.stderr:
        fix = f"Let the set-up run again (ray up {head.file}); its last lines say what failed."
        yield Check("brainage", "wrong", "is not installed on the head", fix)
    else:
        fix = f"See for yourself: ray attach {head.file}, then brainage doctor --address auto."
        yield Check("nodes", "wrong", _words(done), fix)


def _brainage(head: Head, workspace: PurePosixPath, words: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a verb on the head that answers in JSON, with the code that `ray up` put there."""
    command = shlex.join(["python", "-m", "brainage_ray.cli", *words, "--json", "--workspace", str(workspace)])
    there = "export RAY_AUTH_MODE=token; if [ -d ~/brainage ]; then cd ~/brainage; fi"
    return head.ssh(on_head(workspace, f"{there}; {command}"), timeout_s=ANSWER_S)


def _words(done: subprocess.CompletedProcess[str]) -> str:
    return " ".join(done.stderr.split())[-300:].removeprefix("brainage: ") or f"it ended with {done.returncode}"


def _unseen(config: dict[str, Any], nodes: list[Check], file: Path) -> Iterator[Check]:
    """Yield what cannot be said of machines that are not up."""
    kinds = [kind for kind in machine_types(config) if kind.gpus and kind.at_most]
    if kinds and any(check.what == "GPU" and check.found == "none" for check in nodes):
        names = ", ".join(f"{kind.name} ({kind.machine}, up to {kind.at_most})" for kind in kinds)
        fix = f"To start one and see whether its driver works: brainage doctor --cluster {file} --gpu"
        yield Check("GPU machines", "not checked", f"none is up of {names}", fix)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
