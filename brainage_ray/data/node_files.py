"""The files of a workspace at a URI on each node: what a worker needs is brought there once, what it makes goes up.

The driver's paths are what a worker is told; on another node the same files lie below that node's own cache. Where the
workspace is a folder that all nodes see, or the worker is on the driver's node, nothing here does anything.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from filelock import FileLock

from brainage_ray.config.base import digest
from brainage_ray.config.run import TrainingRun
from brainage_ray.data.files import atomic_folder, sha256_of
from brainage_ray.data.mirror import LOCAL, Mirror, files_below
from brainage_ray.data.mirror_index import INDEX, Entry, Index, bring, read_index, unit_name, write_index
from brainage_ray.data.remote import RemoteFolder
from brainage_ray.data.safety import inside
from brainage_ray.data.store import STORE_FILE
from brainage_ray.errors import StoreError

CACHE = "BRAINAGE_CACHE"
"""Names the folder for caches on a node; default: ~/.cache/brainage."""
TOLD = "BRAINAGE_MIRROR"
"""In a worker's environment: the workspace's URI, the driver's folder and its mark."""

_driver: Mirror | None = None


def local_root(uri: str) -> Path:
    """Return the folder on this node for the workspace at a URI."""
    remote = RemoteFolder(uri)
    base = Path(os.environ.get(CACHE) or Path.home() / ".cache" / "brainage")
    name = remote.shown.rstrip("/").rpartition("/")[2]
    return base.absolute() / "workspaces" / f"{name}-{digest(remote.shown, remote.endpoint)}"


def set_driver(mirror: Mirror | None) -> None:
    """Make a mirror that of this process, which drives; None: there is none any more."""
    global _driver
    _driver = mirror


def driver_uri() -> str | None:
    """Return the URI of the workspace that this process drives; None where it is a folder."""
    return None if _driver is None else _driver.remote.uri


def worker_environment() -> dict[str, str]:
    """Return what the workers' environment must say."""
    if _driver is None:
        return {}
    told = {"uri": _driver.remote.uri, "root": str(_driver.root), "mark": _driver.writer}
    passed = ("AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION")  # no keys: Ray shows what it passes on
    return {TOLD: json.dumps(told)} | {name: os.environ[name] for name in passed if name in os.environ}


def send_now() -> None:
    """Send what the driver has made, before workers on other nodes need it."""
    if _driver is not None:
        _driver.send()


def adopt(folder: Path) -> None:
    """Bring what workers on other nodes have made below a folder to the driver."""
    if _driver is not None and folder.is_relative_to(_driver.root):
        _driver.adopt(folder.relative_to(_driver.root).as_posix())


def bring_rest(folder: Path) -> None:
    """Bring to the driver what was left at the URI below a folder."""
    if _driver is not None:
        _driver.bring_rest(folder.relative_to(_driver.root).as_posix())


@dataclass
class _Node:
    """A node other than the driver's."""

    remote: RemoteFolder
    theirs: Path
    root: Path
    mirrors: dict[str, Mirror] = field(default_factory=dict)
    """Of the folders in which this process trains."""

    def name(self, path: Path) -> str | None:
        """Return a file's name at the URI; None where it is no file of the workspace."""
        return path.relative_to(self.theirs).as_posix() if path.is_relative_to(self.theirs) else None

    def here(self, path: Path) -> Path:
        """Return where a file of the driver's lies on this node."""
        name = self.name(path)
        return path if name is None else self.root / name


def here(path: Path) -> Path:
    """Return where a file of the driver's lies on this node."""
    node = _node()
    return path if node is None else node.here(path)


def run_here(run: TrainingRun) -> TrainingRun:
    """Return a run with this node's paths; nothing is brought."""
    node = _node()
    if node is None:
        return run
    initial = run.initial and run.initial.model_copy(update={"path": node.here(run.initial.path)})
    parent = run.parent and node.here(run.parent)
    places = {"store": node.here(run.store), "folder": node.here(run.folder), "initial": initial, "parent": parent}
    return run.model_copy(update=places)


def bring_run(run: TrainingRun) -> TrainingRun:
    """Bring what a run needs to this node, and return the run with this node's paths.

    The store comes once for all processes of the node, and nothing but the store that the run names: no test split.

    Raises:
        StoreError: the store is not the one that the run was made for.
        DataError: an object is gone or damaged.
    """
    node = _node()
    if node is None:
        return run
    mine = run_here(run)
    if name := node.name(run.store):
        _bring_store(node, name, run.store_hash)
    if run.initial and (name := node.name(run.initial.path)):
        _bring_one(node, name, run.initial.sha256)
    if run.parent and node.name(run.parent):
        _bring_folder(node, run.parent.parent)
    if name := node.name(run.folder):
        node.mirrors[name] = _bring_folder(node, run.folder)
    return mine


