"""The audit on the page, and the mark on every table where people leak."""

from __future__ import annotations

from dataclasses import replace

from report_inputs import audit_of, manifest_of
from test_report_comparison import comparison_of

from brainage_ray.data.audit import Weights, audit_manifest
from brainage_ray.report.audit_table import audit_sentence, checks_table, findings_table
from brainage_ray.report.comparison import comparison_tables
from brainage_ray.report.leak_mark import MARK, marked
from brainage_ray.report.table import Row, Table

SOME = {"mae", "delta", "pairs", "regression", "arms", "contrasts", "bias", "data", "ledger", "settings", "versions"}


def test_a_table_is_marked_in_title_notes_csv_and_tex():
    table = Table("t", "Title", ("A", "B"), (Row(("x", "1")),), ("Note.",))
    new = marked(table, "They leak.")
    assert new.title == f"Title {MARK}"
    assert new.remarks == ("Note.", f"{MARK} They leak.")
    assert new.to_csv() == "A,B,leak\nx,1,They leak.\n"
    assert "They leak." in new.to_tex()
    assert new.rows == table.rows
    assert marked(table, "") is table


def test_every_table_is_marked(leaking):
    sentence = leaking.inputs.audit.leak_sentence
    tables = sorted((leaking.folder / "tables").glob("*.csv"))
    assert {path.stem for path in tables} >= SOME
    tables = [path for path in tables if path.stem != "findings"]
    for path in tables:
        assert all(text in path.read_text() for text in (",leak\n", sentence)), path.name
        assert sentence in path.with_suffix(".tex").read_text(), path.name
    html, markdown = leaking.text(), leaking.text("report.md")
    assert f'<p class="lead"><strong>{sentence}</strong></p>' in html
    assert html.count(f"{MARK} {sentence}") >= len(tables)
    assert f"**{sentence}**" in markdown
    assert "What the audit for leaks found" in html


def test_a_clean_page_has_no_mark_and_says_what_was_looked_for(sound):
    html = sound.text()
    assert MARK not in html
    assert "It found no leak." in html
    assert "Audit for leaks" in html
    assert "What the audit for leaks found" not in html


def test_the_checks_are_all_there_with_their_counts():
    audit = audit_of(contents="same")
    rows = {row.cells[0]: row.cells[1:] for row in checks_table(audit).rows}
    assert rows["same image under two names"] == ("leak", "1")
    assert rows["unknown provenance"] == ("warning", "0")
    assert "1 leak" in audit_sentence(audit)
    assert (audit_sentence(None), findings_table(None), findings_table(audit_of())) == ("", None, None)


def test_findings_name_some_on_the_page_and_all_in_the_csv():
    audit = audit_of(contents="same")
    table = findings_table(replace(audit, counts={**audit.counts, "unreadable image": 7}))
    assert table is not None
    assert "and 8" in table.rows[0].cells[4]
    assert table.numbers["scans"].iloc[0].count("ADNI I") == 900
    assert table.notes == ("1 of 8 findings are listed.",)
    unknown = findings_table(audit_manifest(audit_frame(), [Weights("imagenet", None)]))
    assert unknown is not None
    assert unknown.rows[0].cells[:4] == ("unknown provenance", "warning", "\N{EM DASH}", "imagenet")


def audit_frame():
    return manifest_of().head(1).assign(use="age", cohort="ADNI", subject="", image="I1", contents="c")


def test_compared_experiments_that_leak_are_marked_wherever_their_numbers_are():
    whole = comparison_of()
    leaking = replace(whole, arms=(replace(whole.arms[0], leak="They leak."), whole.arms[1]))
    arms, _, paired = comparison_tables(leaking)
    assert [row.cells[0] for row in arms.rows] == [f"a {MARK}", "b"]
    assert paired.rows[0].cells[:2] == (f"a {MARK}", "b")
    for table in (arms, paired):
        assert f"{MARK} a: They leak." in table.notes
    assert arms.numbers["leak"].tolist() == ["They leak.", ""]
    assert not [note for table in comparison_tables(whole) for note in table.notes if MARK in note]
