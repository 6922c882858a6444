from __future__ import annotations

import shutil
import subprocess

import pytest

from brainage_ray.data.checksums import MOST_BYTES, SUMS, is_whole, read_sums, whole_files, write_sums
from brainage_ray.errors import UnsafeFileError, WeightsError


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "below").mkdir()
    for name in ("model.json", "seed-0.safetensors", ".hidden", "below/other"):
        (tmp_path / name).write_text(name)
    write_sums(tmp_path)
    return tmp_path


def test_all_files_of_a_folder_are_named_and_read_back(folder):
    sums = read_sums(folder)
    assert sorted(sums) == ["model.json", "seed-0.safetensors"]
    assert whole_files(folder, sums) == set(sums)
    (folder / "model.json").write_text("other")
    assert whole_files(folder, sums) == {"seed-0.safetensors"}
    assert not is_whole(folder, "missing", "0" * 64)


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs sha256sum")
def test_sha256sum_takes_the_file(folder):
    command = ["sha256sum", "-c", "--strict", SUMS]
    assert subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode == 0
    (folder / "model.json").write_text("other")
    assert subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode == 1


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "below/other"])
def test_a_name_is_no_path(folder, name):
    (folder / SUMS).write_text(f"{'0' * 64}  {name}\n")
    with pytest.raises(UnsafeFileError, match="names a file elsewhere"):
        read_sums(folder)


@pytest.mark.parametrize("line", ["nonsense", f"{'0' * 63}  a", f"{'0' * 64}  .hidden", f"{'0' * 64}  a\n" * 2])
def test_other_lines_are_refused(folder, line):
    (folder / SUMS).write_text(line)
    with pytest.raises(WeightsError, match="no checksum"):
        read_sums(folder)


def test_links_and_endless_lists_are_refused(folder, tmp_path_factory):
    (folder / SUMS).write_text("a" * (MOST_BYTES + 1))
    with pytest.raises(UnsafeFileError, match="no list of checksums"):
        read_sums(folder)
    (folder / SUMS).unlink()
    with pytest.raises(WeightsError, match="There is no"):
        read_sums(folder)
    outside = tmp_path_factory.mktemp("outside") / "file"
    outside.write_text("secret")
    (folder / "link").symlink_to(outside)
    with pytest.raises(UnsafeFileError, match="not in that folder"):
        is_whole(folder, "link", "0" * 64)
