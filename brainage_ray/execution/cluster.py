"""The Ray cluster of one command: started or joined at the first need, left as it was found."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from filelock import FileLock, Timeout

import brainage_ray
from brainage_ray.errors import EngineError
from brainage_ray.execution.growth import Autoscaler, find_autoscaler, places_of

PACKAGE = Path(brainage_ray.__file__).parent
SETTINGS = {
    "RAY_AIR_NEW_OUTPUT": "0",  # with the new one, verbose=0 still prints tables
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_TRAIN_ENABLE_CONTROLLER_STRUCTURED_LOGGING": "0",
    "RAY_TRAIN_ENABLE_WORKER_STRUCTURED_LOGGING": "0",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "300",  # importing torch from a network disk takes its time
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is a KeyboardInterrupt here as everywhere
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a trial that failed reports no metric
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",  # the study is the truth; nobody reads Tune's own account of it
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
}
HERE_ONLY = {
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # nobody reclaims this machine; one process less
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # also how late Ray Train sees that the workers are done
}
_SOCKET_ROOM = 24  # characters for the temporary folder: a Unix socket's path ends at 107
_PREFIX, _MARK = "brainage-", "alive"
_TOKEN = "Copy ~/.ray/auth_token from its head, set RAY_AUTH_MODE=token, and install the same version of Ray."


@dataclass(frozen=True)
class ClusterResources:
    """What the nodes of a cluster hold together."""

    cpus: float
    gpus: float
    nodes: int
    memory: float = 0
    """Bytes that tasks may hold on the node that has most of it."""

    def __str__(self) -> str:
        """Say it in words."""
        nodes = f" on {self.nodes} nodes" if self.nodes > 1 else ""
        return f"{self.cpus:g} CPUs and {self.gpus:g} GPUs{nodes}"


class Cluster:
    """A Ray cluster that nobody starts before it is needed.

    Args:
        address: of a running cluster (``auto`` or ``host:port``); None starts one on this machine
            that ends with the context.
        cpus: CPUs of the cluster on this machine; None: all.
        gpus: GPUs of the cluster on this machine; None: all.
        folder: for Ray's sockets and logs, a short path; None: a temporary folder that goes at the end.
        debug: show what the workers print and what Ray logs.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        cpus: int | None = None,
        gpus: int | None = None,
        folder: Path | None = None,
        debug: bool = False,
    ) -> None:
        self.address = address
        self._cpus, self._gpus, self._folder, self._debug = cpus, gpus, folder, debug
        self._temporary: Path | None = None
        self._connected = False
        self._ours = False
        self._autoscaler: Autoscaler | None = None
        self._checks: list[Callable[[], None]] = []

    def __enter__(self) -> Self:
        """Start nothing."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the cluster, and end it where it is ours."""
        self.close()

    def connect(self) -> None:
        """Start or join the cluster, the first time.

        Raises:
            EngineError: there is no cluster at the address, or Ray does not start; and what `when_connected` raises.
        """
        if self._connected:
            return
        found = None if self.address is None else _find(self.address)
        import ray  # seconds: only where there is work

        if not ray.is_initialized():
            for name, value in (SETTINGS if found else SETTINGS | HERE_ONLY).items():
                os.environ.setdefault(name, value)
            self._ours = True
            self._attach(found) if found else self._start()
        self._autoscaler = find_autoscaler() if found else None
        if not self._debug:
            logging.getLogger("ray").setLevel(logging.CRITICAL)
        self._connected = True
        for check in self._checks:
            check()

    def when_connected(self, check: Callable[[], None]) -> None:
        """Do something as soon as there is a cluster, before any work: at once where there is one already."""
        self._checks.append(check)
        if self._connected:
            check()

    def close(self) -> None:
        """Leave the cluster, and end it where it is ours; a second call does nothing."""
        self.release()
        if self._ours:
            import ray

            ray.shutdown()
        if self._temporary is not None:
            _remove(self._temporary)
            self._mark.release()
        self._temporary, self._connected, self._ours = None, False, False
        self._autoscaler = None

    def resources(self) -> ClusterResources:
        """Count the CPUs, GPUs and nodes that are alive."""
        nodes = self._nodes()
        return ClusterResources(
            cpus=sum(node.get("CPU", 0.0) for node in nodes),
            gpus=sum(node.get("GPU", 0.0) for node in nodes),
            nodes=len(nodes),
            memory=max((node.get("memory", 0.0) for node in nodes), default=0),
        )

    def places(self, cpus: float, gpus: float, wanted: int = 1, memory: float = 0) -> int:
        """Count how many units of work that hold so many CPUs, GPUs and bytes of memory each fit at once.

        Where the cluster starts machines on demand, it is asked for as many places as are wanted, and waited for.
        """
        self.connect()

        def count() -> int:
            return sum(places_of(node, cpus, gpus, memory) for node in self._nodes())

        return count() if self._autoscaler is None else self._autoscaler.grow(cpus, gpus, wanted, count, memory)

    def most_places(self, cpus: float, gpus: float, memory: float = 0) -> int:
        """Count as `places`, with all machines that the cluster may still start; asks for none of them."""
        now = sum(places_of(node, cpus, gpus, memory) for node in self._nodes())
        return now if self._autoscaler is None else max(now, self._autoscaler.most_places(cpus, gpus, memory))

    def nodes_at_most(self) -> list[dict[str, float]]:
        """Return what each node has, and each machine that the cluster may still start."""
        nodes = self._nodes()
        return nodes if self._autoscaler is None else max(nodes, self._autoscaler.machines(), key=len)

    def release(self) -> None:
        """Ask for no more machines than the running work needs: those without work then go."""
        if self._autoscaler is not None:
            self._autoscaler.release()

    def _nodes(self) -> list[dict[str, float]]:
        self.connect()
        import ray

        return [node["Resources"] for node in ray.nodes() if node["Alive"]]

    def _start(self) -> None:
        if self._folder is None:
            self._temporary, self._mark = _temporary_folder()
        options: dict[str, Any] = {
            "address": "local",  # without it, whatever cluster this machine was last told of
            "num_cpus": self._cpus,
            "num_gpus": self._gpus,
            "include_dashboard": False,
            "_temp_dir": str(self._folder or self._temporary),
        }
        with _environment(PYTHONPATH=_python_path(), **_mirror_variables()):
            self._init(options, "Ray does not start on this machine", "See its logs with --debug.")

    def _attach(self, address: str) -> None:
        packed = {"py_modules": [str(PACKAGE)], "env_vars": _mirror_variables()}
        problem = f"the Ray cluster at {address}, which listens, does not let us in"
        self._init({"address": address, "runtime_env": packed}, problem, _TOKEN)

    def _init(self, options: dict[str, Any], problem: str, fix: str) -> None:
        import ray

        level = logging.INFO if self._debug else logging.CRITICAL
        try:
            with _keeping_sigterm():
                ray.init(**options, logging_level=level, log_to_driver=self._debug)
        except Exception as error:  # what Ray says of a machine that is too busy is no kind of its own
            self.close()
            raise EngineError(f"{problem}: {str(error).strip().splitlines()[0]}", fix) from error


