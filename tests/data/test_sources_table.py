from __future__ import annotations

from pathlib import Path

import pytest

from brainage_ray.config import TableSource
from brainage_ray.data.sources.table import Table
from brainage_ray.errors import MetadataError

HEADER = "subject,age_years,sex,diagnosis,image"
ROW = "p1,61.5,F,CN,a.nii.gz"


def read(folder: Path, text: str, encoding: str = "utf-8", **changes):
    (folder / "a.nii.gz").touch()
    (folder / "b.nii.gz").touch()
    found = find(folder, text, encoding, **changes)
    assert not found.rejected
    return found.scans


def find(folder: Path, text: str, encoding: str = "utf-8", **changes):
    (folder / "people.csv").write_text(text, encoding=encoding)
    return Table(TableSource(kind="table", table=folder / "people.csv", cohort="Ours", **changes)).read()


def rejected(folder: Path, text: str, *words: str, count: int = 1, kept=("a.nii.gz",)) -> None:
    """So many rows are on the record with file, line and fix; the others are scans."""
    for name in ("a.nii.gz", "b.nii.gz"):
        (folder / name).touch()
    found = find(folder, text)
    assert len(found.rejected) == count
    for word in ("people.csv", *words):
        assert any(word in one.reason for one in found.rejected)
    assert all(". " in one.reason and "\n" not in one.reason for one in found.rejected)
    assert [scan.image for scan in found.scans] == list(kept)


def refused(folder: Path, text: str, *words: str, **changes) -> None:
    with pytest.raises(MetadataError) as error:
        read(folder, text, **changes)
    for word in ("people.csv", *words):
        assert word in str(error.value)
    assert error.value.fix
    assert "\n" not in str(error.value)


def test_every_field_of_a_scan(tmp_path):
    text = f"{HEADER},session,site,split,height\n{ROW},2020-01-02,Leeds,test,180\n"
    (scan,) = read(tmp_path, text)
    assert (scan.cohort, scan.subject, scan.session, scan.image) == ("Ours", "p1", "2020-01-02", "a.nii.gz")
    assert (scan.age_years, scan.sex, scan.diagnosis) == (61.5, "F", "CN")
    assert (scan.site, scan.phase, scan.given_split, scan.person) == ("Leeds", "", "test", "Ours/p1")
    assert scan.files == {"t1": tmp_path / "a.nii.gz"}


def test_optional_columns_may_be_absent(tmp_path):
    (scan,) = read(tmp_path, f"{HEADER}\n{ROW}\n")
    assert (scan.session, scan.site, scan.given_split) == ("", "", "")


def test_columns_in_any_order_blanks_empty_lines_quotes_and_a_byte_order_mark(tmp_path):
    text = 'image, subject ,diagnosis,sex,age_years\n\nb.nii.gz, p2 ,"CN, probably",F,60\n\n'
    (scan,) = read(tmp_path, text, encoding="utf-8-sig")
    assert (scan.subject, scan.diagnosis, scan.age_years) == ("p2", "CN, probably", 60)


def test_scans_are_ordered_by_subject_session_and_image(tmp_path):
    text = f"{HEADER},session\np2,60,F,CN,b.nii.gz,2\n{ROW},1\n"
    assert [scan.subject for scan in read(tmp_path, text)] == ["p1", "p2"]


def test_images_in_another_folder(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "c.nii.gz").touch()
    (scan,) = read(tmp_path, f"{HEADER}\np1,60,F,CN,c.nii.gz\n", root=tmp_path / "images")
    assert scan.files["t1"] == tmp_path / "images" / "c.nii.gz"


@pytest.mark.parametrize("column", HEADER.split(","))
def test_each_column_is_needed(tmp_path, column):
    refused(tmp_path, f"{HEADER.replace(column, 'other')}\n{ROW}\n", f'no column "{column}"')


def test_the_nearest_column_is_suggested(tmp_path):
    text = f"{HEADER.replace('age_years', 'age_year')}\n{ROW}\n"
    refused(tmp_path, text, 'no column "age_years"', 'Did you mean "age_year"?')


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("p2,sixty,F,CN,b.nii.gz", ["line 3", '"sixty"', "not a number"]),
        ("p2,,F,CN,b.nii.gz", ["line 3", "there is no age", "brainage qc exclude"]),
        ("p2,n/a,F,CN,b.nii.gz", ["line 3", "there is no age"]),
        ("N/A,60,F,CN,b.nii.gz", ["line 3", "subject is empty"]),
        ("p2,7_1,F,CN,b.nii.gz", ["line 3", '"7_1"', "not a number"]),
        ("p2,-0.5,F,CN,b.nii.gz", ["line 3", "-0.5", "0 and 120"]),
        ("p2,121,F,CN,b.nii.gz", ["line 3", "121", "0 and 120"]),
        ("p2,nan,F,CN,b.nii.gz", ["line 3", "nan"]),
        (",60,F,CN,b.nii.gz", ["line 3", "subject is empty"]),
        ("p2,60,F,CN,", ["line 3", "image is empty"]),
        ("p2,60,F,CN,c.nii.gz", ["line 3", "no image", "c.nii.gz"]),
        ("p2,60,F,CN,a.nii.gz", ["line 3", '"a.nii.gz" is also in line 2']),
        ("p2,60,F,CN,./a.nii.gz", ["line 3", '"./a.nii.gz" is also in line 2']),
        ("p2,60,F,CN,.//a.nii.gz", ["line 3", '".//a.nii.gz" is also in line 2']),
        ("p2,60,X,CN,b.nii.gz", ["line 3", 'the sex is "X"', "Write M or F"]),
        ("p2,60,1,CN,b.nii.gz", ["line 3", 'the sex is "1"']),
        ("p2,60,F,CN", ["line 3", "4 values for 5 columns"]),
        ("p2,60,F,CN,b.nii.gz,more", ["line 3", "6 values for 5 columns", "quotes"]),
    ],
)
def test_wrong_rows(tmp_path, row, words):
    twice = "also" in words[-1]
    rejected(tmp_path, f"{HEADER}\n{ROW}\n{row}\n", *words, count=1 + twice, kept=() if twice else ("a.nii.gz",))


