"""The pages of a cluster, here: MLflow's, Ray's and Optuna's."""

from __future__ import annotations

import shlex
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, build_opener

from brainage_ray.cluster.head import Head
from brainage_ray.cluster.submit import on_head
from brainage_ray.cluster.tunnel import Tunnel
from brainage_ray.errors import EngineError

START_S = 180
"""How long the servers may take to answer; MLflow's imports take their time."""
OPTUNA_PORT = 8080
_FREE = (
    "import socket; probes = [socket.create_server(('127.0.0.1', 0)) for _ in range(2)];"
    " print(*(probe.getsockname()[1] for probe in probes))"
)


@dataclass(frozen=True)
class Page:
    """A page that is open."""

    name: str
    port: int
    """On the head."""
    wanted: int
    """Here, where nobody has it."""
    login: str
    """Shell on the head that prints what the page asks for; "" where it asks for nothing."""
    command: str = ""
    """That serves it there; "" where it is served already."""


def find_pages(head: Head, workspace: PurePosixPath, mlflow_port: int) -> list[Page]:
    """Look which pages the head serves already, and which are to be served while somebody looks.

    Args:
        head: of the cluster.
        workspace: on it.
        mlflow_port: that MLflow's page gets here, if nobody has it.

    Raises:
        EngineError: ssh does not get in, or brainage does not run there.
    """
    asked = f'echo "${{MLFLOW_TRACKING_URI:-none}}"; python -c {shlex.quote(_FREE)}'
    done = head.ssh(on_head(workspace, asked))
    lines = done.stdout.split()[-3:]
    if done.returncode or len(lines) < 3:
        problem = f"Python does not run on {head}: {done.stderr.strip()}"
        raise EngineError(problem, f"Set it up: ray up {head.file}")
    uri, *free = lines
    ours = "if [ -d ~/brainage ]; then cd ~/brainage; fi; exec python -m brainage_ray.cli ui --workspace "
    serve = f"{ours}{shlex.quote(str(workspace))}"
    login = f"grep MLFLOW_TRACKING {shlex.quote(f'{workspace}/services/environment')}"
    if uri == "none":
        mlflow = Page("MLflow", int(free[0]), mlflow_port, "", on_head(workspace, f"{serve} --port {free[0]}"))
    else:
        mlflow = Page("MLflow", urlsplit(uri).port or 5000, mlflow_port, login)
    optuna = on_head(workspace, f"{serve} --optuna --port {free[1]}")
    return [
        mlflow,
        Page("Ray", head.dashboard, Head.dashboard, "cat ~/.ray/auth_token"),
        Page("Optuna", int(free[1]), OPTUNA_PORT, "", optuna),
    ]


@contextmanager
def open_pages(head: Head, pages: list[Page], here: dict[int, int]) -> Iterator[Tunnel]:
    """Carry pages here while a block runs.

    Args:
        head: of the cluster.
        pages: to carry.
        here: the port here for each port there of an earlier time, which it then has again; {}: filled.
    """
    wanted = here or {page.port: page.wanted if _is_free(page.wanted) else 0 for page in pages}
    with Tunnel(head, wanted, [page.command for page in pages if page.command]) as tunnel:
        here.update(tunnel.ports)
        yield tunnel


def answering(pages: list[Page], tunnel: Tunnel, wait_s: float = START_S) -> Iterator[tuple[Page, bool]]:
    """Yield each page when it answers, or with False when it has not in time; the tunnel's words say why."""
    end = time.monotonic() + wait_s
    for page in pages:
        there = False
        while tunnel.alive and not (there := _answers(tunnel.url(page.port))) and time.monotonic() < end:
            if page.command and "brainage: " in tunnel.said() and _ended_early(page, tunnel):
                break
            time.sleep(1)
        yield page, there


def _ended_early(page: Page, tunnel: Tunnel) -> bool:
    return page.name == "Optuna" and "no search was begun" in tunnel.said()


def _answers(url: str) -> bool:
    try:
        build_opener(ProxyHandler({})).open(url, timeout=5).close()
    except HTTPError:  # it asks for a password
        return True
    except (URLError, OSError):
        return False
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
