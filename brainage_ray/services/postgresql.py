"""PostgreSQL's own programs: a cluster is made once and checked before each start."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from brainage_ray.errors import EngineError
from brainage_ray.services.processes import ends_within
from brainage_ray.services.site import DATABASES, HOST, SUPERUSER, Settings, Site, clean_environment, write_private

if TYPE_CHECKING:
    import psycopg

_DEBIAN = Path("/usr/lib/postgresql")
_STOP_SECONDS = 60
_LOGIN_SECONDS = 3


def program(name: str, site: Site | None = None) -> str:
    """Return the path of one of PostgreSQL's programs: on the PATH, or the newest where Debian puts them.

    Args:
        name: of the program.
        site: whose files it shall read: another version than the one that made them cannot.

    Raises:
        EngineError: PostgreSQL is not on this machine.
    """
    made_by = site.database / "data" / "PG_VERSION" if site else None
    if made_by and made_by.is_file():
        same = _DEBIAN / made_by.read_text().strip() / "bin" / name
        if same.is_file():
            return str(same)
    on_path = shutil.which("initdb")
    found = sorted(_DEBIAN.glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if not on_path and not found:
        problem = f"PostgreSQL is not on this machine: initdb is neither on the PATH nor in {_DEBIAN}"
        raise EngineError(problem, "Install it: sudo apt-get install -y postgresql.")
    return str((Path(on_path).resolve() if on_path else found[-1]).with_name(name))


def owner() -> str | None:
    """Return the user that the server runs as where it is not us: it refuses to run as root.

    Raises:
        EngineError: we are root, and there is no such user.
    """
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        problem = "PostgreSQL does not run as root, and there is no user postgres that it could run as"
        raise EngineError(problem, "Make that user, or start the services as another user.") from None


def make_cluster(site: Site) -> bool:
    """Make PostgreSQL's files with roles and databases, unless they are there; tells whether it did.

    Raises:
        EngineError: they cannot be made.
    """
    data, new = site.database / "data", site.database / "new"
    if data.is_dir():
        return False
    user = owner()
    site.database.mkdir(mode=0o700, exist_ok=True)
    shutil.rmtree(new, ignore_errors=True)  # of a start that was killed
    new.mkdir(mode=0o700)
    password = new / "password"
    write_private(password, site.passwords()[SUPERUSER])
    if user:
        for path in (site.database, new, password):
            shutil.chown(path, user, user)
        _check_path(site.database, user)
    made = str(new / "data")
    _run(["initdb", "-D", made, "-U", SUPERUSER, "-A", "scram-sha-256", "--pwfile", str(password),
          "-E", "UTF8", "--no-locale", "--data-checksums"])  # fmt: skip
    # The single-user server reads commands from stdin, so that no password is on a command line.
    _run(["postgres", "--single", "-c", "exit_on_error=on", "-D", made, "template1"], _first_commands(site))
    password.unlink()
    Path(made).rename(data)
    new.rmdir()
    return True


def _first_commands(site: Site) -> str:
    passwords = site.passwords()
    roles = [f"CREATE ROLE {role} LOGIN PASSWORD '{passwords[role]}';" for role in sorted(set(DATABASES.values()))]
    return "\n".join([*roles, *(line for name in DATABASES for line in new_database(name, name))]) + "\n"


def new_database(name: str, like: str) -> list[str]:
    """Return the statements that make a database for the owner of another one, closed to the other roles."""
    return [f'CREATE DATABASE "{name}" OWNER {DATABASES[like]};', f'REVOKE ALL ON DATABASE "{name}" FROM PUBLIC;']


def _check_path(folder: Path, user: str) -> None:
    if subprocess.run(["test", "-w", folder], user=user, group=user, extra_groups=[], check=False).returncode:
        problem = f"the user {user}, as whom PostgreSQL runs where root starts it, cannot enter {folder}"
        raise EngineError(problem, "Give a --workspace below folders that all may enter, or start it as another user.")


def _run(command: list[str], text: str = "") -> None:
    user = owner()
    how: dict[str, Any] = {"user": user, "group": user, "extra_groups": []} if user else {}
    said = subprocess.run([program(command[0]), *command[1:]], input=text, text=True, cwd="/", umask=0o077,
                          capture_output=True, check=False, **how)  # fmt: skip
    if said.returncode:
        lines = [line for line in said.stderr.splitlines() if "rror" in line or "FATAL" in line] or [said.stderr]
        problem = f"PostgreSQL's {command[0]} failed: {lines[0].strip()}"
        fix = "Free some space, then start again." if "No space left" in said.stderr else "Mend it, then start again."
        raise EngineError(problem, fix)


def server_command(site: Site, settings: Settings) -> list[str]:
    """Return the command line of the server: loopback, and a socket in its folder."""
    values = {
        "listen_addresses": HOST, "port": settings.postgres_port, "unix_socket_directories": "..",
        "unix_socket_permissions": "0700", "password_encryption": "scram-sha-256",
        "log_line_prefix": "%m [%p] %u@%d %r ", "logging_collector": "off",
    }  # fmt: skip
    words = [word for name, value in values.items() for word in ("-c", f"{name}={value}")]
    return [program("postgres", site), "-D", str(site.database / "data"), *words]


def connect(site: Site, settings: Settings, database: str, role: str = SUPERUSER) -> psycopg.Connection[Any]:
    """Log in, without transactions.

    Raises:
        psycopg.OperationalError: nobody answers, or lets us not in.
    """
    import psycopg

    return psycopg.connect(host=HOST, port=settings.postgres_port, dbname=database, user=role, autocommit=True,
                           password=site.passwords()[role], connect_timeout=_LOGIN_SECONDS)  # fmt: skip


def answers(site: Site, settings: Settings, database: str = "optuna") -> bool:
    """Tell whether the server lets the owner of a database in."""
    import psycopg

    try:
        connect(site, settings, database, DATABASES[database]).close()
    except psycopg.OperationalError:
        return False
    return True


def client(site: Site, settings: Settings, name: str, *arguments: str) -> None:
    """Run one of PostgreSQL's clients as the superuser.

    Raises:
        EngineError: it failed.
    """
    where = ["--host", HOST, "--port", str(settings.postgres_port), "--username", SUPERUSER, "--no-password"]
    said = subprocess.run([program(name, site), *where, *arguments], env=clean_environment(site), umask=0o077,
                          capture_output=True, text=True, check=False)  # fmt: skip
    if said.returncode:
        reason = (said.stderr.strip().splitlines() or [f"exit code {said.returncode}"])[0]
        raise EngineError(f"{name} failed: {reason}", f"Mend it, then try again; the logs are in {site.logs}.")


def end_postmaster(site: Site) -> None:
    """Stop a server that its supervisor has left behind; or remove the note of one that is dead.

    After a restart of the machine another process may have the number that the note names, and PostgreSQL then
    refuses to start.
    """
    note = site.database / "data" / "postmaster.pid"
    try:
        process = psutil.Process(int(note.read_text().split()[0]))
        if Path(process.cwd()) != note.parent.resolve():
            raise psutil.NoSuchProcess(process.pid)
    except (OSError, IndexError, ValueError, psutil.Error):
        note.unlink(missing_ok=True)
        return
    process.send_signal(signal.SIGINT)  # a fast shutdown: transactions in flight are rolled back
    if not ends_within(process, _STOP_SECONDS):
        raise EngineError(f"PostgreSQL (process {process.pid}) does not stop", f"See {site.logs}; end it by hand.")
