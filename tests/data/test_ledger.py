from __future__ import annotations

import json
import re
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import brainage_ray
from brainage_ray.data import ledger as module
from brainage_ray.data.ledger import COLUMNS, Ledger, TestLedger, code_version, read_ledger
from brainage_ray.data.scan import Rejected, Scan
from brainage_ray.errors import DataError, MetadataError
from brainage_ray.report.record_tables import openings_table


def scan(image, subject="S1", cohort="C"):
    return Scan(cohort, subject, "1", image, {"t1": Path(image)})


def filled():
    scans = [scan("I3"), scan("I1"), scan("I2", subject="S2")]
    ledger = Ledger(scans)
    ledger.record(scans[0], "done")
    ledger.record(scans[1], "failed", "the file is empty, all of it")
    ledger.record(scans[2], "excluded", "diagnosis SMC is null in label_map")
    return ledger


def test_one_row_a_scan_sorted_by_image():
    table = filled().table()
    assert tuple(table.columns) == COLUMNS
    assert table["image"].tolist() == ["I1", "I2", "I3"]
    assert table["status"].tolist() == ["failed", "excluded", "done"]
    assert table["subject"].tolist() == ["S1", "S2", "S1"]


@given(st.lists(st.sampled_from(["done", "failed", "excluded"]), max_size=30))
def test_the_sums_agree(statuses):
    scans = [scan(f"I{i}") for i in range(len(statuses))]
    ledger = Ledger(scans)
    for one, status in zip(scans, statuses, strict=True):
        ledger.record(one, status, "" if status == "done" else "because")
    counts = ledger.counts()
    assert counts["inputs"] == counts["done"] + counts["failed"] + counts["excluded"] == len(ledger.table())


def test_a_scan_without_a_status_is_named():
    ledger = Ledger([scan("I1"), scan("I2")])
    ledger.record(scan("I1"), "done")
    assert ledger.counts() == {"inputs": 2, "done": 1, "failed": 0, "excluded": 0}
    with pytest.raises(DataError, match="1 scans have no status in the ledger, the first is C I2"):
        ledger.table()


def test_what_no_scan_could_be_made_of_counts_too():
    rejected = [Rejected("C", "S", "", image, f"of {image}") for image in ("I5", "I4")]
    ledger = Ledger([scan("I1")], rejected[:1], rejected[1:])
    ledger.record(scan("I1"), "done")
    assert ledger.counts() == {"inputs": 3, "done": 1, "failed": 1, "excluded": 1}
    rows = ledger.table()[["image", "status", "reason"]].to_numpy().tolist()
    assert rows == [["I1", "done", ""], ["I4", "excluded", "of I4"], ["I5", "failed", "of I5"]]


def test_what_does_not_add_up_is_refused():
    ledger = Ledger([scan("I1")])
    with pytest.raises(DataError, match="C I9 is not among the inputs"):
        ledger.record(scan("I9"), "done")
    with pytest.raises(DataError, match="failed without a reason"):
        ledger.record(scan("I1"), "failed")
    ledger.record(scan("I1"), "done")
    with pytest.raises(DataError, match="in the ledger already, as done"):
        ledger.record(scan("I1"), "excluded", "twice")


def test_an_image_id_is_unique_in_its_cohort():
    Ledger([scan("I1", cohort="A"), scan("I1", cohort="B")])
    with pytest.raises(MetadataError, match="A has the image I1 twice: S1 and S2"):
        Ledger([scan("I1", cohort="A"), scan("I1", subject="S2", cohort="A")])


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_it_comes_back_from_a_file(tmp_path, suffix):
    path = tmp_path / f"ledger.{suffix}"
    filled().write(path)
    assert read_ledger(path).to_dict("records") == filled().table().to_dict("records")


def test_another_table_is_no_ledger(tmp_path):
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="is not a ledger"):
        read_ledger(tmp_path / "a.csv")


def test_each_opening_of_the_test_split_is_a_line(tmp_path):
    ledger = TestLedger(tmp_path / "deep" / "test_ledger.jsonl")
    assert ledger.entries() == []
    first = ledger.record("model-a", "0123456789abcdef")
    ledger.record("model-b", "0123456789abcdef")
    lines = ledger.path.read_text().splitlines()
    assert [json.loads(line)["model"] for line in lines] == ["model-a", "model-b"]
    assert ledger.entries()[0] == first
    assert set(first) == {"time", "user", "host", "model", "commit", "store"}
    assert all(first.values())
    assert abs(datetime.fromisoformat(first["time"]) - datetime.now(UTC)) < timedelta(minutes=1)


def test_a_machine_that_does_not_know_its_user_has_a_number(tmp_path, monkeypatch):
    def unknown():
        raise KeyError("uid")

    monkeypatch.setattr(module.getpass, "getuser", unknown)
    assert TestLedger(tmp_path / "a.jsonl").record("m", "s")["user"].isdigit()


def test_the_commit_is_this_packages():
    root = Path(brainage_ray.__file__).resolve().parent.parent
    found = code_version()
    if (root / ".git").exists():
        head = subprocess.run(["git", "-C", root, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
        assert re.sub("-dirty$", "", found) == head.stdout.strip()
    else:
        assert found == brainage_ray.__version__


def test_without_git_it_is_the_version(monkeypatch):
    def absent(*_, **__):
        raise FileNotFoundError("git")

    monkeypatch.setattr(module.subprocess, "run", absent)
    assert code_version() == brainage_ray.__version__


def test_installed_inside_somebody_elses_repository_it_is_the_version(monkeypatch):
    monkeypatch.setattr(module, "_git", lambda folder, *_: str(folder.parent.parent))
    assert code_version() == brainage_ray.__version__


HALF = '{"time": "2024-01-01T00:00:00+00:00", "user": "ann", "mod'


@pytest.mark.parametrize("line", [HALF, "\0" * 20, "[1]", '"text"', "3", "\udcff"])
def test_a_broken_line_stays_on_the_record(tmp_path, line):
    """A full disk or a kill cuts a line; what was opened before and after it must still be told."""
    ledger = TestLedger(tmp_path / "test_ledger.jsonl")
    first = ledger.record("model-a", "0123456789abcdef")
    with ledger.path.open("a", encoding="utf-8", errors="surrogateescape") as file:
        file.write(line)
    last = ledger.record("model-b", "0123456789abcdef")
    entries = ledger.entries()
    assert [entries[0], entries[2]] == [first, last]
    assert entries[1] == {**dict.fromkeys(first, "?"), "model": "unreadable line"}
    assert list(entries[1]) == list(first)


def test_a_half_line_at_the_end_is_an_opening_too(tmp_path):
    path = tmp_path / "test_ledger.jsonl"
    path.write_text(HALF)
    assert [entry["model"] for entry in TestLedger(path).entries()] == ["unreadable line"]


def test_a_broken_line_can_be_shown_in_the_report(tmp_path):
    path = tmp_path / "test_ledger.jsonl"
    path.write_text(HALF)
    TestLedger(path).record("model-a", "0123456789abcdef")
    table = openings_table(SimpleNamespace(test_openings=TestLedger(path).entries()))
    assert "?,?,?,unreadable line,?,?" in table.to_csv()
    assert len(table.rows) == 2
