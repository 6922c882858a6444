"""Where the services of a workspace keep what is theirs: folders, settings, passwords."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

from brainage_ray.errors import ConfigError, EngineError

HOST = "127.0.0.1"
DATABASES = {"mlflow": "mlflow", "mlflow_auth": "mlflow", "optuna": "optuna"}
"""Each database, and the role that owns it: who has the studies' password does not see MLflow's users."""
SUPERUSER = "postgres"
ADMIN = "admin"
"""MLflow's first user."""
_SOCKET_BYTES = 107 - len(".1234567")
"""What the kernel takes as the path of a socket, less what supervisord adds while it makes one."""


@dataclass(frozen=True)
class Settings:
    """What the last start was told."""

    port: int = 5000
    """MLflow's."""
    postgres_port: int = 5433
    artifacts: str | None = None
    """URI of the artifact store; None: a folder of the workspace."""
    backup_minutes: float = 30.0


@dataclass(frozen=True)
class Site:
    """Folders and files of the services, in a workspace."""

    workspace: Path

    @property
    def folder(self) -> Path:
        """Settings, passwords, logs and supervisord's socket; for nobody else to enter."""
        return self.workspace / "services"

    @property
    def database(self) -> Path:
        """PostgreSQL's files. Apart, because as root they belong to another user, who shall not enter the others."""
        return self.workspace / "postgresql"

    @property
    def backups(self) -> Path:
        """One folder a backup."""
        return self.workspace / "backups"

    @property
    def logs(self) -> Path:
        """One file a service, rotated."""
        return self.folder / "logs"

    @property
    def socket(self) -> Path:
        """Where supervisord takes orders."""
        return self.folder / "sock"

    @property
    def pgpass(self) -> Path:
        """Passwords of all roles as PostgreSQL's clients read them."""
        return self.folder / "pgpass"

    @property
    def auth_settings(self) -> Path:
        """Settings of MLflow's login."""
        return self.folder / "basic_auth.ini"

    @property
    def environment(self) -> Path:
        """What a shell reads before `brainage run`."""
        return self.folder / "environment"

    def artifacts(self, settings: Settings) -> str:
        """Return the URI at which MLflow's server keeps the artifacts."""
        return settings.artifacts or str(self.workspace / "artifacts")

    def make(self) -> None:
        """Make the folders.

        Raises:
            ConfigError: the path is too long for a socket.
            EngineError: they cannot be written.
        """
        if len(os.fsencode(self.socket)) > _SOCKET_BYTES:
            problem = f"{self.folder} is too long a path for a socket"
            raise ConfigError(problem, f"Give a --workspace of fewer than {_SOCKET_BYTES - 14} letters.")
        try:
            self.workspace.mkdir(parents=True, exist_ok=True)
            for folder in (self.folder, self.logs, self.backups):
                folder.mkdir(mode=0o700, exist_ok=True)
                folder.chmod(0o700)
            write_private(self.folder / ".writable", "")
        except OSError as error:
            problem = f"{error.filename or self.folder} cannot be written: {error.strerror}"
            raise EngineError(problem, "Give a --workspace that is a folder of yours on a local disk.") from None

    def settings(self) -> Settings:
        """Read what the last start was told."""
        file = self.folder / "settings.json"
        return Settings(**json.loads(file.read_text())) if file.is_file() else Settings()

    def save(self, settings: Settings) -> None:
        """Note what a start was told, and write what clients and MLflow read of it."""
        write_private(self.folder / "settings.json", json.dumps(asdict(settings), indent=2))
        passwords = self.passwords()
        roles = (SUPERUSER, *sorted(set(DATABASES.values())))
        write_private(self.pgpass, "".join(f"*:*:*:{role}:{passwords[role]}\n" for role in roles))
        write_private(
            self.auth_settings,
            f"[mlflow]\ndefault_permission = NO_PERMISSIONS\ndatabase_uri = {mlflow_url(settings, 'mlflow_auth')}\n"
            f"admin_username = {ADMIN}\nauthorization_function = mlflow.server.auth:authenticate_request_basic_auth\n",
        )
        variables = {
            "BRAINAGE_STORAGE": f"postgresql://optuna@{HOST}:{settings.postgres_port}/optuna",
            "PGPASSWORD": passwords["optuna"],
            "MLFLOW_TRACKING_URI": f"http://{HOST}:{settings.port}",
            "MLFLOW_TRACKING_USERNAME": ADMIN,
            "MLFLOW_TRACKING_PASSWORD": passwords["mlflow_admin"],
        }
        lines = [f"export {name}={shlex.quote(value)}\n" for name, value in variables.items()]
        write_private(self.environment, "".join(lines))

    def passwords(self) -> dict[str, str]:
        """Return all passwords by what they are for; they are drawn at the first call."""
        file = self.folder / "passwords.json"
        if not file.is_file():
            names = (SUPERUSER, *DATABASES.values(), "mlflow_admin", "mlflow_cookies")
            write_private(file, json.dumps({name: secrets.token_urlsafe(24) for name in names}))
        passwords: dict[str, str] = json.loads(file.read_text())
        return passwords


def mlflow_url(settings: Settings, database: str) -> str:
    """Return how MLflow reaches a database; libpq takes the password from the file that PGPASSFILE names."""
    return f"postgresql+psycopg://{DATABASES[database]}@{HOST}:{settings.postgres_port}/{database}"


def write_private(path: Path, text: str) -> None:
    """Write a file that its owner alone may read, whole or not at all."""
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def clean_environment(site: Site) -> dict[str, str]:
    """Return this process's environment without what names other servers, with where the passwords are."""
    others = ("PG", "BRAINAGE_", "MLFLOW_TRACKING_", "MLFLOW_AUTH_", "MLFLOW_FLASK_", "SUPERVISOR_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    return {**kept, "PGPASSFILE": str(site.pgpass)}
