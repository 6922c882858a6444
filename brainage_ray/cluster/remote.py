"""What the head is asked over ssh: how far an experiment is, and its models."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path, PurePosixPath
from typing import IO

from brainage_ray.cluster.head import Head
from brainage_ray.cluster.submit import on_head
from brainage_ray.cluster.tree import Tree
from brainage_ray.data import atomic_write
from brainage_ray.data.checksums import SUMS
from brainage_ray.errors import BrainageError, ConfigError, EngineError
from brainage_ray.pipeline import ModelFolder, install_models, kept_files

_SAVED = "experiment.json"


def remote_status(head: Head, tree: Tree, experiment: str, workspace: PurePosixPath, columns: int) -> str:
    """Return what `brainage status` prints on the head, of the experiment as it was last started there.

    The working tree's code does it, as it would run a job; it goes there and is removed.

    Raises:
        BrainageError: what `brainage status` says, or that ssh does not get in.
    """
    saved = workspace / experiment / _SAVED
    words = ["python", "-m", "brainage_ray.cli", "status", str(saved), "--workspace", str(workspace)]
    steps = [
        f"if [ ! -e {shlex.quote(str(saved))} ]; then cat > /dev/null; exit 44; fi",
        'there=$(mktemp -d) && trap "rm -rf $there" EXIT',
        "cat > $there/tree.zip && python -m zipfile -e $there/tree.zip $there/tree && cd $there/tree",
        f"COLUMNS={columns} {shlex.join(words)}",
    ]
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder, "tree.zip")
        tree.pack(package)
        done = head.ssh(on_head(workspace, "; ".join(steps)), told=package.read_bytes(), timeout_s=600)
    if done.returncode == 44:
        raise ConfigError(f"{experiment} has not begun in {workspace} of {head}", "Start it: brainage run --cluster.")
    if done.returncode:
        raise _said_there(done.stderr, done.returncode, head)
    return done.stdout


def remote_pull(head: Head, name: str, to: Path, workspace: PurePosixPath) -> ModelFolder:
    """Bring the final models of an arm, and check them here as well.

    Args:
        head: of the cluster.
        name: EXPERIMENT/ARM, or EXPERIMENT for the arm that was chosen on validation.
        to: folder to fill, as for `pull`.
        workspace: on the head.

    Raises:
        BrainageError: what `brainage pull` says there, that ssh does not get in, or that something else came.
    """
    return install_models(to, f"{head} {name}", lambda fresh: _receive(head, _sends(name, workspace, fresh), fresh))


def _sends(name: str, workspace: PurePosixPath, fresh: Path) -> str:
    """Return the command that sends a model's files as a tar, those aside that a folder here has whole already."""
    words = ["python", "-m", "brainage_ray.cli", "pull", name, "--workspace", str(workspace), "--to"]
    have = "".join(f"{sha256}  {file}\n" for file, sha256 in kept_files(fresh).items())
    wanted = f"{{ echo {SUMS}; printf %s {shlex.quote(have)} | grep -vxF -f - {SUMS} | cut -c67-; }}"
    return on_head(
        workspace,
        'there=$(mktemp -d) && trap "rm -rf $there" EXIT; if [ -d ~/brainage ]; then cd ~/brainage; fi; '
        f"{shlex.join(words)} $there/models >&2 && cd $there/models && {wanted} | tar -cf - -T -",
    )


def _receive(head: Head, command: str, to: Path) -> None:
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(
            [*head.words("-T"), command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said
        ) as process,
    ):
        assert process.stdout is not None
        problem = _unpack(process.stdout, to)
        process.stdout.close()
        code = process.wait()
        said.seek(0)
        text = said.read().decode(errors="replace")
    if code:
        raise head.refused(text) if code == 255 else _said_there(text, code, head)
    if problem:
        raise EngineError(f"What {head} sent is no folder of models: {problem}", "Look at the models on the head.")


def _unpack(stream: IO[bytes], to: Path) -> str:
    """Write the files of a tar, which may hold nothing else, into a folder; return what is wrong with it, or ""."""
    try:
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                name = member.name.removeprefix("./")
                if member.isdir() and name in ("", "."):
                    continue
                content = archive.extractfile(member) if member.isreg() and "/" not in name else None
                if content is None or name in ("", ".", ".."):
                    return f"it has {member.name!r}"
                with atomic_write(to / name) as file:  # what breaks off is not there
                    shutil.copyfileobj(content, file, 2**20)
    except tarfile.TarError as error:
        return str(error)
    return ""


def _said_there(text: str, code: int, head: Head) -> BrainageError:
    """Return an error of a command there as one of ours, with the same exit code."""
    lines = [line for line in text.strip().splitlines() if line.strip()]
    ours = [line.removeprefix("brainage: ") for line in lines if line.startswith("brainage: ")]
    error = BrainageError(f"On {head}: {ours[-1] if ours else ' '.join(lines[-3:]) or f'exit code {code}'}")
    error.exit_code = code if ours else 1
    return error
