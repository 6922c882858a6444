"""How the command ends when it is told to."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from brainage_ray.cli.main import _account
from brainage_ray.errors import ConfigError

HUP, INT, TERM = signal.SIGHUP, signal.SIGINT, signal.SIGTERM
CODE = """
import signal, sys
for number in {ignored}:
    signal.signal(number, signal.SIG_IGN)
sys.argv[0] = "brainage"
from brainage_ray.cli import main
main()
"""


@pytest.mark.parametrize(("ignored", "sent", "code"), [
    ([], [INT], 130),
    ([INT], [INT], 130),  # as in a script that starts it with "&"
    ([], [TERM], 143),
    ([], [HUP], 129),
    ([HUP], [HUP, TERM], 143),  # nohup
])  # fmt: skip
def test_every_polite_signal_ends_it_cleanly(tmp_path: Path, ignored: list[int], sent: list[int], code: int):
    program = CODE.format(ignored=[int(number) for number in ignored])
    command = [sys.executable, "-c", program, "phantom", "--out", str(tmp_path / "p"), "--subjects", "500"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert "phantoms: 5" in running.stdout.readline()
        for number in sent:
            running.send_signal(number)
        _, complaints = running.communicate(timeout=60)
    assert running.returncode == code
    assert "Stopped" in complaints
    assert "Traceback" not in complaints


def test_a_terminal_that_has_gone_changes_no_exit_code(tmp_path: Path):
    command = [
        sys.executable,
        "-c",
        CODE.format(ignored=[]),
        "phantom",
        "--out",
        str(tmp_path / "p"),
        "--subjects",
        "500",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert "phantoms: 5" in running.stdout.readline()
        running.stdout.close()  # into which the command then says how far it got
        running.stderr.close()
        running.send_signal(HUP)
        assert running.wait(60) == 129


@pytest.mark.parametrize(("error", "signals", "code"), [
    (KeyboardInterrupt(), [], 130),
    (KeyboardInterrupt(), [TERM], 143),
    (OSError(errno.EIO, "Input/output error"), [HUP], 129),  # what a terminal that has gone answers
    (SystemExit(1), [HUP, TERM], 129),
    (OSError(errno.EIO, "Input/output error"), [], 1),
    (ConfigError("no such key", "Write another."), [], 2),
    (ValueError("five"), [], 1),
])  # fmt: skip
def test_the_exit_code_says_how_it_ended(error: BaseException, signals: list[int], code: int):
    text, found = _account(error, signals)
    assert found == code
    assert ("Stopped" in text) == (code > 2)
