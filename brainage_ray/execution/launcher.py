"""Where the machines of `ray up` are, as Ray's launcher knows it."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainage_ray.errors import EngineError


@dataclass(frozen=True)
class LaunchedHead:
    """A head that is up."""

    ip: str
    key: Path | None
    """Of ssh; Ray makes one where the file names none."""


def find_launched_head(config: Mapping[str, Any], file: Path) -> LaunchedHead:
    """Ask the cloud for the head of a cluster; nothing is started.

    Args:
        config: what the file says, a cluster's configuration in Ray's own words.
        file: it comes from; for the message.

    Raises:
        EngineError: no head is up, the cloud does not answer, or Ray's launcher is not installed.
    """
    try:
        from ray.autoscaler import sdk
    except ImportError as error:
        fix = "Install it: pip install 'brainage-ray[cluster]'."
        raise EngineError(f"Ray's launcher is not installed: {error}", fix) from None
    said = io.StringIO()  # the launcher prints what it does, for people who typed `ray up`
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            ip = sdk.get_head_node_ip(dict(config))
            key = dict(config["auth"]).get("ssh_private_key") or _made_key(sdk, config)
    except Exception as error:  # each cloud has its own
        raise _no_head(error, file) from error
    finally:
        logging.disable(before)
    if not ip:
        raise EngineError(f"The head of {file} has no address yet", "Wait until `ray up` says that it is there.")
    return LaunchedHead(str(ip), Path(key).expanduser() if key else None)


def _made_key(sdk: Any, config: Mapping[str, Any]) -> str | None:
    key = sdk.bootstrap_config(dict(config))["auth"].get("ssh_private_key")
    return str(key) if key else None


def _no_head(error: Exception, file: Path) -> EngineError:
    problem = " ".join(str(error).split())[:400] or type(error).__name__
    if isinstance(error, RuntimeError) and "not found" in problem:
        return EngineError(f"No head of {file} is up", f"Start the cluster: ray up {file}")
    return EngineError(
        f"Whether a head of {file} is up cannot be seen: {type(error).__name__}: {problem}",
        "Check the lines marked HERE, your credentials and the network; `ray up` needs the same.",
    )
