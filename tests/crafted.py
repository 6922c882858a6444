"""Reads crafted files in a process of its own whose memory is bounded, and tells what came of each."""

from __future__ import annotations

import json
import logging
import resource
import subprocess
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

ROOM_BYTES = 300 * 2**20
"""Beyond what the process has when all is imported."""


@dataclass(frozen=True)
class Outcome:
    error: str
    """Name of its class; "" for none."""
    text: str
    """Of the error, or of what was returned."""
    log: list[str]


class Marker:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def read_all(cases: dict[str, tuple[str, Path]]) -> dict[str, Outcome]:
    """Call a function of the package, "module:name", with each file, one after the other in one process."""
    asked = json.dumps({name: [function, str(path)] for name, (function, path) in cases.items()})
    done = subprocess.run([sys.executable, __file__], input=asked, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return {name: Outcome(**found) for name, found in json.loads(done.stdout).items()}


def main() -> None:
    cases = json.load(sys.stdin)
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("brainage_ray").addHandler(handler)
    calls = {name: getattr(import_module(f.split(":")[0]), f.split(":")[1]) for name, (f, _) in cases.items()}
    kib = next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "VmData" in line)
    resource.setrlimit(resource.RLIMIT_DATA, (int(kib) * 1024 + ROOM_BYTES, resource.RLIM_INFINITY))
    found = {}
    for name, (_, path) in cases.items():
        lines.clear()
        try:
            error, text = "", repr(calls[name](Path(path)))[:500]
        except BaseException as problem:
            error, text = type(problem).__name__, str(problem)
        found[name] = {"error": error, "text": text, "log": list(lines)}
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
