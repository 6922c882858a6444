"""Progress bars: what is best so far, and how long is left."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn as Remaining


class Bars:
    """Draws one bar at a time on a terminal; elsewhere prints a line as each ends.

    Args:
        console: where to draw.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars: Progress | None = None
        self._name, self._note, self._total, self._done = "", "", 0, 0

    def begin(self, name: str, total: int, unit: str) -> None:
        """Start a bar over `total` units."""
        self._name, self._note, self._total, self._done = name, "", total, 0
        if not self._console.is_terminal:
            self._console.print(f"{name}: {total} {unit}", markup=False, highlight=False)
            return
        self._bars = Progress(
            SpinnerColumn(), TextColumn("{task.description:<28}", markup=False), BarColumn(), MofNCompleteColumn(),
            TextColumn(unit), TimeElapsedColumn(), TextColumn("left"), Remaining(),
            TextColumn("{task.fields[note]}", markup=False),
            console=self._console, transient=True,
        )  # fmt: skip
        self._bars.add_task(name, total=total, note="")
        self._bars.start()

    def advance(self, count: int = 1, note: str = "") -> None:
        """Move the bar on; a note replaces the last one."""
        self._note = note or self._note
        self._done += count
        if self._bars is not None:
            task = self._bars.task_ids[0]
            self._bars.update(task, advance=count, note=self._note)

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
        line = f"{self._name}: {self._done} of {self._total} {mark}{elapsed}"
        self.say(line + (f", {self._note}" if self._note else ""))
        self._name = ""

    def say(self, line: str) -> None:
        """Print a line that stays."""
        self._console.print(line, markup=False, highlight=False)