def test_ages_at_the_ends_are_taken(tmp_path):
    scans = read(tmp_path, f"{HEADER}\np1,0,F,CN,a.nii.gz\np2,120,F,CN,b.nii.gz\n")
    assert [scan.age_years for scan in scans] == [0, 120]


@pytest.mark.parametrize(
    ("written", "sex"),
    [
        ("m", "M"),
        ("M", "M"),
        ("male", "M"),
        ("Male", "M"),
        ("f", "F"),
        ("F", "F"),
        ("FEMALE", "F"),
        ("", ""),
        ("n/a", ""),
        ("N/A", ""),
    ],
)
def test_sex_is_read_in_any_spelling(tmp_path, written, sex):
    assert read(tmp_path, f"{HEADER}\n{ROW.replace('F', written)}\n")[0].sex == sex


def test_n_a_is_unknown_everywhere(tmp_path):
    (scan,) = read(tmp_path, f"{HEADER},session,site,split\np1,60,n/a,n/a,a.nii.gz,n/a,n/a,n/a\n")
    assert (scan.sex, scan.diagnosis, scan.session, scan.site, scan.given_split) == ("", "", "", "", "")


@pytest.mark.parametrize("other", ["P1", "p1", " P1 ", "p\uff11"])
def test_a_person_is_spelt_in_one_way(tmp_path, other):
    """Taken for two people they could train and test."""
    text = f"{HEADER}\n{ROW}\n{ROW.replace('p1', other).replace('a.nii', 'b.nii')}\n"
    if other == "p1":
        assert len(read(tmp_path, text)) == 2
        return
    words = ['line 2: the subject "p1" is', "in line 3", f'line 3: the subject "{other.strip()}" is "p1" in line 2']
    rejected(tmp_path, text, *words, count=2, kept=())


def test_one_image_under_its_relative_and_its_whole_path(tmp_path):
    text = f"{HEADER}\n{ROW}\n{ROW.replace('a.nii.gz', str(tmp_path / 'a.nii.gz'))}\n"
    rejected(tmp_path, text, "also in line 2", "also in line 3", count=2, kept=())


def test_the_image_id_does_not_depend_on_the_spelling_of_the_path(tmp_path):
    assert read(tmp_path, f"{HEADER}\n{ROW.replace('a.nii', './a.nii')}\n")[0].image == "a.nii.gz"


@pytest.mark.parametrize(("mark", "name"), [(";", "semicolons"), ("\t", "tabs")])
def test_other_separators_than_commas_are_named(tmp_path, mark, name):
    text = f"{HEADER}\n{ROW.replace('61.5', '61')}\n".replace(",", mark)
    refused(tmp_path, text, f"{name} between its values", "commas", "decimal point")


def test_unknown_split(tmp_path):
    rejected(tmp_path, f"{HEADER},split\n{ROW},trian\n", "line 2", '"trian"', 'Did you mean "train"?', kept=())


def test_line_numbers_count_lines_not_rows(tmp_path):
    rejected(tmp_path, f"{HEADER}\n\n{ROW}\n\np2,x,F,CN,b.nii.gz\n", "line 5")


def test_unknown_diagnoses_are_kept_for_the_label_map(tmp_path):
    assert read(tmp_path, f"{HEADER}\n{ROW.replace('CN', 'Dementia')}\n")[0].diagnosis == "Dementia"


@pytest.mark.parametrize(("text", "word"), [("", "is empty"), (f"{HEADER}\n", "has no rows")])
def test_empty_table(tmp_path, text, word):
    refused(tmp_path, text, word)


def test_a_column_twice(tmp_path):
    refused(tmp_path, f"{HEADER},sex\n{ROW},M\n", 'two columns "sex"')


def test_not_utf8(tmp_path):
    refused(tmp_path, f"{HEADER}\n{ROW.replace('p1', 'pé')}\n", "UTF-8", encoding="latin-1")


def test_no_table(tmp_path):
    with pytest.raises(MetadataError, match=r"no table .*nowhere\.csv.*Correct `table`"):
        Table(TableSource(kind="table", table=tmp_path / "nowhere.csv", cohort="Ours")).read()


def test_no_image_folder(tmp_path):
    refused(tmp_path, f"{HEADER}\n{ROW}\n", "no folder", "nowhere", root=tmp_path / "nowhere")


@pytest.mark.shared_data
@pytest.mark.parametrize(("name", "count"), [("participants.csv", 141), ("heads.csv", 8)])
def test_ixi(shared_data, name, count):
    found = Table(TableSource(kind="table", table=shared_data / "ixi" / name, cohort="IXI")).read()
    scans = found.scans
    assert not found.rejected
    assert len(scans) == count
    assert {scan.diagnosis for scan in scans} == {"CN"}
    assert all(18 < scan.age_years < 90 for scan in scans)
