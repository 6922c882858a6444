"""A database that holds studies: its URL, its lock, and patience with a server that is away for minutes.

One driver writes a study; others write theirs into the same database. A password is in no text that this module
makes: neither in an error nor in what is saved.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage, RDBStorage
from sqlalchemy import Connection, NullPool, create_engine, inspect, text
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError

from brainage_ray.errors import ConfigError, EngineError, NoSpaceError
from brainage_ray.execution.disks import network_type

logger = logging.getLogger(__name__)

PATIENCE_S = 300.0
"""How long a search waits for a server that does not answer."""
LONGEST_WAIT_S = 10.0
"""Between two tries."""
KINDS = "Give --storage postgresql://USER@HOST/DATABASE, sqlite:///FILE on a local disk, or none: a journal file."
LOGIN = "See that the server runs and lets you in; the password comes from PGPASSWORD or ~/.pgpass."
_SECRETS = ("password", "sslpassword")
_POSTGRESQL = {"postgres", "postgresql", "postgresql+psycopg"}
_ALIVE = {"connect_timeout": 10, "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
"""Seconds, and tries: a connection whose other end is gone is noticed within a minute."""
_SCHEMA = 0
_FULL = {"SQLITE_FULL", "53100"}
"""SQLite's name and PostgreSQL's SQLSTATE of a full disk."""


@dataclass(frozen=True)
class Database:
    """Where studies live."""

    shown: str
    """Its URL without secrets."""
    url: URL = field(repr=False)

    @property
    def file(self) -> Path | None:
        """SQLite's file; None for a server."""
        return Path(str(self.url.database)) if self.url.drivername == "sqlite" else None

    def engine(self) -> Engine:
        """Connect as often as asked, each time anew."""
        return create_engine(self.url, poolclass=NullPool, isolation_level="AUTOCOMMIT", connect_args=self.options)

    @property
    def options(self) -> dict[str, Any]:
        """How to connect, where the URL does not say."""
        if self.file:
            return {"timeout": 60}
        return {name: value for name, value in _ALIVE.items() if name not in self.url.query}


def parse_storage(storage: str) -> Database:
    """Read the URL of a storage.

    Raises:
        ConfigError: it is none, or of a kind that is not for studies; SQLite on a network's disk.
    """
    try:
        url = make_url(storage)
    except (SQLAlchemyError, ValueError):  # which may quote a password
        raise ConfigError("the storage is no URL of a database", KINDS) from None
    if url.drivername in _POSTGRESQL:
        if "@" in (url.host or ""):
            raise ConfigError("the storage's URL has an @ too many", "Write one of the password as %40.") from None
        query = url.difference_update_query(_SECRETS).query
        shown = URL.create("postgresql", url.username, None, url.host, url.port, url.database, query)
        return Database(shown.render_as_string(), url.set(drivername="postgresql+psycopg"))
    if url.drivername == "sqlite" and url.database and url.database != ":memory:":
        return _sqlite(Path(url.database).absolute())
    raise ConfigError(f"a study cannot live in a storage of the kind {url.drivername}", KINDS)


def _sqlite(file: Path) -> Database:
    if kind := network_type(file):
        problem = f"the storage {file} lies on a network's disk ({kind}), where SQLite's locks do not hold"
        raise ConfigError(problem, "Name a file on a local disk, a PostgreSQL server, or none: a journal file.")
    if not file.parent.is_dir():
        raise ConfigError(f"the storage {file} has no folder", "Make it.")
    url = URL.create("sqlite", database=str(file))
    return Database(url.render_as_string(), url)


def reach(database: Database) -> None:
    """See that a database answers.

    Raises:
        EngineError: it does not.
    """
    if database.file is None:
        with _explained(database), database.engine().connect():
            pass


@contextmanager
def opened_database(database: Database) -> Iterator[BaseStorage]:
    """Open a database to write, with its tables; it fails at once where it does not answer.

    Raises:
        EngineError: it cannot be used.
    """
    with _explained(database), _making_tables(database):
        _rdb(database, {"poolclass": NullPool})  # leaves no connection open where the tables are refused
    storage = _rdb(database, {"pool_pre_ping": True}, skip_table_creation=True, skip_compatibility_check=True)
    try:
        yield _cached(storage)
    finally:
        storage.engine.dispose()


def read_database(database: Database) -> BaseStorage | None:
    """Open a database to read; None where it has no tables yet.

    Raises:
        EngineError: it cannot be used.
    """
    if database.file and not database.file.is_file():  # which connecting would make
        return None
    with _explained(database):
        if not inspect(database.engine()).has_table("studies"):
            return None
        return _cached(_rdb(database, {"poolclass": NullPool}, skip_table_creation=True))


def _rdb(database: Database, engine: dict[str, Any], **options: Any) -> RDBStorage:
    url = database.url.render_as_string(hide_password=False)
    return RDBStorage(url, engine_kwargs={**engine, "connect_args": database.options}, **options)


def _cached(storage: RDBStorage) -> BaseStorage:
    """Keep finished trials in memory."""
    return optuna.storages.get_storage(storage)


