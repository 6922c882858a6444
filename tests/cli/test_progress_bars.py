"""What a bar says of the pace: of this run alone, and as it is now."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from brainage_ray.cli import progress
from brainage_ray.cli.progress import FIRST_SECONDS, WINDOW, Bars, Pace, shown_pace, shown_time


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


@pytest.fixture
def drawn(clock):
    """A bar over 100 scans on a terminal of 80 columns, and a function that draws it now."""
    written = io.StringIO()
    bars = Bars(Console(file=written, force_terminal=True, color_system=None, width=80))

    def draw() -> str:
        written.seek(0)
        written.truncate()
        bars._bars.refresh()
        lines = written.getvalue().split("\n")
        assert len(lines) == 1, "the bar needs more than a line"
        return lines[0]

    bars.begin("prepare", 100, "scans")
    yield bars, draw
    bars.end()


def test_done_failed_per_minute_and_left(drawn, clock):
    bars, draw = drawn
    assert "left" not in draw()
    for i in range(10):
        clock.now += 2
        bars.advance(note="3 failed" if i == 9 else "")
    for words in ("10/100 scans", "30/min", "0:03:00 left", "3 failed"):
        assert words in draw()


def test_what_an_earlier_run_did_counts_as_done_and_not_for_the_pace(drawn, clock):
    bars, draw = drawn
    for _ in range(60):
        clock.now += 0.01
        bars.skip()
    assert "60/100 scans" in draw()
    assert "/min" not in draw()
    for _ in range(10):
        clock.now += 6
        bars.advance()
        bars.skip()
    assert "80/100 scans" in draw()
    assert "10/min, 0:02:00 left" in draw()


def test_the_pace_falls_while_nothing_comes(drawn, clock):
    bars, draw = drawn
    clock.now += 60
    bars.advance(6)
    assert "6.0/min, 0:15:40 left" in draw()
    clock.now += 60
    assert "3.0/min, 0:31:20 left" in draw()


def test_the_first_moment_says_nothing_of_the_pace():
    pace = Pace(0.0)
    pace.step(0.001, 1)
    assert pace.per_minute(0.002) is None
    assert pace.per_minute(60.0) == pytest.approx(1)


def test_the_pace_is_that_of_the_last_steps():
    pace = Pace(0.0)
    for i in range(1000):
        pace.step(0.001 * i, 1)
    for i in range(WINDOW + 1):
        pace.step(100.0 + 30 * i, 1)
    assert pace.per_minute(100.0 + 30 * WINDOW) == pytest.approx(2)


@given(st.lists(st.floats(FIRST_SECONDS, 1000), min_size=1, max_size=WINDOW), st.integers(1, 9))
def test_the_pace_is_steps_over_time(gaps, count):
    pace, now = Pace(5.0), 5.0
    assert pace.per_minute(now) is None
    for gap in gaps:
        now += gap
        pace.step(now, count)
    assert pace.per_minute(now) == pytest.approx(60 * count * len(gaps) / sum(gaps))


def test_numbers_for_people():
    assert [shown_pace(pace) for pace in (0.04, 1.26, 9.96, 12.4, 1234.5)] == ["0.0", "1.3", "10", "12", "1234"]
    assert [shown_time(seconds) for seconds in (0, 0.2, 61, 3723, 360000)] == [
        "0:00:00",
        "0:00:01",
        "0:01:01",
        "1:02:03",
        "100:00:00",
    ]
