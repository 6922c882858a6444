"""Ports of the head's loopback, on this machine's loopback, for as long as a block runs."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import IO, Self

from brainage_ray.cluster.head import CONNECT_S, Head, no_ssh
from brainage_ray.errors import EngineError

READY = "brainage-tunnel-ready"
_TRIES = 3
_TAKEN = ("address already in use", "cannot listen to port")


class Tunnel:
    """An ssh of its own that carries ports; it ends with the block, and with this process however that ends.

    For that the far end reads from a pipe of ours and ends with it, where `ssh -N` would stay after a `kill -9`; and
    what it says first tells that all ports are carried.

    Args:
        head: whose ports they are.
        ports: on the head's loopback; to each the port that it gets here, or 0 for a free one.
        beside: commands that run there meanwhile, and end with it.
    """

    def __init__(self, head: Head, ports: Mapping[int, int], beside: Sequence[str] = ()) -> None:
        self.head, self._beside = head, beside
        self._wanted = dict(ports)
        self.ports: dict[int, int] = {}
        """The port here for each port there, once it is open."""
        self._process: subprocess.Popen[bytes] | None = None
        self._said: IO[bytes] | None = None

    def __enter__(self) -> Self:
        """Open it.

        Raises:
            EngineError: ssh does not get in, or a port here is taken.
        """
        for tries_left in reversed(range(_TRIES)):
            try:
                self._open()
                break
            except EngineError as error:
                self.close()
                taken = any(word in str(error).lower() for word in _TAKEN)  # somebody was faster, or a port was named
                if not taken or not tries_left or all(self._wanted.values()):
                    raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        self.close()

    @property
    def alive(self) -> bool:
        """Whether it still carries; a connection that broke shows after 15 s."""
        return self._process is not None and self._process.poll() is None

    def url(self, port: int) -> str:
        """Return where a port of the head is found here, as http://127.0.0.1:PORT."""
        return f"http://127.0.0.1:{self.ports[port]}"

    def said(self) -> str:
        """Return what ssh, and the commands beside it, have said so far."""
        if self._said is None:
            return ""
        return os.pread(self._said.fileno(), 2**20, 0).decode(errors="replace")

    def close(self) -> None:
        """End it; a second call does nothing."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            for stream in (self._process.stdin, self._process.stdout):
                with contextlib.suppress(OSError):
                    stream.close()  # type: ignore[union-attr]
        if self._said is not None:
            self._said.close()
        self._process, self._said, self.ports = None, None, {}

    def _open(self) -> None:
        ports = {there: here or _free_port() for there, here in self._wanted.items()}
        carried = [word for there, here in ports.items() for word in ("-L", f"127.0.0.1:{here}:127.0.0.1:{there}")]
        command = [*self.head.words("-T", "-o", "ExitOnForwardFailure=yes", *carried), self._far_end()]
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the tunnel)
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said,
                start_new_session=True,  # Ctrl-C is for this process, which may have things to say through it
            )  # fmt: skip
        except FileNotFoundError:
            raise no_ssh() from None
        if not self._is_ready():
            raise self._failure()
        self.ports = ports

    def _far_end(self) -> str:
        started = [f'{{ {command}; }} < /dev/null >&2 & all="$all $!"' for command in self._beside]
        ending = "trap 'kill $all' EXIT;" if started else ""
        return f"{' '.join(f'{line};' for line in started)} {ending} echo {READY}; cat > /dev/null".strip()

    def _is_ready(self) -> bool:
        """Wait for the far end's first words; what its start-up files print comes before them."""
        assert self._process is not None
        assert self._process.stdout is not None
        end, heard = time.monotonic() + 3 * CONNECT_S, b""
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while READY.encode() not in heard:
                if not selector.select(timeout=max(0.0, end - time.monotonic())):
                    return False
                part = self._process.stdout.read1()  # type: ignore[attr-defined]
                if not part:
                    return False
                heard += part
        return True

    def _failure(self) -> EngineError:
        assert self._process is not None
        assert self._said is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=1)
        if self._process.returncode is None:
            return EngineError(f"{self.head} lets ssh in, but its shell does not start", "Look at its start-up files.")
        return self.head.refused(self.said())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
