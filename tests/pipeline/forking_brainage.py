"""Forks the command `brainage` from a process that has imported it, which saves seconds at each of many starts.

Reads one JSON object a line: argv, cwd, streams (files to append the output and the complaints to), environment
(variables of its own), and where the command is to die by its own hand: kill_at, the number of an operation on a file
below a folder. Writes the process id of the command. Asked for that as `wait`, it writes the exit code, or an empty
line where the command runs yet.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pkgutil
import signal
import sys
from typing import Any

from fuzz_cohorts import serial_map

import brainage_ray.pipeline.prepare as stage
from brainage_ray import cli, pipeline
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
    os.chdir(order["cwd"])
    os.environ.update(order.get("environment", {}))
    for number, path in enumerate(order["streams"], start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    if "kill_at" in order:
        stage.parallel_map = serial_map  # so that all is done in this process
        die_at(order["kill_at"], order["folder"])
    sys.argv = ["brainage", *order["argv"]]
    code = 1
    try:
        main()
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # taking the interpreter down would cost more than the work


def answer(order: dict[str, Any]) -> int | str:
    if "wait" in order:
        done, status = os.waitpid(order["wait"], os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if done else ""
    child = os.fork()
    if child == 0:
        run(order)
    return child


if __name__ == "__main__":
    for package in (cli, pipeline):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    gc.freeze()  # no pages to copy after a fork
    for line in sys.stdin:
        sys.stdout.write(f"{answer(json.loads(line))}\n")
        sys.stdout.flush()
