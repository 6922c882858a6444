"""Where a run's numbers come from: commit, machine, versions."""

from __future__ import annotations

import importlib.metadata
import platform
import socket
import subprocess
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent
_VERSIONS = ("brainage-ray", "torch", "monai", "numpy", "ray", "optuna", "mlflow")


def commit_tags(package: Path = _PACKAGE) -> dict[str, str]:
    """Return the commit of the code that runs, and whether files were changed since.

    Args:
        package: folder of the code.

    Returns:
        `mlflow.source.git.commit` (MLflow's own name, shown by its pages) and `git.dirty`; nothing where
        the code does not run from a git checkout.
    """
    # The package may lie in an environment inside somebody's repository, whose commit says nothing about it.
    if _git(package, "ls-files", "__init__.py") != "__init__.py":
        return {}
    commit, changes = _git(package, "rev-parse", "HEAD"), _git(package, "status", "--porcelain")
    return {"mlflow.source.git.commit": commit, "git.dirty": str(bool(changes)).lower()} if commit else {}


def machine_tags() -> dict[str, str]:
    """Return host name, Python and the versions of the packages that shape the numbers."""
    versions = {f"version.{name}": version for name in _VERSIONS if (version := _version(name))}
    return {"hostname": socket.gethostname(), "python": platform.python_version(), **versions}


def package_list() -> str:
    """Return all installed packages, one `name==version` a line, sorted."""
    found = {f"{d.metadata['Name']}=={d.version}" for d in importlib.metadata.distributions()}
    return "\n".join(sorted(found, key=str.lower)) + "\n"


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""