@contextmanager
def _making_tables(database: Database) -> Iterator[None]:
    """One driver at a time: PostgreSQL fails where two make the same table."""
    if database.file:
        with FileLock(f"{database.file}.tables.lock"):
            yield
        return
    with database.engine().connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _SCHEMA})
        yield


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
        with _explained(database):
            lock.hold()
    except (_TakenError, Timeout):
        raise taken from None
    try:
        yield lock.hold
    finally:
        lock.release()


class _TakenError(Exception):
    """Another session has the lock: maybe that which this process lost."""


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
            _TakenError: another session has it.
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
            raise _TakenError

    def release(self) -> None:
        """Close the session."""
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
            self._connection = None


def _number(study: str) -> int:
    """63 bits; never the lock of the tables."""
    return int.from_bytes(hashlib.sha256(study.encode()).digest()[:8]) >> 1 | 1


class PatientStorage:
    """Waits for a server that is away: what was to be written is written once it is back.

    A call whose answer was lost is made again. That is safe as one process writes: attributes and values are set
    to the same, and a trial made twice leaves one that has no place in the study, and is never counted.

    Args:
        storage: what it passes all calls to.
        database: where that is.
        hold: makes sure that the study is still this process's.
    """

    def __init__(self, storage: BaseStorage, database: Database, hold: Callable[[], None]) -> None:
        self._storage, self._database, self._hold = storage, database, hold
        self._patience = 0.0 if database.file else PATIENCE_S

    def __getattr__(self, name: str) -> Any:
        """Return the method of that name, made patient."""
        if name.startswith("__"):
            raise AttributeError(name)
        method = getattr(self._storage, name)
        return functools.partial(self._call, method) if callable(method) else method

    def _call(self, method: Any, *arguments: Any, **options: Any) -> Any:
        began, tries = time.monotonic(), 0
        while True:
            try:
                if tries or method.__name__ == "create_new_trial":
                    self._hold()
                answer = method(*arguments, **options)
                break
            except UpdateFinishedTrialError:
                if not tries:
                    raise
                answer = True  # the try before had closed the trial
                break
            except (StorageInternalError, SQLAlchemyError, _TakenError) as error:
                self._wait(error, began, tries)
                tries += 1
        if tries:
            waited = time.monotonic() - began
            logger.warning("The storage %s answers again after %.0f s", self._database.shown, waited)
        return answer

    def _wait(self, error: Exception, began: float, tries: int) -> None:
        waited = time.monotonic() - began
        if not _passes(error) or waited >= self._patience:
            self._patience = 0.0  # what is still to be noted before the end must not wait again
            raise _explain(error, self._database, waited) from None
        if tries == 0:
            problem = _reason(error, self._database)
            logger.warning("The storage %s is away, trying again: %s", self._database.shown, problem)
        try:
            time.sleep(min(0.25 * 2**tries, LONGEST_WAIT_S))
        except BaseException:
            self._patience = 0.0
            raise


def _cause(error: Exception) -> BaseException:
    return error.__cause__ if isinstance(error, StorageInternalError) and error.__cause__ else error


def _passes(error: Exception) -> bool:
    """Tell whether it may be over by itself."""
    cause = _cause(error)
    lost = isinstance(cause, OperationalError | InterfaceError) or getattr(cause, "connection_invalidated", False)
    return isinstance(cause, _TakenError) or (lost and not _is_full(cause))


def _is_full(cause: BaseException) -> bool:
    driver = getattr(cause, "orig", None)
    return bool(_FULL & {getattr(driver, "sqlite_errorname", None), getattr(driver, "sqlstate", None)})


def _reason(error: Exception, database: Database) -> str:
    """Say in one line what the driver said."""
    cause = _cause(error)
    if isinstance(cause, _TakenError):
        return "another process holds the study"
    said = str(cause.orig if isinstance(cause, DBAPIError) else cause).strip().partition("\n")[0]
    secrets = {str(database.url.password or ""), *(str(database.url.query.get(name, "")) for name in _SECRETS)}
    for secret in secrets - {""}:
        said = said.replace(secret, "***")
    return said


def _explain(error: Exception, database: Database, waited: float = 0.0) -> EngineError | NoSpaceError:
    reason = _reason(error, database)
    if _is_full(_cause(error)):
        return NoSpaceError(f"no space is left for the storage {database.shown}", "Free some; then run again.")
    if waited >= 1:
        problem = f"the storage {database.shown} has been away for {waited:.0f} s: {reason}"
        return EngineError(problem, "Bring it back and run again: the search goes on from there.")
    return EngineError(f"the storage {database.shown} cannot be used: {reason}", LOGIN)


@contextmanager
def _explained(database: Database) -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, StorageInternalError) as error:
        raise _explain(error, database) from None
    except RuntimeError as error:  # Optuna's, of tables of another version
        problem = f"the storage {database.shown} was made by another version of Optuna: {error}"
        raise EngineError(problem, "Use that version, or a new database.") from None
    except ImportError:
        fix = "Install it: pip install 'brainage-ray[postgres]'."
        raise EngineError("the driver of PostgreSQL, psycopg, is not installed", fix) from None
