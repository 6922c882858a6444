from __future__ import annotations

import importlib.metadata
import platform
import subprocess

import pytest

from brainage_ray.tracking.environment import commit_tags, machine_tags, package_list


@pytest.fixture
def package(tmp_path):
    def git(*arguments):
        identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
        subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True)

    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "__init__.py").touch()
    git("init")
    git("add", ".")
    git("commit", "-m", "start")
    return folder


def test_a_clean_checkout_gives_its_commit(package):
    tags = commit_tags(package)
    assert len(tags["mlflow.source.git.commit"]) == 40
    assert tags["git.dirty"] == "false"


def test_changed_files_are_told(package):
    (package / "__init__.py").write_text("changed = True")
    assert commit_tags(package)["git.dirty"] == "true"


def test_a_package_inside_a_foreign_repository_gives_no_commit(package):
    installed = package / "site-packages"
    installed.mkdir()
    (installed / "__init__.py").touch()
    assert commit_tags(installed) == {}


def test_without_git_there_is_no_commit(package, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit_tags(package) == {}


def test_the_machine_and_the_versions_are_named():
    tags = machine_tags()
    assert tags["python"] == platform.python_version()
    assert tags["version.mlflow"] == importlib.metadata.version("mlflow")
    assert tags["hostname"]


def test_all_packages_are_listed_once_and_sorted():
    lines = package_list().splitlines()
    assert f"mlflow=={importlib.metadata.version('mlflow')}" in lines
    assert lines == sorted(set(lines), key=str.lower)
