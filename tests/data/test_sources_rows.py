from __future__ import annotations

import csv
import io

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from invented_downloads import add_table

from brainage_ray.config import TableSource
from brainage_ray.data.sources.rows import Layout, read_column, read_rows
from brainage_ray.data.sources.table import Table
from brainage_ray.errors import MetadataError

LAYOUT = Layout("table", ("a", "b"), ("c",))
PLAIN = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=8)


def rows(path, text, layout=LAYOUT, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return read_rows(path, layout)


def values(found):
    return [tuple(row.values.values()) for row in found]


@given(st.lists(st.tuples(PLAIN, PLAIN), max_size=6))
def test_what_a_csv_writer_writes_comes_back(tmp_path_factory, written):
    text = io.StringIO(newline="")
    csv.writer(text).writerows([("a", "b"), *written])
    found = rows(tmp_path_factory.mktemp("csv") / "a.csv", text.getvalue())
    assert values(found) == [(a.strip(), b.strip()) for a, b in written if a.strip() or b.strip()]
    assert not any(row.fault for row in found)


@given(st.text(st.sampled_from('ab1,"\n\r \t'), max_size=40))
def test_no_line_is_lost_whatever_its_quotes(tmp_path_factory, text):
    """Each line that is not blank is a row, or is inside a quoted value of a column that is not read."""
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    found = rows(path, f"a,b\n{text}", Layout("table", ("a", "b")))
    lines = [line for line in io.StringIO(text.replace("\r\n", "\n").replace("\r", "\n")) if line.strip(' \t\n",')]
    assert len(found) >= len(lines)


def test_an_open_quote_spoils_its_own_line_only(tmp_path):
    found = rows(tmp_path / "a.csv", 'a,b\n1,2\n3,"4\n5,6\n7,8\n')
    assert [row.line for row in found] == [2, 3, 4, 5]
    assert [bool(row.fault) for row in found] == [False, True, False, False]
    assert "line 3 opens a quote and does not close it" in found[1].fault
    with pytest.raises(MetadataError, match="line 3"):
        found[1].check()


def test_two_open_quotes_that_swallow_the_rows_between_them(tmp_path):
    found = rows(tmp_path / "a.csv", 'a,b,c\n1,"2,3\n4,5,6\n7,8",9\n')
    assert [(row.line, bool(row.fault)) for row in found] == [(2, True), (3, False), (4, False)]


def test_lines_in_a_column_that_nobody_reads_are_fine(tmp_path):
    found = rows(tmp_path / "a.csv", 'a,b,remarks\n1,2,"one\ntwo"\n3,4,\n')
    assert values(found) == [("1", "2", "one\ntwo"), ("3", "4", "")]
    assert [row.line for row in found] == [3, 4]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_encodings_that_say_what_they_are(tmp_path, encoding):
    assert values(rows(tmp_path / "a.csv", "a,b\né,患\n", encoding=encoding)) == [("é", "患")]


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1"])
def test_encodings_that_are_named(tmp_path, encoding):
    layout = Layout("table", ("a", "b"), encoding=encoding)
    assert values(rows(tmp_path / "a.csv", "a,b\né,ü\n", layout, encoding)) == [("é", "ü")]


@pytest.mark.parametrize(
    ("encoding", "words"), [("latin-1", "byte 5 is not UTF-8"), ("utf-16-le", "zero"), ("utf-16-be", "zero")]
)
def test_encodings_that_are_not_are_refused(tmp_path, encoding, words):
    with pytest.raises(MetadataError, match=words):
        rows(tmp_path / "a.csv", "a,b\né,ü\n", encoding=encoding)


def test_an_encoding_that_there_is_not():
    with pytest.raises(ValueError, match='"utf-9" is no encoding'):
        TableSource(kind="table", table="a.csv", cohort="X", encoding="utf-9")


def test_a_table_in_the_encoding_that_the_experiment_names(tmp_path):
    path = add_table(tmp_path)
    path.write_bytes(path.read_text().replace("p1", "Zoë").encode("cp1252"))
    found = Table(TableSource(kind="table", table=path, cohort="X", encoding="cp1252")).read()
    assert [scan.subject for scan in found.scans] == ["Zoë", "p2"]


class TestParquet:
    def test_is_the_same_as_csv(self, tmp_path):
        both = [
            Table(TableSource(kind="table", table=add_table(tmp_path, s), cohort="X")) for s in (".csv", ".parquet")
        ]
        assert both[0].read() == both[1].read()

    def test_numbers_dates_and_what_is_missing(self, tmp_path):
        frame = pd.DataFrame({"a": [1, None], "b": pd.to_datetime(["2020-01-02", None]), "c": [0.1, float("nan")]})
        frame.astype({"a": "Int64"}).to_parquet(tmp_path / "a.parquet")
        assert values(read_rows(tmp_path / "a.parquet", LAYOUT)) == [("1", "2020-01-02 00:00:00", "0.1"), ("", "", "")]

    def test_whole_numbers_beside_a_gap_have_no_point(self, tmp_path):
        frame = pd.DataFrame({"a": [1.0, None], "b": [2.0, float("inf")], "c": [71.0, 71.25]})
        frame.to_parquet(tmp_path / "a.parquet")
        assert values(read_rows(tmp_path / "a.parquet", LAYOUT)) == [("1", "2", "71"), ("", "inf", "71.25")]

    def test_rows_are_named_by_number(self, tmp_path):
        path = add_table(tmp_path, ".parquet")
        (tmp_path / "1.nii.gz").unlink()
        (bad,) = Table(TableSource(kind="table", table=path, cohort="X")).read().rejected
        assert "people.parquet, row 2" in bad.reason

    @pytest.mark.parametrize("content", [b"", b"PAR1", b"a,b\n1,2\n"])
    def test_what_is_none(self, tmp_path, content):
        (tmp_path / "a.parquet").write_bytes(content)
        with pytest.raises(MetadataError, match=r"a\.parquet cannot be read"):
            read_rows(tmp_path / "a.parquet", LAYOUT)

    def test_a_missing_column(self, tmp_path):
        pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "a.parquet")
        with pytest.raises(MetadataError, match='no column "b"'):
            read_rows(tmp_path / "a.parquet", LAYOUT)


def test_a_single_column(tmp_path):
    (tmp_path / "a.csv").write_text('id\n\n"I1"\n 2 ,x\n"I3";x,y\n4\tx\n')
    assert read_column(tmp_path / "a.csv", "images") == [(1, "id"), (3, "I1"), (4, "2"), (5, "I3"), (6, "4")]
