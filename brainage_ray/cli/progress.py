"""Progress bars: how much is done, how fast, what is best so far, and how long is left."""

from __future__ import annotations

import math
import time
from collections import deque

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
)
from rich.table import Column
from rich.text import Text

WINDOW = 60
"""Steps that the pace is the mean of."""
FIRST_SECONDS = 2.0
"""Before that nothing is said of the pace."""
EVERY_S = 60.0
"""Where there is no terminal: between two lines of one bar."""


class Pace:
    """Steps a minute, over the last WINDOW of them and the time since.

    Args:
        now: seconds on any clock, at which the work begins.
    """

    def __init__(self, now: float) -> None:
        self._steps: deque[tuple[float, int]] = deque([(now, 0)], maxlen=WINDOW + 1)

    def step(self, now: float, count: int) -> None:
        """Count what this run has done."""
        self._steps.append((now, count))

    def skip(self, now: float) -> None:
        """Begin only now, if nothing is done yet: so far, time went into finding what an earlier run had done."""
        if len(self._steps) == 1:
            self._steps[0] = (now, 0)

    def per_minute(self, now: float) -> float | None:
        """Return the pace; None before there is enough to tell by. Where nothing more comes, it falls."""
        done, seconds = sum(count for _, count in list(self._steps)[1:]), now - self._steps[0][0]
        return 60 * done / seconds if done and seconds >= FIRST_SECONDS else None


class PaceColumn(ProgressColumn):
    """Steps a minute and the time that is left at that pace."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        super().__init__(Column(no_wrap=True))

    def render(self, task: Task) -> Text:
        """Return both, or nothing before the first step."""
        pace = self._pace.per_minute(time.monotonic())
        if pace is None or task.remaining is None:
            return Text("")
        return Text(
            f"{shown_pace(pace)}/min, {shown_time(60 * task.remaining / pace)} left", style="progress.remaining"
        )


def shown_pace(pace: float) -> str:
    """Return a pace with two digits, or all those before the point."""
    return f"{pace:.1f}" if pace < 9.95 else f"{pace:.0f}"


def shown_time(seconds: float) -> str:
    """Return hours, minutes and seconds, as 1:02:03."""
    whole = math.ceil(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


class Bars:
    """Draws one bar at a time on a terminal; elsewhere prints a line as each ends, and one a minute.

    Args:
        console: where to draw.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars: Progress | None = None
        self._pace = Pace(0)
        self._name, self._note, self._total, self._done, self._spared = "", "", 0, 0, 0
        self._said = 0.0

    def begin(self, name: str, total: int, unit: str) -> None:
        """Start a bar over `total` units."""
        self._name, self._note, self._total, self._done, self._spared = name, "", total, 0, 0
        self._said = time.monotonic()
        self._pace = Pace(self._said)
        if not self._console.is_terminal:
            self._console.print(f"{name}: {total} {unit}", markup=False, highlight=False)
            return
        self._bars = Progress(
            SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(20), MofNCompleteColumn(),
            TextColumn(unit), PaceColumn(self._pace), TextColumn("{task.fields[note]}", markup=False),
            console=self._console, transient=True,
        )  # fmt: skip
        self._bars.add_task(name, total=total, note="")
        self._bars.start()

    def advance(self, count: int = 1, note: str = "") -> None:
        """Move the bar on; a note replaces the last one."""
        if count:
            self._pace.step(time.monotonic(), count)
        self._move(count, note)

    def skip(self, count: int = 1, note: str = "") -> None:
        """Move the bar by what an earlier run had done: it says nothing of the pace of this one."""
        self._pace.skip(time.monotonic())
        self._move(count, note)

    def _move(self, count: int, note: str) -> None:
        self._note = note or self._note
        self._done += count
        if self._bars is not None:
            task = self._bars.task_ids[0]
            self._bars.update(task, advance=count, note=self._note)
        elif self._name and self._done < self._total and time.monotonic() - self._said >= EVERY_S:
            self._said = time.monotonic()
            self.say(f"{self._name}: {self._done} of {self._total}{f', {self._note}' if self._note else ''}")

    def spare(self, count: int) -> None:
        """Take units off the total that nobody has to do."""
        self._total -= count
        self._spared += count
        if self._bars is not None:
            self._bars.update(self._bars.task_ids[0], total=self._total)

    def end(self) -> None:
        """Take the bar away, if there is one, and leave a line."""
        if not self._name:
            return
        elapsed = ""
        if self._bars is not None:
            elapsed = f" in {self._bars.tasks[0].elapsed or 0:.0f} s"
            self._bars.stop()
            self._bars = None
        mark = "done" if self._done >= self._total else "stopped"
        spared = f" ({self._spared} of at most {self._total + self._spared} not needed)" if self._spared else ""
        line = f"{self._name}: {self._done} of {self._total} {mark}{elapsed}{spared}"
        self.say(line + (f", {self._note}" if self._note else ""))
        self._name = ""

    def say(self, line: str) -> None:
        """Print a line that stays."""
        self._console.print(line, markup=False, highlight=False)
