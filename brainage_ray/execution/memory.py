"""A bound on the memory of a process while it works on one thing."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

GIB = 2**30
_STATUS = Path("/proc/self/status")


@contextmanager
def memory_limit(gib: float) -> Iterator[None]:
    """Let this process hold at most so much memory of its own inside the block; beyond it raises MemoryError.

    The bound is RLIMIT_DATA, which the kernel checks at each allocation: what is too large fails at once, in Python
    and in libraries, with a MemoryError that names a scan, where a machine that runs out of memory kills processes.
    Not RLIMIT_AS, which would count Ray's shared object store and mapped files too, gigabytes that are nobody's.
    RLIMIT_DATA counts what is reserved (stacks of threads, pools), so what is reserved and not used now comes on top.
    A process that is started inside the block has a bound of the same size. Where the system does not say what a
    process has (other than Linux), nothing is bounded.

    Args:
        gib: of the whole process, interpreter and libraries included, GiB.
    """
    if (unused := _reserved_bytes()) is None:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    bound = int(gib * GIB) + unused
    resource.setrlimit(resource.RLIMIT_DATA, (bound if hard == resource.RLIM_INFINITY else min(bound, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _reserved_bytes() -> int | None:
    """Return how much of its own memory this process has reserved and does not use; None where nobody says."""
    try:
        lines = [line.split() for line in _STATUS.read_text().splitlines()]
        kib = {words[0]: int(words[1]) for words in lines if words[0] in ("VmData:", "RssAnon:")}
        return max(0, kib["VmData:"] - kib["RssAnon:"]) * 1024
    except (OSError, KeyError):
        return None
