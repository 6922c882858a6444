"""A job that is followed, over connections that break, and stopped: small jobs of the shell, on a real head."""

from __future__ import annotations

import dataclasses
import getpass
import subprocess
import threading
from collections.abc import Iterator

import psutil
import pytest
from test_cluster_local import Machine, eventually, free_port

from brainage_ray.cluster import Follower, Head, Tunnel, exit_code, jobs_of, wait_for_end
from brainage_ray.errors import EngineError
from brainage_ray.execution import ClusterJobs

pytest.importorskip("aiohttp_cors", reason="needs ray[default]")
pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    # sockets of Ray's client, which nothing closes before the process ends
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:ssl=None is deprecated:DeprecationWarning"),  # Ray's client, of aiohttp
]


@pytest.fixture(scope="module")
def head(machine: Machine) -> Iterator[Head]:
    (machine.home / ".ray").mkdir(exist_ok=True)
    token = machine.laptop / ".ray" / "auth_token"
    (machine.home / ".ray" / "auth_token").write_text(token.read_text())
    head = Head("127.0.0.1", getpass.getuser(), machine.folder / "sshd" / "key", machine.ssh_port)
    head = dataclasses.replace(head, dashboard=free_port())
    start = (
        "export RAY_AUTH_MODE=token RAY_agent_register_timeout_ms=300000; ~/venv/bin/ray start --disable-usage-stats "
        f"--head --port={machine.ray_port} --node-ip-address=127.0.0.1 --temp-dir={machine.ray} --num-cpus=1 "
        f"--dashboard-host=127.0.0.1 --dashboard-port={head.dashboard} "
        f"--dashboard-agent-listen-port={free_port()} > /dev/null"
    )
    try:
        done = head.ssh(start, timeout_s=300)
        assert done.returncode == 0, done.stderr
        yield head
    finally:
        subprocess.run([str(machine.home / "venv/bin/ray"), "stop"], check=False)


@pytest.fixture
def package(tmp_path):
    path = tmp_path / "tree.zip"
    path.write_bytes(b"PK\x05\x06" + bytes(18))  # an empty one
    return path


def test_another_token_is_refused(head):
    with Tunnel(head, {head.dashboard: 0}) as tunnel, pytest.raises(EngineError, match="does not take the token"):
        ClusterJobs(tunnel.url(head.dashboard), "0" * 64)


def test_every_line_is_shown_once_over_a_connection_that_breaks(head, package):
    shown, told = [], []
    go = head.key.parent / "go"
    follower = Follower(lambda: head, "count-1", shown.append, told.append)
    with jobs_of(head) as jobs:
        command = f"for i in 1 2 3; do echo line $i; done; while [ ! -e {go} ]; do sleep 0.2; done; exit 7"
        jobs.submit("count-1", command, package, {}, {})
        (tunnel,) = [p for p in psutil.Process().children() if "ExitOnForwardFailure=yes" in p.cmdline()]

        def break_it() -> None:
            eventually(lambda: "line 3" in "".join(shown), seconds=300)
            tunnel.kill()
            eventually(lambda: "Connected again." in told, seconds=300)
            go.touch()

        breaking = threading.Thread(target=break_it)
        breaking.start()
        job = follower.follow(jobs)
        breaking.join()
    assert (job.status, exit_code(job)) == ("FAILED", 7)
    assert ["".join(shown).count(f"line {i}\n") for i in (1, 2, 3)] == [1, 1, 1]
    assert told[0].startswith("The connection is lost")


def test_a_job_that_is_stopped_may_save_and_a_second_follower_sees_its_last_lines(head, package):
    with jobs_of(head) as jobs:
        count = "for i in $(seq 30); do echo line $i; done"
        command = f"trap 'sleep 5; echo saved; exit 0' TERM; {count}; while :; do sleep 1; done"
        jobs.submit("save-1", command, package, {"RAY_JOB_STOP_WAIT_TIME_S": "60"}, {"experiment": "save"})
        eventually(lambda: "line 30" in jobs.log("save-1"), seconds=300)
        shown = []
        Follower(lambda: head, "save-1", shown.append, print).skip_to_end(jobs)
        assert "line 30" in shown[0]
        assert "line 9\n" not in shown[0]
        jobs.stop("save-1")
        job = wait_for_end(jobs, "save-1")
        assert (job.status, exit_code(job), dict(job.about)) == ("STOPPED", 143, {"experiment": "save"})
        assert "saved" in jobs.log("save-1")
        with pytest.raises(EngineError, match="no longer knows"):
            Follower(lambda: head, "gone-1", shown.append, print)._known(jobs)
