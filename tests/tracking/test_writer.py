from __future__ import annotations

import logging
import threading
import time

import pytest

from brainage_ray.tracking.writer import WriteBehind


class FakeStore:
    """Takes numbers; down while `error` is set, hanging while `gate` is closed."""

    def __init__(self):
        self.waiting: list[int] = []
        self.written: list[int] = []
        self.calls = 0
        self.error: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()

    def write(self):
        self.gate.wait()
        self.calls += 1
        if self.error:
            raise self.error
        self.written += self.waiting
        self.waiting = []

    def unwritten(self):
        return len(self.waiting)


@pytest.fixture
def store():
    return FakeStore()


@pytest.fixture
def writer(store):
    writer = WriteBehind(store, interval_s=0.01)
    yield writer
    store.gate.set()
    writer.close(1.0)


def wait_until(met):
    """Wait for a condition; the test's own time limit ends a wait for what never comes."""
    while not met():
        time.sleep(0.01)


def put(writer, store, *numbers):
    for number in numbers:
        writer.put(lambda number=number: store.waiting.append(number))


def test_events_keep_their_order(writer, store):
    put(writer, store, *range(100))
    assert writer.flush(60)
    assert store.written == list(range(100))


def test_events_are_written_without_a_flush(writer, store):
    put(writer, store, 1)
    wait_until(lambda: store.written)
    assert store.written == [1]


def test_a_bundle_waits_for_the_interval(store):
    writer = WriteBehind(store, interval_s=3600)
    wait_until(lambda: store.calls)  # the first bundle waits for nothing
    put(writer, store, *range(50))
    time.sleep(0.1)
    assert store.written == []
    assert writer.close(60) == 0
    assert store.written == list(range(50))
    assert store.calls <= 3


def test_what_came_during_an_outage_is_written_after_it(writer, store, caplog):
    store.error = OSError("database is locked\nSELECT 1")
    with caplog.at_level(logging.WARNING):
        put(writer, store, 1, 2)
        assert not writer.flush(0.3)
        put(writer, store, 3)
        assert not writer.flush(0.3)
        wait_until(lambda: store.calls > 2)
    store.error = None
    assert writer.flush(60)
    assert store.written == [1, 2, 3]
    assert [record.getMessage() for record in caplog.records] == [
        "MLflow cannot be written (database is locked). Training goes on; the events are kept and tried again."
    ]


def test_close_tells_how_many_were_lost_and_takes_no_more(writer, store):
    store.error = OSError("disk full")
    put(writer, store, 1, 2, 3)
    assert writer.close(0.2) == 3
    store.error = None
    put(writer, store, 4)
    assert writer.close(0.2) == 3
    assert store.written == []


def test_a_store_that_hangs_holds_up_nobody(writer, store):
    store.gate.clear()  # opened only after the test: one call that waits for the store waits for ever
    put(writer, store, *range(1000))
    assert not writer.flush(0.2)
    assert writer.close(0.2) == 1000
    assert store.written == []


def test_a_wrong_event_is_counted_and_does_not_stop_the_next(writer, store, caplog):
    writer.put(lambda: [][1])
    put(writer, store, 1)
    assert writer.flush(60)
    assert store.written == [1]
    assert writer.close(1) == 1
    assert "An event for MLflow is wrong" in caplog.text


def test_a_slow_store_is_written_to_less_often(store):
    store.write = lambda: (time.sleep(0.05), FakeStore.write(store))[1]
    writer = WriteBehind(store, interval_s=0.001)
    time.sleep(1.5)
    calls = store.calls
    writer.close(1)
    assert calls <= 3  # 0.05 s of work, 1 s of pause
