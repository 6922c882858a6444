from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainage_ray.data import (
    Assignment,
    Found,
    Rejected,
    Scan,
    check_exclusions,
    exclude,
    excuse,
    include,
    leave_out,
    make_exclusions,
)
from brainage_ray.data.exclusions import Exclusion, nearest_scan, read_exclusions
from brainage_ray.errors import ConfigError, MetadataError

WORDS = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1)
SCANS = [Scan("ADNI", "002_S_0413", "m00", "I45117", {}), Scan("IXI", "IXI013", "", "scans/IXI013.nii.gz", {})]


@pytest.fixture
def file(tmp_path):
    return tmp_path / "folder" / "qc.csv"


def test_what_is_excluded_is_read_back_with_who_and_when(file):
    assert exclude(file, "IXI", "a.nii.gz", 'half "empty", and  noisy\n') is None
    (one,) = read_exclusions(file)
    assert (one.cohort, one.image, one.reason) == ("IXI", "a.nii.gz", 'half "empty", and noisy')
    assert one.who
    assert datetime.fromisoformat(one.when).tzinfo is not None
    assert file.read_text().splitlines()[0] == "cohort,image,reason,who,when"


def test_twice_is_once(file):
    exclude(file, "IXI", "a", "motion")
    before = file.read_bytes(), file.stat().st_mtime_ns
    assert exclude(file, "IXI", "a", " motion ").reason == "motion"
    assert (file.read_bytes(), file.stat().st_mtime_ns) == before


def test_another_reason_takes_the_place_of_the_first(file):
    exclude(file, "IXI", "a", "motion")
    assert exclude(file, "IXI", "a", "half empty").reason == "motion"
    assert [one.reason for one in read_exclusions(file)] == ["half empty"]


def test_include_undoes_exclude(file):
    exclude(file, "IXI", "a", "motion")
    before = file.read_bytes()
    exclude(file, "ADNI", "a", "motion")
    assert include(file, "ADNI", "a").reason == "motion"
    assert file.read_bytes() == before
    assert include(file, "ADNI", "a") is None


@given(st.dictionaries(st.tuples(WORDS, WORDS), WORDS, min_size=1, max_size=5))
def test_any_words_survive_the_file(tmp_path_factory, rows):
    file = tmp_path_factory.mktemp("exclusions") / "qc.csv"
    for (cohort, image), reason in rows.items():
        exclude(file, cohort, image, reason)
    assert {one.id: one.reason for one in read_exclusions(file)} == rows


def test_nobody_who_writes_at_the_same_time_is_lost(file):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: exclude(file, "IXI", f"a{i}", "motion"), range(24)))
    assert len(read_exclusions(file)) == 24


def test_an_empty_reason_is_refused(file):
    with pytest.raises(ConfigError, match="without a reason"):
        exclude(file, "IXI", "a", " \n")
    assert not file.exists()


def test_an_empty_file_is_made_once(file):
    assert make_exclusions(file)
    assert read_exclusions(file) == ()
    exclude(file, "IXI", "a", "motion")
    assert not make_exclusions(file)
    assert len(read_exclusions(file)) == 1


def test_who_and_when_may_be_missing_and_a_spreadsheet_may_have_saved_it(file):
    file.parent.mkdir()
    file.write_bytes(b"\xef\xbb\xbfimage,cohort,reason\r\na,IXI,motion\r\n")
    assert read_exclusions(file) == (Exclusion("IXI", "a", "motion"),)
    assert read_exclusions(None) == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "there is no file"),
        ("cohort,image\nIXI,a\n", "lacks the column reason"),
        ("", "lacks the column cohort, image, reason"),
        ("cohort;image;reason;who;when\n", "with commas"),
        ("cohort,image,reason\nIXI,a,\n", "line 2 has no reason"),
        ("cohort,image,reason\nIXI,a,x\n,b,x\n", "line 3 has no cohort"),
        ("cohort,image,reason\nIXI,a,x,y,z\n", "line 2 has more values"),
        ("cohort,image,reason\nIXI,a,x\nIXI,a,y\n", "IXI a twice"),
        ('cohort,image,reason\nIXI,a,"x\n', "Correct the quotes"),
        (b"cohort,image,reason\nIXI,a,\xff\n", "UTF-8"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(file, text, words):
    if text is not None:
        file.parent.mkdir()
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(MetadataError, match=r"qc\.csv") as raised:
        read_exclusions(file)
    assert words in str(raised.value)


def test_a_line_of_no_scan_names_the_nearest(file):
    with pytest.raises(MetadataError, match=r'qc\.csv excludes ADNI I45171.*Did you mean the image "I45117" of ADNI'):
        check_exclusions(file, [Exclusion("ADNI", "I45171", "x")], Found(tuple(SCANS)))
    with pytest.raises(MetadataError, match="excludes IXI I45117"):
        check_exclusions(file, [Exclusion("IXI", "I45117", "x")], Found(tuple(SCANS)))
    rejected = Rejected("IXI", "IXI1", "", "IXI1.nii", "it is empty")
    check_exclusions(
        file, [Exclusion("ADNI", "I45117", "x"), Exclusion("IXI", "IXI1.nii", "x")], Found(tuple(SCANS), (rejected,))
    )


def test_a_subject_leads_to_its_image_too():
    assert '"scans/IXI013.nii.gz" of IXI' in nearest_scan("ixi013", SCANS)
    assert nearest_scan("zzzzzzzzzzzzzzzzzz", SCANS) == ""


def test_what_its_source_rejects_can_be_excluded_too():
    """Both of two that share an id: nobody knows which of them is meant."""
    rejected = tuple(
        Rejected("IXI", subject, "", image, "why") for subject, image in (("1", "a"), ("2", "a"), ("3", "b"))
    )
    found = Found(tuple(SCANS), rejected)
    left = excuse(found, [Exclusion("IXI", "a", "no age"), Exclusion("ADNI", "b", "of another cohort")])
    assert [(one.subject, one.reason) for one in left.excluded] == [(n, "quality control: no age") for n in "12"]
    assert (left.scans, left.rejected) == (found.scans, rejected[2:])
    check_exclusions(None, [Exclusion("IXI", "a", "no age")], left)


def test_leaving_out_moves_nobody_else():
    assignments = [Assignment(SCANS[0], "train", "CN"), Assignment(SCANS[1], None, "MCI", "a rule")]
    (kept, left) = leave_out(assignments, [Exclusion("IXI", SCANS[1].image, "motion")])
    assert kept == assignments[0]
    assert (left.split, left.reason) == (None, "quality control: motion")
    assert leave_out(assignments, []) == assignments
