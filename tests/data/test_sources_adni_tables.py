from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from invented_adni import Image, add, add_nifti, add_xml
from invented_downloads import ADNIMERGE, COLLECTION, collection_row, merge_row, write_lines

from brainage_ray.config import AdniSource
from brainage_ray.data.sources.adni import Adni
from brainage_ray.data.sources.adni_ids import phase_of_code
from brainage_ray.data.sources.adni_merge import read_adnimerge
from brainage_ray.errors import MetadataError

IMAGE = Image("301_S_6056", 202, date(2018, 4, 13))


def read(root, **settings):
    return Adni(AdniSource(kind="adni", root=root, **settings)).read()


def merged(root, *rows):
    return write_lines(root / "ADNIMERGE.csv", ADNIMERGE, *rows)


def listed(root, *rows):
    return write_lines(root / "ADNI3_Complete_4_05_2024.csv", COLLECTION, *rows)


def only(found):
    assert found.rejected == ()
    (scan,) = found.scans
    return scan


def reasons(found):
    return {rejected.image: rejected.reason for rejected in found.rejected}


class TestAge:
    def test_the_xml_says_it_best(self, tmp_path):
        add(tmp_path, IMAGE)
        merged(tmp_path, merge_row(age=60.0))
        scan = only(read(tmp_path, collection=listed(tmp_path, collection_row(202, age=50))))
        assert (scan.age_years, scan.note) == (71.25, "")

    @pytest.mark.parametrize(("day", "age"), [("2018-04-13", 71.2), ("2019-04-13", 72.2), ("2018-01-13", 70.95)])
    def test_adnimerge_says_that_at_baseline_to_which_the_time_since_is_added(self, tmp_path, day, age):
        add_nifti(tmp_path, IMAGE.but(day=date.fromisoformat(day)))
        merged(tmp_path, merge_row(), merge_row(viscode="m12", day="2019-04-20"))
        scan = only(read(tmp_path))
        assert scan.age_years == pytest.approx(age, abs=0.005)
        assert scan.note == ""

    def test_without_the_visit_of_the_baseline_its_day_is_in_another_column(self, tmp_path):
        add_nifti(tmp_path, IMAGE.but(day=date(2019, 4, 20)))
        merged(tmp_path, merge_row(viscode="m12", day="2019-04-20"))
        assert only(read(tmp_path)).age_years == pytest.approx(72.22, abs=0.005)

    def test_or_follows_from_the_years_since(self, tmp_path):
        add_nifti(tmp_path, IMAGE.but(day=date(2020, 4, 20)))
        merged(tmp_path, merge_row(viscode="m24", day="2020-04-20", bl="", years="2.0"))
        assert only(read(tmp_path)).age_years == pytest.approx(73.2, abs=0.005)

    def test_the_collections_whole_years_are_the_last_resort_and_the_record_says_so(self, tmp_path):
        add_nifti(tmp_path, IMAGE)
        scan = only(read(tmp_path, collection=listed(tmp_path, collection_row(202, age=71))))
        assert scan.age_years == 71
        assert "whole years" in scan.note

    def test_adnimerge_without_an_age_and_no_other_word(self, tmp_path):
        add_nifti(tmp_path, IMAGE)
        merged(tmp_path, merge_row(age=""))
        assert "does not say the age" in reasons(read(tmp_path))["I202"]

    @pytest.mark.parametrize("age", ["-1", "999", "old"])
    def test_an_age_that_is_none(self, tmp_path, age):
        add_nifti(tmp_path, IMAGE)
        merged(tmp_path, merge_row(age=age))
        assert "ADNIMERGE.csv, line 2" in reasons(read(tmp_path))["I202"]

    @given(st.floats(55, 90), st.integers(-400, 5000))
    def test_a_day_more_is_a_day_older(self, tmp_path_factory, age, days):
        root = tmp_path_factory.mktemp("merge")
        person = read_adnimerge(merged(root, merge_row(age=f"{age:.1f}")), given=True).of(6056)
        day = date(2018, 4, 13) + timedelta(days=days)
        assert person.age_years(day) == pytest.approx(float(f"{age:.1f}") + days / 365.25, abs=1e-3)


