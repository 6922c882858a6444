"""Where the command starts, and where every error becomes one paragraph and an exit code."""

from __future__ import annotations

import errno
import os
import sys
import traceback

import typer

from brainage_ray.cli.app import app
from brainage_ray.errors import BrainageError, NoSpaceError

INTERRUPTED = 130
DEBUG = "BRAINAGE_DEBUG"
"""Set in the environment by --debug: Ray then says what it does."""
WRONG_USAGE = typer.BadParameter.__mro__[2]
"""ClickException: typer carries a click of its own, and does not export this name."""


def main() -> None:
    """Run the command line; exit 0 when done, 2 for what the user wrote, 1 for what failed, 130 after Ctrl-C."""
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    if debug:
        os.environ[DEBUG] = "1"
    try:
        sys.exit(_run([a for a in arguments if a != "--debug"]))
    except BrainageError as error:
        if debug:
            traceback.print_exc()
        _complain(str(error), error.exit_code)
    except KeyboardInterrupt:
        _complain("Stopped. What is done is kept: the same command goes on from here.", INTERRUPTED)
    except OSError as error:
        if debug:
            traceback.print_exc()
        _complain(str(_explain(error)), 1)
    except Exception as error:
        if debug:
            traceback.print_exc()
        problem = " ".join(f"{type(error).__name__}: {error}".split())
        _complain(f"Something unexpected failed: {problem[:600]}. Run it again with --debug for the details.", 1)


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
    sys.stdout.flush()
    typer.echo(typer.style("brainage: ", fg="red", bold=True) + text, err=True)
    # Threads of Ray or MLflow that outlive an error must not keep the command alive.
    sys.stderr.flush()
    os._exit(code)