def _remove(folder: Path) -> None:
    """Remove a cluster's folder, its mark last: by that another process finds what a killed one did not get to."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if path.name != _MARK:
                shutil.rmtree(path, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


def _temporary_folder() -> tuple[Path, FileLock]:
    """Make a folder with a short path, and remove those whose process was killed; theirs is a lock that is free."""
    base = Path("/tmp") if len(tempfile.gettempdir()) > _SOCKET_ROOM else Path(tempfile.gettempdir())
    for left in base.glob(f"{_PREFIX}*/{_MARK}"):
        with contextlib.suppress(OSError, Timeout), FileLock(left, timeout=0):
            _remove(left.parent)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
    mark = FileLock(folder / _MARK)
    mark.acquire()
    return folder, mark


def _mirror_variables() -> dict[str, str]:
    from brainage_ray.data.node_files import worker_environment  # pandas with it: a refusal does not wait for it

    return worker_environment()


def _python_path() -> str:
    """Let the workers import the same package as this process, installed or not."""
    return os.pathsep.join(filter(None, [str(PACKAGE.parent), os.environ.get("PYTHONPATH")]))


def _find(address: str) -> str:
    """Return host:port of a cluster that listens."""
    if address.startswith("ray://"):
        raise EngineError(
            f"{address} is a Ray Client address, through which no study can run",
            "Run brainage on a node of the cluster (ray exec) with the address auto.",
        )
    found = _current_cluster() if address == "auto" else address
    if not _listens(found):
        shown = address if found == address else f"{address} ({found or 'none was started here'})"
        raise EngineError(*_no_cluster(shown))
    return found


def _no_cluster(address: str) -> tuple[str, str]:
    return f"no Ray cluster answers at {address}", "Start one (ray up cluster.yaml), or give no address."


def _current_cluster() -> str:
    """Return what RAY_ADDRESS says, else the cluster that `ray start` noted on this machine, else "".

    Ray's own "auto" would go on and join any Ray process that it sees, be it somebody else's.
    """
    noted = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir(), "ray", "ray_current_cluster")
    return os.environ.get("RAY_ADDRESS") or (noted.read_text().strip() if noted.is_file() else "")


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with contextlib.suppress(OSError, ValueError):
        socket.create_connection((host, int(port)), timeout=3).close()
        return True
    return False


@contextlib.contextmanager
def _keeping_sigterm() -> Iterator[None]:
    """Leave this process what it does on SIGTERM, where it has its own: Ray would put its handler there."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if callable(before) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
