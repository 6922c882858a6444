"""Who writes a workspace at a URI: one driver at a time, which gives a sign every few seconds.

Object stores have no locks that pyarrow reaches. Of two drivers that start within the same second the later one to
write has the lease, and the other one sees that; one that lost its network for long may find it taken over, and stops.
"""

from __future__ import annotations

import json
import os
import socket
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from brainage_ray.data.remote import RemoteFolder
from brainage_ray.errors import EngineError

LEASE = ".brainage/lease.json"
SIGN_SECONDS = 20.0
"""Between two signs of life."""
DEAD_SECONDS = 120.0
"""Who gives no sign for so long is taken for dead."""
SETTLE_SECONDS = 1.0
"""After which of two who write at once one sees the other."""
_LOOK_SECONDS = 2.0


class Lease:
    """The right to write a workspace.

    Args:
        remote: the workspace.
        note: file on this disk, of which this process has the lock: what held the lease that it names is dead.
        what: that is run, for whoever is refused.
    """

    def __init__(self, remote: RemoteFolder, note: Path, what: str) -> None:
        self._remote, self._note, self._signs = remote, note, 0
        self._about = {
            "id": uuid.uuid4().hex,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "boot": _boot(),
            "runs": what,
            "since": _now(),
        }

    def take(self, say: Callable[[str], None]) -> None:
        """Take it, if need be after a wait that shows whether its holder lives.

        Raises:
            EngineError: somebody has it; says who, since when, and what to do.
        """
        held = self._read()
        if held and not self._left_here(held):
            self._watch(held, say)
        self._note.write_text(str(self._about["id"]))
        self._write()
        time.sleep(SETTLE_SECONDS)
        if (now := self._read()) and now["id"] != self._about["id"]:
            raise self._taken(now)

    def renew(self) -> EngineError | None:
        """Give a sign of life; return what to say where another driver has taken it."""
        now = self._read()
        if now and now["id"] != self._about["id"]:
            return self._taken(now)
        self._write()
        return None

    def release(self) -> None:
        """Give it back."""
        now = self._read()
        if now and now["id"] == self._about["id"]:
            self._remote.delete(LEASE)

    def _watch(self, held: dict[str, Any], say: Callable[[str], None]) -> None:
        """Return when nothing was heard of the holder for DEAD_SECONDS, or it has gone."""
        say(f"{_who(held)} has {self._remote.shown}; waiting up to {DEAD_SECONDS:.0f} s for a sign that it is alive")
        end = time.monotonic() + DEAD_SECONDS
        while time.monotonic() < end:
            time.sleep(_LOOK_SECONDS)
            now = self._read()
            if now is None:
                return
            if now != held:
                raise self._taken(now)

    def _left_here(self, held: dict[str, Any]) -> bool:
        """Tell whether it is of a process of this machine that is dead."""
        if self._note.is_file() and self._note.read_text() == held["id"]:
            return True
        same = (held["host"], held["boot"]) == (self._about["host"], self._about["boot"])
        return same and not Path(f"/proc/{held['pid']}").exists()

    def _taken(self, held: dict[str, Any]) -> EngineError:
        return EngineError(
            f"{self._remote.shown} is written by {_who(held)}",
            "Wait for it or stop it, or use another workspace. One that is dead is found so by itself: start again. "
            f"To take over at once, remove {self._remote.shown}/{LEASE} when it writes no more.",
        )

    def _read(self) -> dict[str, Any] | None:
        data = self._remote.read(LEASE)
        try:
            held = None if data is None else dict(json.loads(data))
        except ValueError:
            return None
        return held if held and {*self._about, "at"} <= held.keys() else None

    def _write(self) -> None:
        self._signs += 1
        self._remote.write(LEASE, json.dumps(self._about | {"sign": self._signs, "at": _now()}, indent=1).encode())


def _who(held: dict[str, Any]) -> str:
    return (
        f"process {held['pid']} on {held['host']} ({held['runs']}, since {held['since']}, last sign at {held['at']}; "
        f"it is {_now()} now)"
    )


def _boot() -> str:
    file = Path("/proc/sys/kernel/random/boot_id")
    return file.read_text().strip() if file.is_file() else socket.gethostname()


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
