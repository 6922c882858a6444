"""A thread that writes behind the back of the training, into a store that may be slow or down."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol

from brainage_ray.tracking.client import first_line

_LOG = logging.getLogger(__name__)
_SHARE, _LONGEST_S = 20, 10.0
"""A pause lasts this many times as long as the write before it, so that writing takes 5 % of the time, but no longer
than so many seconds."""
_WRONG = "An event for MLflow is wrong and is dropped: %s"
_DOWN = "MLflow cannot be written (%s). Training goes on; the events are kept and tried again."


class Store(Protocol):
    """What the thread writes to. All of its methods but `unwritten` are called by that thread alone."""

    def write(self) -> None:
        """Write what waits; what could not be written goes on waiting. Raises where the store is down."""

    def unwritten(self) -> int:
        """Return how many events wait."""


class WriteBehind:
    """Hands events to a store in the order in which they came, a bundle at a time.

    Args:
        store: takes the events' effects.
        interval_s: shortest time between two bundles, seconds.
    """

    def __init__(self, store: Store, interval_s: float) -> None:
        self._store = store
        self._interval_s = interval_s
        self._queue: list[Callable[[], None]] = []
        self._changed = threading.Condition()
        self._wake = threading.Event()
        self._closed = False
        self._busy = False
        self._complaints: set[str] = set()
        self._lost = 0
        # A daemon: a store that hangs must not keep the interpreter from ending.
        self._thread = threading.Thread(target=self._run, name="mlflow-writer", daemon=True)
        self._thread.start()

    def put(self, event: Callable[[], None]) -> None:
        """Queue an event; returns at once, and drops the event after close."""
        with self._changed:
            if not self._closed:
                self._queue.append(event)

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything is written.

        Args:
            timeout_s: longest wait, seconds.

        Returns:
            Whether nothing waits any more.
        """
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while self._waiting():
                self._wake.set()
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self._changed.wait(min(left, 0.1))
        return True

    def close(self, timeout_s: float) -> int:
        """Write what waits, end the thread, and return how many events were lost. May be called twice."""
        self.flush(timeout_s)
        with self._changed:
            lost = self._lost + len(self._queue) + self._store.unwritten()
            self._closed = True
            self._queue.clear()
        self._wake.set()
        self._thread.join(1.0)
        return lost

    def _waiting(self) -> bool:
        return self._busy or bool(self._queue) or self._store.unwritten() > 0

    def _run(self) -> None:
        pause = 0.0
        while not self._closed:
            self._wake.wait(pause)
            self._wake.clear()
            began = time.monotonic()
            self._write_bundle()
            pause = max(self._interval_s, min(_SHARE * (time.monotonic() - began), _LONGEST_S))

    def _write_bundle(self) -> None:
        with self._changed:
            bundle, self._queue, self._busy = self._queue, [], True
        for event in bundle:
            self._lost += not self._succeeds(event, _WRONG)
        self._succeeds(self._store.write, _DOWN)
        with self._changed:
            self._busy = False
            self._changed.notify_all()

    def _succeeds(self, call: Callable[[], None], complaint: str) -> bool:
        try:
            call()
        except Exception as error:  # whatever it is, the training goes on
            if complaint not in self._complaints:
                self._complaints.add(complaint)
                _LOG.warning(complaint, first_line(error))
            return False
        return True
