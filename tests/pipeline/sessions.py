"""Sessions without a cluster and without MLflow, which write down what they are told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from brainage_ray.config import Experiment
from brainage_ray.execution import Cluster
from brainage_ray.pipeline.session import Session, Tracking


class Spoken:
    """A progress that keeps its lines, and knows how many bars are open."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.open = 0
        self.skipped = 0

    def begin(self, name: str, total: int, unit: str) -> None:
        self.open += 1

    def advance(self, count: int = 1, note: str = "") -> None:
        assert self.open == 1

    def skip(self, count: int = 1, note: str = "") -> None:
        self.skipped += count
        self.advance(count, note)

    def end(self) -> None:
        self.open = 0

    def say(self, line: str) -> None:
        self.lines.append(line)


class Tracked:
    """A tracker that keeps what it is given."""

    def __init__(self) -> None:
        self.files: list[tuple[str, str]] = []

    def tag(self, tags: Any) -> None:
        pass

    def log_files(self, source: Path, folder: str = "", group: str = "") -> None:
        self.files.append((source.name, group))


def session_of(experiment: Experiment, workspace: Path, tracker: Any = None) -> Session:
    """A session whose cluster is never started and whose tracker is made of nothing."""
    tracking = Tracking(lambda: tracker or Tracked())  # type: ignore[arg-type, return-value]
    return Session(experiment, workspace, Cluster(), tracking, Spoken())