class TestDiagnosis:
    def test_is_that_of_the_visit_not_that_at_enrolment(self, tmp_path):
        add(tmp_path, IMAGE.but(group="LMCI"), IMAGE.but(image=203, day=date(2019, 5, 1), group="LMCI"))
        merged(tmp_path, merge_row(dx="MCI"), merge_row(viscode="m12", day="2019-04-20", dx="Dementia"))
        assert [scan.diagnosis for scan in read(tmp_path).scans] == ["MCI", "AD"]

    @pytest.mark.parametrize(
        ("written", "bl", "diagnosis"),
        [
            ("CN", "CN", "CN"), ("MCI", "EMCI", "MCI"), ("Dementia", "AD", "AD"), ("NL", "CN", "CN"),
            ("MCI to Dementia", "LMCI", "AD"), ("CN", "SMC", "SMC"), ("MCI", "SMC", "MCI"), ("", "CN", ""),
        ],
    )  # fmt: skip
    def test_in_the_words_of_the_label_map(self, tmp_path, written, bl, diagnosis):
        add(tmp_path, IMAGE)
        merged(tmp_path, merge_row(dx=written, dx_bl=bl))
        assert only(read(tmp_path)).diagnosis == diagnosis

    @pytest.mark.parametrize(("day", "diagnosis"), [("2018-10-13", "CN"), ("2018-10-14", "")])
    def test_a_visit_counts_for_half_a_year(self, tmp_path, day, diagnosis):
        add(tmp_path, IMAGE.but(day=date.fromisoformat(day)))
        merged(tmp_path, merge_row())
        assert only(read(tmp_path)).diagnosis == diagnosis

    def test_of_people_who_are_not_in_adnimerge_is_the_group_of_the_xml(self, tmp_path):
        add(tmp_path, IMAGE.but(group="LMCI"))
        merged(tmp_path, merge_row(rid=42))
        assert only(read(tmp_path)).diagnosis == "LMCI"


class TestPhase:
    @pytest.mark.parametrize(
        ("code", "rid", "phase"),
        [
            ("sc", 42, "ADNI-1"), ("bl", 2010, "ADNI-GO"), ("scmri", 4100, "ADNI-2"), ("sc", 6056, "ADNI-3"),
            ("m12", 42, "ADNI-1"), ("m36", 42, "ADNI-1"), ("m48", 42, "ADNI-GO"), ("m06", 2010, "ADNI-GO"),
            ("v11", 4100, "ADNI-2"), ("v06", 42, "ADNI-2"), ("y2", 42, "ADNI-3"), ("init", 4100, "ADNI-3"),
            ("m12", 4100, ""), ("nv", 42, ""), ("", 42, ""), ("sc", 10001, ""),
        ],
    )  # fmt: skip
    def test_codes_of_the_ida(self, code, rid, phase):
        assert phase_of_code(code, rid) == phase

    @pytest.mark.parametrize(
        ("visit", "phase"), [("ADNI3 Year 1 Visit", "ADNI-3"), ("v11", "ADNI-2"), ("y1", "ADNI-3")]
    )
    def test_of_the_collection(self, tmp_path, visit, phase):
        add_nifti(tmp_path, IMAGE)
        assert only(read(tmp_path, collection=listed(tmp_path, collection_row(202, visit=visit)))).phase == phase

    def test_of_adnimerge(self, tmp_path):
        add_nifti(tmp_path, IMAGE)
        merged(tmp_path, merge_row(protocol="ADNI2"))
        assert only(read(tmp_path)).phase == "ADNI-2"

    def test_unknown_is_rejected_not_guessed(self, tmp_path):
        add_nifti(tmp_path, IMAGE)
        found = read(tmp_path, collection=listed(tmp_path, collection_row(202, visit="nv")))
        assert "in which phase" in reasons(found)["I202"]


class TestCollection:
    def test_every_field_of_a_scan(self, tmp_path):
        add_nifti(tmp_path, IMAGE)
        scan = only(read(tmp_path, collection=listed(tmp_path, collection_row(202, group="LMCI", sex="M"))))
        assert (scan.subject, scan.session, scan.image) == ("301_S_6056", "2018-04-13", "I202")
        assert (scan.sex, scan.diagnosis, scan.site, scan.person) == ("M", "LMCI", "301", "ADNI/6056")

    def test_an_image_that_was_not_downloaded_is_on_the_record(self, tmp_path):
        add(tmp_path, IMAGE)
        found = read(tmp_path, collection=listed(tmp_path, collection_row(202), collection_row(203)))
        assert [scan.image for scan in found.scans] == ["I202"]
        assert "no image I203" in reasons(found)["I203"]
        assert "line 3" in reasons(found)["I203"]

    def test_rows_of_other_sequences_are_not_missed(self, tmp_path):
        add(tmp_path, IMAGE)
        rows = (collection_row(202), collection_row(9, description="Axial T2 FLAIR"))
        assert only(read(tmp_path, collection=listed(tmp_path, *rows))).image == "I202"

    @pytest.mark.parametrize(
        ("row", "words"),
        [
            (collection_row(202, subject="301_S_6057"), "says 301_S_6057"),
            (collection_row(202, age=-1), "-1 years"),
            (collection_row(202, age=999), "999 years"),
            (collection_row(202, sex="X"), 'the sex is "X"'),
            (collection_row(202) + ',"more"', "13 values for 12 columns"),
            (collection_row(202) + "\n" + collection_row(202, age=60), "also in line 2"),
        ],
    )
    def test_one_bad_row(self, tmp_path, row, words):
        other = IMAGE.but(image=5)
        add_nifti(tmp_path, IMAGE)
        add(tmp_path, other)
        found = read(tmp_path, collection=listed(tmp_path, row))
        assert words in reasons(found)["I202"]
        assert [scan.image for scan in found.scans] == ["I5"]

    def test_the_same_row_twice_is_no_contradiction(self, tmp_path):
        add_nifti(tmp_path, IMAGE)
        row = collection_row(202)
        assert only(read(tmp_path, collection=listed(tmp_path, row, row))).image == "I202"

    def test_a_row_without_an_id(self, tmp_path):
        add(tmp_path, IMAGE)
        found = read(tmp_path, collection=listed(tmp_path, collection_row("x")))
        assert [name.rpartition(", ")[2] for name in reasons(found)] == ["line 2"]

    def test_named_but_missing(self, tmp_path):
        add(tmp_path, IMAGE)
        with pytest.raises(MetadataError, match=r"no table .*mine\.csv.*`collection`"):
            read(tmp_path, collection=tmp_path / "mine.csv")


