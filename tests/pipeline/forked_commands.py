"""Starts the command `brainage` many times without its imports, which take seconds at each start."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Lock
from typing import Any


class Commands:
    """Forks of one process that has imported the command, each the leader of a session of its own; safe in threads.

    Args:
        folder: for what they say, and for temporary files; of a short name, for Ray's sockets lie there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder, folder / "log.txt"
        self.started: list[int] = []
        self.running: set[int] = set()
        self.lock = Lock()
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "TMPDIR": str(folder),
                                    "COLUMNS": "200"}  # fmt: skip
        script = Path(__file__).with_name("forking_brainage.py")
        self.process = subprocess.Popen(
            [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def run(self, *argv: object, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        """Return what subprocess.run returns; variables are put into the environment."""
        said = [self.folder / name for name in ("out.txt", "err.txt")]
        for path in said:
            path.unlink(missing_ok=True)
        words = [str(word) for word in argv]
        process = self.start(*words, streams=list(map(str, said)), cwd=str(cwd or Path.cwd()),
                             environment=environment)  # fmt: skip
        return subprocess.CompletedProcess(words, self.wait(process), *(path.read_text("utf-8") for path in said))

    def start(self, *argv: str, **how: Any) -> int:
        """Return the process id."""
        process = int(self._ask({"argv": argv, "streams": [str(self.log)] * 2, "cwd": str(Path.cwd()), **how}))
        self.started.append(process)
        self.running.add(process)
        return process

    def wait(self, process: int) -> int:
        """Return the exit code, minus the signal's number where one ended it."""
        while not (code := self._ask({"wait": process})):
            time.sleep(0.02)
        self.running.remove(process)
        return int(code)

    def _ask(self, order: dict[str, Any]) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with self.lock:
            self.process.stdin.write(json.dumps(order) + "\n")
            self.process.stdin.flush()
            return self.process.stdout.readline().rstrip("\n")

    def close(self) -> None:
        """End what a test that failed left running."""
        for session in self.running:
            kill(session)
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()


def members(session: int) -> list[int]:
    """Return the living processes of a session, its leader first: a command and all of Ray that it started."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, *fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if int(fields[2]) == session and state != "Z":
            found.append(int(folder.name))
    return sorted(found, key=lambda pid: pid != session)


def kill(session: int) -> None:
    """kill -9 everything, until nothing is left: what is dying may start something yet."""
    while left := members(session):
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
