"""A measured line, and the clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import torch


@dataclass(frozen=True)
class Row:
    """One comparison."""

    what: str
    unit: str
    ours: float
    peer: float | None = None
    more_is_better: bool = True
    goal: str = ""
    peer_name: str = ""

    @property
    def ratio(self) -> float | None:
        """How many times better ours is."""
        if self.peer is None:
            return None
        return self.ours / self.peer if self.more_is_better else self.peer / self.ours

    @property
    def ratio_text(self) -> str:
        """The ratio for people."""
        return f"{self.ratio:.1f} x" if self.ratio is not None else ""

    def shown(self, value: float | None) -> str:
        """A value with its unit."""
        return "" if value is None else f"{value:,.4g} {self.unit}"

    def to_json(self) -> dict[str, Any]:
        """Plain values and the ratio."""
        return asdict(self) | {"ratio": self.ratio}


def seconds(work: Callable[[], Any], repeats: int = 5) -> float:
    """Return the median wall clock of some repeats, after one that warms up."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return median(times[1:])