class TestAdniMerge:
    def test_named_but_missing(self, tmp_path):
        add(tmp_path, IMAGE)
        with pytest.raises(MetadataError, match=r"no table .*mine\.csv.*`adnimerge`"):
            read(tmp_path, adnimerge=tmp_path / "mine.csv")

    def test_a_row_of_nobody_is_on_the_record(self, tmp_path):
        add(tmp_path, IMAGE)
        merged(tmp_path, merge_row(), merge_row(rid="x"))
        found = read(tmp_path)
        assert "no number" in reasons(found)["ADNIMERGE.csv, line 3"]
        assert len(found.scans) == 1

    @pytest.mark.parametrize("row", [merge_row(day="someday"), merge_row() + ",more"])
    def test_a_broken_row_rejects_that_person_alone(self, tmp_path, row):
        other = IMAGE.but(subject="301_S_6057", image=5)
        add(tmp_path, IMAGE, other)
        merged(tmp_path, row, merge_row(rid=6057))
        found = read(tmp_path)
        assert "line 2" in reasons(found)["I202"]
        assert [scan.image for scan in found.scans] == ["I5"]

    def test_people_who_are_in_no_table_and_have_no_xml(self, tmp_path):
        add_nifti(tmp_path, IMAGE)
        merged(tmp_path, merge_row(rid=42))
        assert "no XML describes the image I202" in reasons(read(tmp_path))["I202"]


class TestImageList:
    def test_chooses_scans_by_either_form_of_id(self, tmp_path):
        add(tmp_path, IMAGE, IMAGE.but(image=203), IMAGE.but(image=204))
        found = read(tmp_path, images=write_lines(tmp_path / "list.csv", "image_id", "I202", "204"))
        assert [scan.image for scan in found.scans] == ["I202", "I204"]
        assert found.rejected == ()

    def test_needs_no_name_of_its_column(self, tmp_path):
        add(tmp_path, IMAGE)
        assert only(read(tmp_path, images=write_lines(tmp_path / "list.csv", "202", "I202"))).image == "I202"

    def test_what_is_not_on_disk_or_no_id_is_on_the_record(self, tmp_path):
        add(tmp_path, IMAGE)
        add_xml(tmp_path, IMAGE.but(image=204))
        lines = write_lines(tmp_path / "list.csv", "I202", "I203", "I204", "S12", "I20x")
        found = reasons(read(tmp_path, images=lines))
        assert set(found) == {"I203", "I204", "list.csv, line 4", "list.csv, line 5"}
        assert "line 2" in found["I203"]
        assert '"S12" is no image id' in found["list.csv, line 4"]

    def test_xml_of_other_images_is_not_missed(self, tmp_path):
        add(tmp_path, IMAGE)
        add_xml(tmp_path, IMAGE.but(image=204))
        assert only(read(tmp_path, images=write_lines(tmp_path / "list.csv", "202"))).image == "I202"

    def test_what_is_no_t1_is_rejected(self, tmp_path):
        add(tmp_path, IMAGE.but(sequence="Axial_T2-FLAIR"))
        found = read(tmp_path, images=write_lines(tmp_path / "list.csv", "202"))
        assert "Axial_T2-FLAIR" in reasons(found)["I202"]

    @pytest.mark.parametrize(("text", "words"), [("image_id", "names no image"), ("", "names no image")])
    def test_names_something(self, tmp_path, text, words):
        add(tmp_path, IMAGE)
        with pytest.raises(MetadataError, match=words):
            read(tmp_path, images=write_lines(tmp_path / "list.csv", text))


def test_an_image_that_lies_elsewhere_is_on_the_record(tmp_path):
    add(tmp_path, IMAGE)
    (tmp_path / "301_S_6056" / "I7.nii.gz").touch()
    found = read(tmp_path)
    assert "does not lie in SUBJECT/SEQUENCE" in reasons(found)["301_S_6056/I7.nii.gz"]
    assert len(found.scans) == 1


@pytest.mark.parametrize("site", ["128", "141", "301"])
def test_sites_keep_their_digits_without_xml_too(tmp_path, site):
    add_nifti(tmp_path, IMAGE.but(subject=f"{site}_S_6056"))
    merged(tmp_path, merge_row())
    scan = only(read(tmp_path))
    assert (scan.subject, scan.site, scan.person) == (f"{site}_S_6056", site, "ADNI/6056")