def send_run(run: TrainingRun, done: bool = False) -> None:
    """Send what a run has made so far.

    Args:
        run: as the driver gave it.
        done: nothing more comes; its files here are removed.
    """
    node = _node()
    name = node.name(run.folder) if node else None
    if node is None or name is None or name not in node.mirrors:
        return
    node.mirrors[name].send()
    if done:
        del node.mirrors[name]
        shutil.rmtree(node.root / name, ignore_errors=True)


def bring_files(paths: Sequence[Path]) -> list[Path]:
    """Bring files of the workspace to this node, and return where all of them lie here."""
    node = _node()
    if node is None:
        return list(paths)
    names = [name for path in paths if (name := node.name(path))]
    if names:
        entries, _ = read_index(node.remote, INDEX)
        with FileLock(_lock_of(node.root / "files")):
            bring(node.remote, node.root, {name: entries[name] for name in names if name in entries})
    return [node.here(path) for path in paths]


def send_files(folder: Path, paths: Sequence[Path]) -> list[Path]:
    """Send files that were made on this node, as one unit.

    Args:
        folder: the unit's, as the driver names it; see adopt.
        paths: here.

    Returns:
        Where the driver will have them.
    """
    node = _node()
    name = node.name(folder) if node else None
    if node is None or name is None:
        return list(paths)
    entries: Index = {}
    for path in paths:
        stat, file = path.stat(), path.relative_to(node.root).as_posix()
        entries[file] = Entry((sha256_of(path),), stat.st_size, stat.st_mtime_ns)
        node.remote.put(path, file)
    write_index(node.remote, unit_name(name), entries, "")
    return [node.theirs / path.relative_to(node.root) for path in paths]


def _node() -> _Node | None:
    told = os.environ.get(TOLD)
    return _find_node(told) if told else None


@cache
def _find_node(told: str) -> _Node | None:
    about = json.loads(told)
    root, mark = local_root(about["uri"]), Path(about["root"]) / LOCAL
    if root == Path(about["root"]) and mark.is_file() and mark.read_text() == about["mark"]:
        return None  # the driver's own disk
    return _Node(RemoteFolder(about["uri"]), Path(about["root"]), root)


def _bring_store(node: _Node, name: str, content_hash: str) -> None:
    folder = node.root / name
    if (folder / STORE_FILE).is_file():
        return
    with FileLock(_lock_of(folder)):
        if (folder / STORE_FILE).is_file():  # another process has brought it meanwhile
            return
        what = f"{node.remote.shown}/{name}/{STORE_FILE}"
        about = node.remote.read(f"{name}/{STORE_FILE}")
        if about is None:
            raise StoreError(f"{what} is gone", "Put it back, or prepare the data again in another workspace.")
        try:
            found, files = json.loads(about)["content_hash"], json.loads(about)["files"]
            sums = {str(file): str(record["sha256"]) for file, record in files.items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            raise StoreError(f"{what} is damaged", "Remove the store's folder there, and run again.") from None
        if found != content_hash:
            problem = f"{what} is of the content {found}, but the run was made for {content_hash}"
            raise StoreError(problem, "Use the store that it was made for, or start anew.")
        with atomic_folder(folder) as partial:
            for file, sha256 in sums.items():
                node.remote.fetch(f"{name}/{file}", inside(partial, file), sha256)
            (partial / STORE_FILE).write_bytes(about)


def _bring_one(node: _Node, name: str, sha256: str) -> None:
    path = node.root / name
    with FileLock(_lock_of(path)):
        if not path.is_file() or sha256_of(path) != sha256:
            node.remote.fetch(name, path, sha256)


def _bring_folder(node: _Node, folder: Path) -> Mirror:
    """Make a folder here like that at the URI, and return what sends its changes."""
    name = str(node.name(folder))
    entries, _ = read_index(node.remote, unit_name(name))
    if not entries:
        known, _ = read_index(node.remote, INDEX)
        entries = {file: entry for file, entry in known.items() if file.startswith(f"{name}/")}
    mirror = Mirror(node.root, node.remote, unit_name(name), name)
    with FileLock(_lock_of(node.root / name)):
        for file, path in list(files_below(node.root, name)):
            if file not in entries:
                path.unlink(missing_ok=True)
        bring(node.remote, node.root, entries)
    mirror.entries = dict(entries)
    return mirror


def _lock_of(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f".{path.name}.lock")
