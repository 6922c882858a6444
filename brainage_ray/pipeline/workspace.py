"""A workspace at a URI: worked on in a folder of this disk, and mirrored while the work goes on."""

from __future__ import annotations

import logging
import os
import signal
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from brainage_ray.data.lease import SIGN_SECONDS, Lease
from brainage_ray.data.mirror import LOCAL, Mirror, files_below
from brainage_ray.data.mirror_index import INDEX, Index, bring, merged, read_index
from brainage_ray.data.node_files import local_root, set_driver
from brainage_ray.data.remote import RemoteFolder, is_uri
from brainage_ray.errors import BrainageError, EngineError

SEND_SECONDS = 2.0
"""Between two looks at what is new."""
LATER = ("cache/scans/",)
"""What is brought only where it is needed: a store that is there needs no prepared scans."""
_MIB = 2**20

logger = logging.getLogger(__name__)


@contextmanager
def opened_workspace(workspace: Path | str, what: str, say: Callable[[str], None]) -> Iterator[Path]:
    """Open a workspace to work in; one at a URI is brought here, and everything is up there when the block has ended.

    Args:
        workspace: a folder, or a URI, see data.remote.
        what: that is run in it.
        say: takes notes for the user.

    Yields:
        Its folder on this disk.

    Raises:
        ConfigError: the URI is wrong, or gives no access.
        DataError: an object there is damaged.
        EngineError: it cannot be reached, or another driver has it.
    """
    if isinstance(workspace, Path) or not is_uri(workspace):
        yield Path(workspace).absolute()
        return
    remote = RemoteFolder(workspace)
    remote.check()
    root = local_root(workspace)
    with _locked(root) as free:
        if not free:
            problem = f"another process of this machine works in {remote.shown} (its folder here is {root})"
            raise EngineError(problem, "Wait for it, or stop it.")
        lease = Lease(remote, root.with_name(f".{root.name}.lease"), what)
        lease.take(say)
        try:
            mirror = Mirror(root, remote, writer=uuid.uuid4().hex)
            _fill(mirror, say)
            with _sending(mirror, lease, say):
                yield root
        finally:
            with suppress(BrainageError):  # nobody hears from it any more: it counts as dead soon
                lease.release()


@contextmanager
def read_workspace(workspace: Path | str, say: Callable[[str], None] = logger.info) -> Iterator[Path]:
    """Open a workspace to look into; what is changed in the folder goes nowhere.

    Args:
        workspace: as for opened_workspace.
        say: takes notes for the user.
    """
    if isinstance(workspace, Path) or not is_uri(workspace):
        yield Path(workspace).absolute()
        return
    remote, root = RemoteFolder(workspace, patience=30.0), local_root(workspace)
    with _locked(root) as free:
        if free:  # else somebody works in the folder: nothing is newer
            mirror = Mirror(root, remote)
            index, writer = read_index(remote, INDEX)
            if not index:
                raise EngineError(f"{remote.shown} holds no workspace", "Run an experiment in it first.")
            if not _is_ours(root, writer):
                _replace(mirror, index, say)
        yield root


def _fill(mirror: Mirror, say: Callable[[str], None]) -> None:
    """Make the folder like the place, unless it is the one from which the place was filled."""
    index, writer = read_index(mirror.remote, INDEX)
    if _is_ours(mirror.root, writer):
        mirror.entries = index
        mirror.left = {name for name in _later(index) if not (mirror.root / name).is_file()}
        mirror.adopt()
    else:
        for unit, entries in mirror.new_units().items():
            index = merged(index, unit, entries)
        _replace(mirror, index, say)
    (mirror.root / LOCAL).write_text(mirror.writer)


def _is_ours(root: Path, writer: str) -> bool:
    mark = root / LOCAL
    return bool(writer) and mark.is_file() and mark.read_text() == writer


def _replace(mirror: Mirror, index: Index, say: Callable[[str], None]) -> None:
    root, came = mirror.root, list[int]()
    (root / LOCAL).unlink(missing_ok=True)
    for name, path in list(files_below(root)):
        if name not in index:
            path.unlink(missing_ok=True)
    later = {name for name in _later(index) if not index[name].is_file(root / name)}
    bring(mirror.remote, root, {name: index[name] for name in index if name not in later}, came.append)
    if came:
        say(f"Brought {len(came)} files, {sum(came) / _MIB:.1f} MiB, from {mirror.remote.shown} to {root}")
    mirror.entries, mirror.left = index, later


def _later(index: Index) -> set[str]:
    return {name for name in index if name.startswith(LATER)}


@contextmanager
def _locked(root: Path) -> Iterator[bool]:
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = FileLock(root.with_name(f".{root.name}.lock"), timeout=0)
        lock.acquire()
    except Timeout:
        yield False
        return
    except OSError as error:
        problem = f"the cache folder {root} cannot be written: {error.strerror}"
        raise EngineError(problem, "Name another with BRAINAGE_CACHE.") from None
    try:
        yield True
    finally:
        lock.release()


@contextmanager
def _sending(mirror: Mirror, lease: Lease, say: Callable[[str], None]) -> Iterator[None]:
    """Send what changes while the block runs, and the rest when it has ended."""
    over, problems = threading.Event(), list[BrainageError]()
    threads = [
        threading.Thread(target=_send, args=(mirror, over, say), name="brainage-send", daemon=True),
        threading.Thread(target=_keep, args=(lease, over, problems), name="brainage-lease", daemon=True),
    ]
    for thread in threads:
        thread.start()
    set_driver(mirror)
    try:
        yield
    except KeyboardInterrupt:
        if problems:
            raise problems[0] from None
        raise
    finally:
        over.set()
        threads[0].join()
        set_driver(None)
        if not problems:
            _send_last(mirror)


def _send(mirror: Mirror, over: threading.Event, say: Callable[[str], None]) -> None:
    warned = False
    while not over.wait(SEND_SECONDS):
        try:
            mirror.send()
            warned = False
        except BrainageError as error:
            if not warned:
                say(f"Not sent yet, and tried again: {error.problem}")
            warned = True


def _keep(lease: Lease, over: threading.Event, problems: list[BrainageError]) -> None:
    while not over.wait(SIGN_SECONDS):
        try:
            taken = lease.renew()
        except BrainageError:
            continue  # what cannot be sent is said by the sender
        if taken:
            problems.append(taken)
            os.kill(os.getpid(), signal.SIGINT)  # the main thread stops as after Ctrl-C
            return


def _send_last(mirror: Mirror) -> None:
    try:
        for _ in range(3):  # what others still wrote meanwhile, a listener's last line say
            if not mirror.send():
                return
    except BrainageError as error:
        raise type(error)(
            f"not everything could be sent: {error.problem}",
            f"{error.fix} What was made lies in {mirror.root}, and the same command sends the rest.",
        ) from None
