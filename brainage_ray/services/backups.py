"""Backups of the databases: made while all goes on, and put back into services that hold nothing yet."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from brainage_ray.errors import BrainageError, ConfigError, EngineError
from brainage_ray.services.postgresql import client, connect, new_database
from brainage_ray.services.site import ADMIN, DATABASES, Settings, Site, write_private

KEPT = 8
_NAME = "%Y%m%dT%H%M%S.%fZ"
_PARTIAL = ".partial"
_ROWS_OF_A_NEW_SET = {
    "mlflow": {"experiments": 1, "runs": 0, "registered_models": 0},
    "mlflow_auth": {"users": 1},
    "optuna": {"studies": 0},
}
"""More rows in any of these tables are somebody's work."""


@dataclass(frozen=True)
class Backup:
    """A folder with one file a database, in the custom format of pg_dump."""

    folder: Path

    @property
    def made(self) -> datetime:
        """When it was begun."""
        return datetime.strptime(self.folder.name, _NAME).replace(tzinfo=UTC)

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(file.stat().st_size for file in self.folder.iterdir())


def all_backups(site: Site) -> list[Backup]:
    """Return the backups of a workspace, the newest last."""
    return [Backup(folder) for folder in sorted(site.backups.glob("[0-9]*Z"))]


def make_backup(site: Site, settings: Settings) -> Backup | None:
    """Dump all databases into a folder that appears when it is whole; all but the newest 8 are removed.

    Returns:
        None where the databases hold nothing yet: with such backups the ones of before would go.

    Raises:
        EngineError: PostgreSQL does not answer, or the disk is full.
    """
    with no_other_backup(site), _explained():
        if not any(_holds_something(site, settings, database) for database in DATABASES):
            return None
        for partial in site.backups.glob(f".*{_PARTIAL}"):
            shutil.rmtree(partial)
        folder = site.backups / datetime.now(UTC).strftime(_NAME)
        partial = site.backups / f".{folder.name}{_PARTIAL}"
        partial.mkdir(mode=0o700)
        try:
            for name in DATABASES:
                client(site, settings, "pg_dump", "-Fc", "-f", str(partial / f"{name}.dump"), name)
            partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        for old in all_backups(site)[:-KEPT]:
            shutil.rmtree(old.folder)
        return Backup(folder)


def keep_backing_up(site: Site, settings: Settings, retry: float = 60.0) -> None:
    """Make a backup every so many minutes, for ever.

    Args:
        site: of which services.
        settings: how often.
        retry: seconds after which a backup that failed is tried again.
    """
    seconds = settings.backup_minutes * 60
    kept = all_backups(site)
    wait = seconds - (datetime.now(UTC) - kept[-1].made).total_seconds() if kept else seconds
    while True:
        time.sleep(max(wait, 0.0))
        error = None
        try:
            make_backup(site, settings)
        except (BrainageError, OSError) as failed:
            error = str(failed)
        write_private(site.folder / "last_backup.json", json.dumps({"error": error}))
        wait = retry if error else seconds


def last_error(site: Site) -> str | None:
    """Return why the last of the periodic backups failed; None where it did not."""
    file = site.folder / "last_backup.json"
    error: str | None = json.loads(file.read_text())["error"] if file.is_file() else None
    return error


def dumps_of(files: Sequence[Path]) -> dict[str, Path]:
    """Return the file of each database: of a backup's folder, or as named.

    Raises:
        ConfigError: a file is not there, or is of none of the databases.
    """
    found = [dump for file in files for dump in (sorted(file.glob("*.dump")) if file.is_dir() else [file])]
    dumps = {file.stem: file for file in found}
    unknown = [str(file) for file in found if file.stem not in DATABASES or not file.is_file()]
    if unknown or not dumps or len(dumps) < len(found):
        names = ", ".join(f"{name}.dump" for name in DATABASES)
        what = ", ".join(unknown or map(str, files)) or "nothing"
        raise ConfigError(f"{what} is no backup", f"Name a folder in backups/, or one each of {names}.")
    return dumps


def check_empty(site: Site, settings: Settings, dumps: dict[str, Path]) -> None:
    """See that a restore would take nothing away.

    Raises:
        EngineError: a database holds something.
    """
    with _explained():
        if full := [name for name in dumps if _holds_something(site, settings, name)]:
            problem = f"the services in {site.workspace} are in use already: {', '.join(full)} would be overwritten"
            raise EngineError(problem, "Start new ones with another --workspace and restore into those.")


def read_in(site: Site, settings: Settings, dumps: dict[str, Path]) -> None:
    """Read files of pg_dump to their end, into databases that stand beside those in use.

    Raises:
        EngineError: a file is damaged; nothing has changed.
    """
    with _explained(), connect(site, settings, "postgres") as server:
        for name, file in dumps.items():
            _execute(server, f'DROP DATABASE IF EXISTS "{name}_restored"', *new_database(f"{name}_restored", name))
            client(site, settings, "pg_restore", "--single-transaction", "--no-owner", "--role", DATABASES[name],
                   "--dbname", f"{name}_restored", str(file))  # fmt: skip


def take_over(site: Site, settings: Settings, names: Iterable[str]) -> None:
    """Put databases that were read in into the place of those in use, whose clients are cut off.

    Raises:
        EngineError: PostgreSQL does not answer.
    """
    with _explained(), connect(site, settings, "postgres") as server:
        if "mlflow_auth" in names:
            _keep_admin(site, settings)
        for name in names:
            _execute(server, f'DROP DATABASE "{name}" WITH (FORCE)')
            _execute(server, f'ALTER DATABASE "{name}_restored" RENAME TO "{name}"')


def _execute(connection: Any, *statements: str) -> None:  # psycopg's own type wants literals; names cannot be bound
    for statement in statements:
        connection.execute(statement)


def _keep_admin(site: Site, settings: Settings) -> None:
    """Give the admin of a backup the password of these services, which nobody would know otherwise."""
    with connect(site, settings, "mlflow_auth") as now, connect(site, settings, "mlflow_auth_restored") as then:
        if row := now.execute("SELECT password_hash FROM users WHERE username = %s", [ADMIN]).fetchone():
            then.execute("UPDATE users SET password_hash = %s WHERE username = %s", [row[0], ADMIN])


def _holds_something(site: Site, settings: Settings, database: str) -> bool:
    with connect(site, settings, database) as connection:
        execute: Any = connection.execute
        tables = {row[0] for row in execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}
        rows = _ROWS_OF_A_NEW_SET[database]
        return any(execute(f"SELECT count(*) FROM {name}").fetchone()[0] > rows[name] for name in tables & rows.keys())


@contextmanager
def no_other_backup(site: Site) -> Iterator[None]:
    """Let no backup be made meanwhile."""
    with FileLock(site.folder / ".backups.lock", mode=0o600):
        yield


@contextmanager
def _explained() -> Iterator[None]:
    import psycopg

    try:
        yield
    except psycopg.Error as error:
        reason = str(error).strip().partition("\n")[0]
        fix = "See that all runs: brainage services status."
        raise EngineError(f"PostgreSQL cannot be used: {reason}", fix) from None
