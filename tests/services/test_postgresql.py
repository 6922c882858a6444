"""The note of a server that died, as the next start finds it."""

from __future__ import annotations

from pathlib import Path

import pytest

from brainage_ray.services.postgresql import end_postmaster, program
from brainage_ray.services.site import Site


@pytest.mark.parametrize("text", ["1\n", "4194303\n", "", "no number\n"])
def test_a_note_that_names_no_server_of_these_files_is_removed(tmp_path: Path, text: str):
    note = tmp_path / "postgresql" / "data" / "postmaster.pid"
    note.parent.mkdir(parents=True)
    note.write_text(text)  # process 1 lives, and is another one
    end_postmaster(Site(tmp_path))
    assert not note.exists()
    end_postmaster(Site(tmp_path))


def test_files_are_read_by_the_version_that_made_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("brainage_ray.services.postgresql._DEBIAN", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    for version in ("9.6", "15", "17"):
        for name in ("initdb", "postgres"):
            (tmp_path / version / "bin").mkdir(parents=True, exist_ok=True)
            (tmp_path / version / "bin" / name).touch()
    site = Site(tmp_path / "runs")
    assert program("postgres", site) == str(tmp_path / "17" / "bin" / "postgres")
    (site.database / "data").mkdir(parents=True)
    (site.database / "data" / "PG_VERSION").write_text("15\n")
    assert program("postgres", site) == str(tmp_path / "15" / "bin" / "postgres")
