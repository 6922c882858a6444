"""Show every command that `ray up` runs on a node, in order, and run none: `python cluster/commands.py FILE head`.

Ray's own NodeUpdater does the work, with a runner that notes what it is told in place of ssh and rsync.
"""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from ray.autoscaler._private.updater import NodeUpdater
from ray.autoscaler._private.util import prepare_config, validate_config, with_head_node_ip


class Recorder:
    """A node provider and its command runner in one, for a node that is there and new."""

    provider_config = None  # of AWS alone: it has no log group of its own

    def __init__(self) -> None:
        self.lines: list[str] = []

    def get_command_runner(self, *_: Any) -> Recorder:
        return self

    def node_tags(self, _: str) -> dict[str, str]:
        return {}

    def set_node_tags(self, *_: Any) -> None: ...

    def is_terminated(self, _: str) -> bool:
        return False

    def run_init(self, **_: Any) -> bool:
        return False

    def run(self, command: str, **_: Any) -> None:
        self.lines.append(command)

    def run_rsync_up(self, source: str, target: str, **_: Any) -> None:
        self.lines.append(f"rsync {source} {target}")


def commands(config: dict[str, Any], role: str) -> list[str]:
    """Return what `ray up` runs on the head, or on a worker, as lines of shell.

    Raises:
        jsonschema.ValidationError: Ray does not take the configuration.
        FileNotFoundError: something that it sends is not here.
    """
    config = prepare_config(config)
    validate_config(config)
    for path in map(os.path.expanduser, config["file_mounts"].values()):
        if not Path(path).exists():
            raise FileNotFoundError(f"{path} is to be sent, and is not there")
    recorder = Recorder()
    start = config[f"{role}_start_ray_commands"]
    updater = NodeUpdater(
        node_id=role, provider_config=config["provider"], provider=recorder, auth_config=config["auth"],
        cluster_name=config["cluster_name"], file_mounts=config["file_mounts"],
        initialization_commands=config["initialization_commands"], setup_commands=config[f"{role}_setup_commands"],
        ray_start_commands=start if role == "head" else with_head_node_ip(start, "HEAD"), runtime_hash="new",
        file_mounts_contents_hash="", is_head_node=role == "head", process_runner=subprocess,
    )  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        updater.do_update()
    return recorder.lines


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[2] not in ("head", "worker"):
        sys.exit("Write: python cluster/commands.py FILE head|worker")
    sys.stdout.writelines(f"{line}\n" for line in commands(yaml.safe_load(Path(sys.argv[1]).read_text()), sys.argv[2]))
