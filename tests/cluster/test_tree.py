"""The working tree as a package."""

from __future__ import annotations

import subprocess
import zipfile

import pytest

from brainage_ray.cluster import Tree, find_tree
from brainage_ray.cluster import tree as module
from brainage_ray.data import PACKED_COMMIT
from brainage_ray.errors import ConfigError


def git(folder, *words):
    command = ["git", "-C", folder, "-c", "user.name=me", "-c", "user.email=me@example.org", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(tmp_path):
    for name, text in (
        ("a.py", "a"),
        ("deep/b.yaml", "b"),
        (".gitignore", "/runs/\n"),
        ("runs/big", "x"),
        ("gone", ""),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "one")
    (tmp_path / "gone").unlink()
    (tmp_path / "new").write_text("not yet added")
    return tmp_path


def packed(tree: Tree, to) -> dict[str, str]:
    tree.pack(to)
    with zipfile.ZipFile(to) as package:
        return {name: package.read(name).decode() for name in package.namelist()}


def test_what_git_ignores_stays_and_what_changed_goes(repository, tmp_path_factory):
    folder = tmp_path_factory.mktemp("packages")
    tree = find_tree(repository / "deep")
    assert (tree.root, str(tree.here)) == (repository, "deep")
    files = packed(tree, folder / "one.zip")
    assert files.pop(PACKED_COMMIT) == git(repository, "rev-parse", "HEAD").strip() + "-dirty"
    assert files == {"a.py": "a", "deep/b.yaml": "b", ".gitignore": "/runs/\n", "new": "not yet added"}
    tree.pack(folder / "two.zip")
    assert (folder / "one.zip").read_bytes() == (folder / "two.zip").read_bytes()  # sent once


def test_a_folder_without_git_goes_as_it_is(tmp_path):
    for name in ("a.py", "sub/b", ".hidden", ".venv/c", "sub/__pycache__/d"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert set(packed(find_tree(tmp_path), tmp_path.parent / "p.zip")) == {"a.py", "sub/b"}


def test_a_file_is_found_from_where_the_command_was_given(repository):
    tree = find_tree(repository / "deep")
    assert tree.place(repository / "a.py").as_posix() == "../a.py"
    with pytest.raises(ConfigError, match="lies outside"):
        tree.place(repository.parent / "elsewhere.yaml")


def test_a_tree_that_is_too_large_names_what_is_large(repository, monkeypatch, tmp_path):
    (repository / "scans").mkdir()
    (repository / "scans" / "one.nii").write_bytes(b"0" * 2**21)
    monkeypatch.setattr(module, "LIMIT_BYTES", 2**20)
    with pytest.raises(ConfigError, match=r"2 MiB .* takes 1 MiB; the largest: scans 2 MiB.* \.gitignore"):
        find_tree(repository).pack(tmp_path / "p.zip")
