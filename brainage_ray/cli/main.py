"""Where the command starts, and where every error becomes one paragraph and an exit code."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import traceback
from typing import Any

import typer

from brainage_ray.cli.app import app
from brainage_ray.errors import BrainageError, Detached, NoSpaceError

INTERRUPTED = 130
DEBUG = "BRAINAGE_DEBUG"
"""Set in the environment by --debug: Ray then says what it does."""
WRONG_USAGE = typer.BadParameter.__mro__[2]
"""ClickException: typer carries a click of its own, and does not export this name."""


def main() -> None:
    """Run the command line.

    Exit 0 when done, 2 for what the user wrote, 1 for what failed, 3 for data that leak; 130 after Ctrl-C, 143 after
    SIGTERM and 129 after SIGHUP, which do the same. A second signal ends the command at once; what was finished is on
    the disk by then.
    """
    signals = _take_signals()
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    if debug:
        os.environ[DEBUG] = "1"
    try:
        sys.exit(_run([a for a in arguments if a != "--debug"]))
    except BaseException as error:
        if isinstance(error, SystemExit) and not signals:
            raise
        if debug and isinstance(error, Exception):
            traceback.print_exc()
        _complain(*_account(error, signals))


def _account(error: BaseException, signals: list[int]) -> tuple[str, int]:
    """Return what to say and the exit code; after a signal nothing that it made counts, such as a lost terminal."""
    if isinstance(error, Detached):
        return str(error), 128 + signals[0] if signals else error.exit_code
    if signals or isinstance(error, KeyboardInterrupt):
        code = 128 + signals[0] if signals else INTERRUPTED
        return "Stopped. What is done is kept: the same command goes on from here.", code
    if isinstance(error, OSError):
        error = _explain(error)
    if isinstance(error, BrainageError):
        return str(error), error.exit_code
    problem = " ".join(f"{type(error).__name__}: {error}".split())
    return f"Something unexpected failed: {problem[:600]}. Run it again with --debug for the details.", 1


def _take_signals() -> list[int]:
    """Make SIGTERM and SIGHUP do what Ctrl-C does; return a list of those that will have come."""
    came: list[int] = []
    stopping: list[int] = []

    def interrupt(number: int, frame: Any) -> None:
        came.append(number)
        signal.raise_signal(signal.SIGINT)  # to whoever listens to that now

    def stop(number: int, frame: Any) -> None:
        if stopping:  # what the first one began takes too long for somebody
            os.write(2, b"brainage: Stopped at once. What is done is kept: the same command goes on from here.\n")
            os._exit(128 + came[0] if came else INTERRUPTED)
        stopping.append(number)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, stop)  # also where a script that starts it with "&" has it ignored
    signal.signal(signal.SIGTERM, interrupt)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup
        signal.signal(signal.SIGHUP, interrupt)
    return came


def _run(arguments: list[str]) -> int:
    try:
        code = int(app(arguments, standalone_mode=False) or 0)
    except Exception as error:
        if not isinstance(error, WRONG_USAGE):
            raise
        error.show()  # type: ignore[attr-defined]
        return int(error.exit_code)  # type: ignore[attr-defined]
    if code == INTERRUPTED:  # what typer makes of Ctrl-C
        raise KeyboardInterrupt
    return code


def _explain(error: OSError) -> BrainageError:
    if error.errno == errno.ENOSPC:
        place = error.filename or "the workspace"
        return NoSpaceError(
            f"There is no space left on the disk, writing {place}",
            "Free some and run the same command again: what is done is kept.",
        )
    return BrainageError(
        f"{error.strerror or error}: {error.filename or ''}".rstrip(": "), "Check the path and rights."
    )


def _complain(text: str, code: int) -> None:
    with contextlib.suppress(OSError):  # after SIGHUP nobody may be there to read it
        sys.stdout.flush()
        typer.echo(typer.style("brainage: ", fg="red", bold=True) + text, err=True)
        sys.stderr.flush()
    # Threads of Ray or MLflow that outlive an error must not keep the command alive.
    os._exit(code)
