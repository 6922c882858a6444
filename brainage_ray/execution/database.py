"""A database that holds studies: its URL, how it is opened, and what went wrong with it in words.

A password is in no text that this module makes: neither in an error nor in what is saved.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, RDBStorage
from sqlalchemy import NullPool, create_engine, inspect, text
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, PendingRollbackError, SQLAlchemyError

from brainage_ray.errors import ConfigError, EngineError, NoSpaceError
from brainage_ray.execution.disks import network_type

KINDS = "Give --storage postgresql://USER@HOST/DATABASE, sqlite:///FILE on a local disk, or none: a journal file."
LOGIN = "See that the server runs and lets you in; the password comes from PGPASSWORD or ~/.pgpass."
_SECRETS = ("password", "sslpassword")
_POSTGRESQL = {"postgres", "postgresql", "postgresql+psycopg"}
_ALIVE = {"connect_timeout": 10, "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
"""Seconds, and tries: a connection whose other end is gone is noticed within a minute."""
_TABLES = 0
"""Number of the lock under which tables are made."""
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
    raise _no_home(url)


def _no_home(url: URL) -> ConfigError:
    if url.drivername == "sqlite" and url.host:
        fix = f"Write sqlite:///{url.host}{f'/{url.database}' if url.database else ''}."
        return ConfigError("the storage's URL has two slashes where SQLite's have three before the file", fix)
    if url.drivername == "sqlite":
        return ConfigError(
            "the storage is SQLite's in memory, which ends with its process", "Name a file: sqlite:///FILE."
        )
    return ConfigError(f"a study cannot live in a storage of the kind {url.drivername}", KINDS)


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
        with explained(database), database.engine().connect():
            pass


@contextmanager
def opened_database(database: Database) -> Iterator[BaseStorage]:
    """Open a database to write, with its tables; it fails at once where it does not answer.

    Raises:
        EngineError: it cannot be used.
    """
    with explained(database), _making_tables(database):
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
    with explained(database):
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
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _TABLES})
        yield


def _cause(error: Exception) -> BaseException:
    return error.__cause__ if isinstance(error, StorageInternalError) and error.__cause__ else error


def passes(error: Exception) -> bool:
    """Tell whether it may be over by itself."""
    cause = _cause(error)
    # PendingRollbackError: the connection went between two statements of a transaction; Optuna has rolled it back since
    lost = isinstance(cause, OperationalError | InterfaceError | PendingRollbackError)
    lost = lost or getattr(cause, "connection_invalidated", False)
    return lost and not _is_full(cause)


def _is_full(cause: BaseException) -> bool:
    driver = getattr(cause, "orig", None)
    return bool(_FULL & {getattr(driver, "sqlite_errorname", None), getattr(driver, "sqlstate", None)})


def reason_of(error: Exception, database: Database) -> str:
    """Say in one line what the driver said."""
    cause = _cause(error)
    said = str(cause.orig if isinstance(cause, DBAPIError) else cause).strip().partition("\n")[0]
    secrets = {str(database.url.password or ""), *(str(database.url.query.get(name, "")) for name in _SECRETS)}
    for secret in secrets - {""}:
        said = said.replace(secret, "***")
    return said


def explain(error: Exception, database: Database, waited: float = 0.0) -> EngineError | NoSpaceError:
    """Make a driver's error one with a fix; `waited`: for how long it was tried again, seconds."""
    reason = reason_of(error, database)
    if _is_full(_cause(error)):
        return NoSpaceError(f"no space is left for the storage {database.shown}", "Free some; then run again.")
    if waited >= 1:
        problem = f"the storage {database.shown} has been away for {waited:.0f} s: {reason}"
        return EngineError(problem, "Bring it back and run again: the search goes on from there.")
    return EngineError(f"the storage {database.shown} cannot be used: {reason}", LOGIN)


@contextmanager
def explained(database: Database) -> Iterator[None]:
    """Make the errors of the block's use of a database ones with a fix."""
    try:
        yield
    except (SQLAlchemyError, StorageInternalError) as error:
        raise explain(error, database) from None
    except RuntimeError as error:  # Optuna's, of tables of another version
        problem = f"the storage {database.shown} was made by another version of Optuna: {error}"
        raise EngineError(problem, "Use that version, or a new database.") from None
    except ImportError:
        fix = "Install it: pip install 'brainage-ray[postgres]'."
        raise EngineError("the driver of PostgreSQL, psycopg, is not installed", fix) from None
