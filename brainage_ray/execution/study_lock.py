"""The lock of a study in a database: one driver writes it, whatever machine it runs on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout
from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from brainage_ray.errors import EngineError
from brainage_ray.execution.database import Database, explained


@contextmanager
def locked(database: Database, study: str) -> Iterator[Callable[[], None]]:
    """Make a study of a database this process's own until the block ends, or the process.

    Yields:
        What makes sure that it still is.

    Raises:
        EngineError: another process has it, or the database cannot be used.
    """
    taken = EngineError(f"another process is at work on {study} in {database.shown}", "Wait for it, or stop it.")
    lock = _FileLock(database, study) if database.file else _AdvisoryLock(database, study)
    try:
        with explained(database):
            lock.hold()
    except (TakenError, Timeout):
        raise taken from None
    try:
        yield lock.hold
    finally:
        lock.release()


class TakenError(Exception):
    """Another session has the lock: maybe that which this process lost."""

    def __str__(self) -> str:
        """Say so."""
        return "another process holds the study"


class _FileLock:
    def __init__(self, database: Database, study: str) -> None:
        self._lock = FileLock(f"{database.file}.{_number(study):x}.lock", timeout=0)

    def hold(self) -> None:
        if not self._lock.is_locked:
            self._lock.acquire()

    def release(self) -> None:
        self._lock.release()


class _AdvisoryLock:
    """PostgreSQL's, which ends with the session that holds it: files' locks do not reach other machines."""

    def __init__(self, database: Database, study: str) -> None:
        self._engine, self._key = database.engine(), _number(study)
        self._connection: Connection | None = None

    def hold(self) -> None:
        """Have the lock, or get it again after the server was away.

        Raises:
            TakenError: another session has it.
        """
        if self._connection is not None:
            try:
                self._connection.execute(text("SELECT 1"))
                return
            except SQLAlchemyError:
                self.release()
        self._connection = self._engine.connect()
        # the server, too, is to notice a dead machine within a minute, and not within its two hours
        for name, value in (("idle", 30), ("interval", 10), ("count", 3)):
            self._connection.execute(text(f"SET tcp_keepalives_{name} = {value}"))
        if not self._connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": self._key}):
            self.release()
            raise TakenError

    def release(self) -> None:
        """Close the session."""
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
            self._connection = None


def _number(study: str) -> int:
    """63 bits; never the lock of the tables."""
    return int.from_bytes(hashlib.sha256(study.encode()).digest()[:8]) >> 1 | 1
