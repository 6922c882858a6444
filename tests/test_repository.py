"""Rules of the repository that no other tool keeps."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def tracked(*patterns: str) -> list[Path]:
    try:
        listed = subprocess.run(["git", "ls-files", *patterns], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs a git checkout")
    return [ROOT / name for name in listed.stdout.split("\n") if name and (ROOT / name).is_file()]


def test_every_dependency_is_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(d for extra in project["optional-dependencies"].values() for d in extra)]
    names = {re.match(r"[A-Za-z0-9_.-]+", text).group().lower().replace("_", "-") for text in wanted}
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in lines if "==" in line}
    assert not names - pinned - {project["name"]}


def test_every_heavy_dependency_says_which_module_needs_it():
    lines = (ROOT / "pyproject.toml").read_text().split("dependencies = [")[1].split("]\n\n")[0].splitlines()
    bare = [line for line in lines if '"' in line and "#" not in line and '"numpy"' not in line]
    assert not bare


def test_links_in_the_documents_lead_somewhere():
    for document in tracked("*.md"):
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
            assert "://" in target or (document.parent / target).exists(), f"{document.name}: {target}"


def test_the_readme_names_every_verb():
    from brainage_ray.cli.app import app

    text = (ROOT / "README.md").read_text()
    for command in app.registered_commands:
        name = command.name or command.callback.__name__
        assert f"`{name}`" in text or f"brainage {name}" in text, name


def test_every_file_is_text_or_a_picture_in_docs():
    for path in tracked():
        if path.suffix != ".png":
            path.read_text(encoding="utf-8")
        else:
            assert path.is_relative_to(ROOT / "docs")
