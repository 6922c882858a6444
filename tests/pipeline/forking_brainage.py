"""Forks the command `brainage` from a process that has imported it, which saves seconds at each of many starts.

Reads one JSON object a line: argv, and where the command is to die by its own hand: kill_at, the number of an
operation on a file below a folder. Writes the process id of the command, then its exit code.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
from typing import Any

from fuzz_cohorts import serial_map

import brainage_ray.cli.run  # noqa: F401
import brainage_ray.pipeline.prepare as stage
from brainage_ray.cli import main


def changes(event: str, arguments: tuple[Any, ...]) -> bool:
    """Tell whether an event of Python's audit is about to change something on the disk."""
    if event == "open":
        return isinstance(arguments[2], int) and arguments[2] & os.O_ACCMODE != os.O_RDONLY
    there = event in ("os.rename", "os.rmdir", "os.remove", "os.mkdir") and os.path.lexists(arguments[0])
    return there != (event == "os.mkdir")


def die_at(number: int, folder: str) -> None:
    """End this process, as kill -9 does, just before it changes a file below the folder for the n-th time."""
    left = number

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if changes(event, arguments) and folder in str(arguments[0]):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def run(order: dict[str, Any]) -> None:
    os.setsid()
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(log, stream)
    if "kill_at" in order:
        stage.parallel_map = serial_map  # so that all is done in this process
        die_at(order["kill_at"], order["folder"])
    sys.argv = ["brainage", *order["argv"]]
    try:
        main()
    except SystemExit as end:
        os._exit(int(end.code or 0))  # taking the interpreter down would cost more than the work


def tell(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    gc.freeze()  # no pages to copy after a fork
    for line in sys.stdin:
        if (child := os.fork()) == 0:
            run(json.loads(line))
        tell(child)
        tell(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
