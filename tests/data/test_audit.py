"""Laws of the audit: it finds whatever was planted, and nothing in a table where nothing was."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainage_ray.data.audit import LEAKS, LISTED, Weights, audit_manifest, reasons_to_leave_out
from brainage_ray.data.audit_index import COLUMNS
from brainage_ray.data.provenance import TrainedOn, trained_on

ROLES = ("train", "validation", "test", "pretraining")


def scan(person, role, image, contents=None):
    use, split = ("pretraining", "train") if role == "pretraining" else ("age", role)
    contents = f"c-{image}" if contents is None else contents
    return (use, "C", person, f"C/{person}", image, split, contents)


def table_of(*rows):
    return pd.DataFrame(list(rows), columns=list(COLUMNS))


@st.composite
def clean_tables(draw):
    """People of one role each, with one to three scans of their own."""
    people = draw(st.lists(st.tuples(st.sampled_from(ROLES), st.integers(1, 3)), min_size=2, max_size=12))
    return table_of(*(scan(f"p{i}", role, f"i{i}-{j}") for i, (role, n) in enumerate(people) for j in range(n)))


def kinds(report):
    return set(report.counts)


@given(clean_tables())
def test_a_clean_table_is_clean_and_nothing_has_to_leave_it(table):
    report = audit_manifest(table)
    assert (report.findings, report.counts, report.leaks, report.leak_sentence) == ((), {}, 0, "")
    assert (report.scans, report.people, report.compared) == (len(table), table["person"].nunique(), len(table))
    assert (reasons_to_leave_out(table) == "").all()


@given(clean_tables(), st.permutations(["train", "validation", "test"]))
def test_a_person_in_two_splits_is_found_among_any_others(table, splits):
    planted = [scan("both", splits[0], "a"), scan("both", splits[1], "b")]
    (finding,) = audit_manifest(pd.concat([table, table_of(*planted)])).findings
    assert finding.leak
    assert (finding.kind, finding.people, finding.scans) == ("person in two splits", ("C/both",), ("C a", "C b"))
    assert set(finding.places) == set(splits[:2])


@given(clean_tables(), st.sampled_from(ROLES), st.sampled_from(ROLES))
def test_one_image_under_two_names_is_found_wherever_it_is(table, first, second):
    planted = [scan("one", first, "a", "same"), scan("two", second, "b", "other same")]
    (finding,) = audit_manifest(pd.concat([table, table_of(*planted)])).findings
    assert finding.leak
    assert (finding.kind, finding.people) == ("same image under two names", ("C/one", "C/two"))


@given(clean_tables(), st.sampled_from(["test", "validation"]))
def test_evaluated_people_in_pretraining_are_found(table, split):
    planted = table_of(scan("both", split, "a"), scan("both", "pretraining", "b"))
    (finding,) = audit_manifest(pd.concat([table, planted])).findings
    assert finding.kind == f"{split} person in pre-training"
    assert finding.leak == (split == "test")


@given(clean_tables(), st.sampled_from(ROLES))
def test_the_same_image_twice_in_a_split_is_a_warning(table, role):
    planted = table_of(scan("one", role, "a", "x same"), scan("one", role, "b", "same x"))
    (finding,) = audit_manifest(pd.concat([table, planted])).findings
    assert (finding.kind, finding.leak, finding.places) == ("duplicate within a split", False, (role,))


@st.composite
def any_tables(draw):
    """Few people, images and contents, so that they meet in every way."""
    row = st.tuples(st.integers(0, 5), st.sampled_from(ROLES), st.integers(0, 8))
    rows = draw(st.lists(row, min_size=1, max_size=14))
    return table_of(*(scan(f"p{p}", role, f"i{i}", f"c{c}" if c < 8 else "") for i, (p, role, c) in enumerate(rows)))


@given(any_tables(), st.randoms())
def test_the_order_of_the_rows_changes_nothing(table, random):
    order = list(range(len(table)))
    random.shuffle(order)
    assert audit_manifest(table.iloc[order]).to_json() == audit_manifest(table).to_json()
    assert reasons_to_leave_out(table.iloc[order]).to_dict() == reasons_to_leave_out(table).to_dict()


@given(any_tables())
def test_people_in_two_splits_are_those_that_a_count_finds(table):
    mine = table[table["use"] == "age"]
    splits = mine.groupby("person")["split"].nunique()
    found = {f.people[0] for f in audit_manifest(table).findings if f.kind == "person in two splits"}
    assert found == set(splits[splits > 1].index)


@given(any_tables())
def test_what_leaves_is_of_training_and_what_stays_leaks_only_between_validation_and_test(table):
    reasons = reasons_to_leave_out(table)
    gone = table[reasons != ""]
    assert not ((gone["use"] == "age") & gone["split"].isin(["validation", "test"])).any()
    for finding in audit_manifest(table[reasons == ""]).findings:
        if finding.leak:
            assert set(finding.places) <= {"validation", "test"}


def test_who_is_somebody_elses_copy_leaves_with_all_scans():
    table = table_of(
        scan("t", "test", "a", "same"), scan("alias", "train", "b", "same"), scan("alias", "train", "c"),
        scan("other", "train", "d"), scan("t", "pretraining", "e"),
    )  # fmt: skip
    reasons = reasons_to_leave_out(table)
    same = "the person has the same image as C a of test"
    assert reasons.tolist() == ["", same, same, "", "the person is also in test"]
    assert audit_manifest(table[reasons == ""]).leaks == 0


def test_the_copy_of_a_copy_of_a_test_person_leaves_too():
    table = table_of(
        scan("t", "test", "a", "x"), scan("b", "train", "b", "x y"), scan("c", "train", "c", "y"),
        scan("c", "train", "d"), scan("e", "train", "e", "z"), scan("f", "train", "f", "z"), scan("f", "train", "g"),
    )  # fmt: skip
    same = "the person has the same image as C a of test"
    assert reasons_to_leave_out(table).tolist() == ["", same, same, same, "", "the same image as C e of train", ""]


def test_weights_that_know_a_test_person_or_image_leak():
    table = table_of(scan("a", "test", "1"), scan("b", "test", "2"), scan("c", "train", "3"))
    by_name = Weights("theirs", trained_on("old", ["C/a", "C/c"], []))
    by_image = Weights("others", trained_on("older", ["X/b"], ["c-2 zzz"]))
    report = audit_manifest(table, [by_name, by_image])
    assert [(f.kind, f.people, f.places, f.note) for f in report.findings] == [
        ("test person in imported weights", ("C/b",), ("test", "others"), "weights of older"),
        ("test person in imported weights", ("C/a",), ("test", "theirs"), "weights of old"),
    ]
    assert report.leaks == 2
    assert audit_manifest(table, [Weights("fine", trained_on("old", ["C/c"], ["c-3"]))]).counts == {}


@pytest.mark.parametrize("known", [None, TrainedOn(experiment="old", unknown=("resnet50.pth",))])
def test_weights_of_which_nothing_is_known_are_a_warning(known):
    report = audit_manifest(table_of(scan("a", "test", "1")), [Weights("imagenet", known)])
    (finding,) = report.findings
    assert (finding.kind, finding.leak, report.leaks, report.warnings) == ("unknown provenance", False, 0, 1)
    assert "nothing says whom" in finding.note


def test_images_without_contents_are_told_from_a_table_without_any():
    rows = scan("a", "train", "1"), scan("b", "test", "2", "")
    assert audit_manifest(table_of(*rows)).counts == {"unreadable image": 1}
    assert audit_manifest(table_of(*rows).assign(contents="")).counts == {}


def test_of_many_findings_some_are_listed_and_all_are_counted():
    people = [f"{i:06d}" for i in range(2 * LISTED)]
    rows = [scan(p, split, f"{p}{split}") for p in people for split in ("train", "test")]
    report = audit_manifest(table_of(*rows))
    assert report.counts == {"person in two splits": 2 * LISTED}
    assert len(report.findings) == LISTED
    assert report.findings[0].people == ("C/000000",)
    assert f"person in two splits ({2 * LISTED})" in report.leak_sentence


def test_the_report_is_json_and_names_each_kind_of_leak_first():
    rows = [scan("a", "train", "1"), scan("a", "test", "2"), scan("b", "train", "3", "s"), scan("b", "train", "4", "s")]
    written = json.loads(json.dumps(audit_manifest(table_of(*rows)).to_json()))
    assert [(f["kind"], f["leak"]) for f in written["findings"]] == [
        ("person in two splits", True), ("duplicate within a split", False),
    ]  # fmt: skip
    assert (written["leaks"], written["warnings"], written["scans"]) == (1, 1, 4)
    assert set(LEAKS) > {"person in two splits"}


def test_an_empty_table_is_clean():
    assert audit_manifest(table_of()).counts == {}
    assert reasons_to_leave_out(table_of()).empty
    assert np.isfinite(audit_manifest(table_of()).people)
