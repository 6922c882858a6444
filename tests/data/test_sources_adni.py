from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from invented_adni import Image, add, add_nifti, add_xml, edit

from brainage_ray.config import AdniSource
from brainage_ray.data.sources.adni import Adni
from brainage_ray.errors import MetadataError

OLD = Image("128_S_0042", 101, date(2006, 1, 2), "ADNI Screening", sequence="MPR__GradWarp__N3", processed=True)
NEW = Image("301_S_6056", 202)


def read(root: Path, **changes):
    found = Adni(AdniSource(kind="adni", root=root, **changes)).read()
    assert not found.rejected
    return list(found.scans)


def rejected(root: Path, image: str, *words: str, kept=(), **changes) -> None:
    """One input is on the record with its reason, the others are scans."""
    found = Adni(AdniSource(kind="adni", root=root, **changes)).read()
    (one,) = found.rejected
    assert one.image == image
    for word in words:
        assert word in one.reason
    assert one.reason.count(". ") >= 1  # problem and fix
    assert "\n" not in one.reason
    assert [scan.image for scan in found.scans] == list(kept)


def refused(root: Path, *words: str, **changes) -> None:
    with pytest.raises(MetadataError) as error:
        read(root, **changes)
    for word in words:
        assert word in str(error.value)
    assert error.value.fix
    assert "\n" not in str(error.value)


def test_every_field_of_a_scan(tmp_path):
    add(tmp_path, NEW)
    (scan,) = read(tmp_path, cohort="Ours")
    assert (scan.cohort, scan.subject, scan.session, scan.image) == ("Ours", "301_S_6056", "2018-03-13", "I202")
    assert (scan.age_years, scan.sex, scan.diagnosis) == (71.25, "F", "CN")
    assert (scan.site, scan.phase, scan.given_split, scan.person) == ("301", "ADNI-3", "train", "ADNI/6056")
    assert scan.files == {"t1": tmp_path / NEW.nifti_name}
    assert scan.segmentation is None


@pytest.mark.parametrize("site", ["128", "141", "301", "002", "100"])
def test_sites_keep_their_digits(tmp_path, site):
    add(tmp_path, NEW.but(subject=f"{site}_S_0130"))
    (scan,) = read(tmp_path)
    assert (scan.subject, scan.site, scan.person) == (f"{site}_S_0130", site, "ADNI/130")


def test_a_processed_image_goes_by_its_own_id_not_by_its_originals(tmp_path):
    add(tmp_path, OLD)
    assert "<imageUID>106</imageUID>" in (tmp_path / OLD.xml_name).read_text()  # the original's
    assert [scan.image for scan in read(tmp_path)] == ["I101"]


def test_xml_without_a_unit_of_age_means_years(tmp_path):
    add(tmp_path, NEW)
    edit(tmp_path / NEW.xml_name, "<ageQualifier>Y</ageQualifier>", "")
    assert [scan.age_years for scan in read(tmp_path)] == [71.25]


def test_sex_is_a_letter(tmp_path):
    add(tmp_path, NEW)
    edit(tmp_path / NEW.xml_name, "<subjectSex>F<", "<subjectSex>female<")
    assert [scan.sex for scan in read(tmp_path)] == ["F"]


def test_image_ids_match_with_and_without_the_letter(tmp_path):
    add(tmp_path, NEW)
    edit(tmp_path / NEW.xml_name, "<imageUID>202<", "<imageUID>I202<")
    assert [scan.image for scan in read(tmp_path)] == ["I202"]


def test_xml_is_matched_by_image_id_wherever_it_lies_and_whatever_its_name(tmp_path):
    add(tmp_path, NEW)
    (tmp_path / "metadata").mkdir()
    (tmp_path / NEW.xml_name).rename(tmp_path / "metadata" / "anything.xml")
    assert len(read(tmp_path)) == 1


def test_uncompressed_images_count_too(tmp_path):
    add(tmp_path, NEW)
    path = tmp_path / NEW.nifti_name
    path.rename(path.with_suffix(""))
    assert read(tmp_path)[0].files["t1"].suffix == ".nii"


def test_a_person_keeps_the_rid_over_phases_and_sites(tmp_path):
    add(tmp_path, OLD, OLD.but(subject="941_S_0042", image=102, day=date(2012, 2, 3), visit="ADNI2 Year 1 Visit"))
    scans = read(tmp_path)
    assert {scan.person for scan in scans} == {"ADNI/42"}
    assert [(scan.subject, scan.phase) for scan in scans] == [("128_S_0042", "ADNI-1"), ("941_S_0042", "ADNI-2")]


def test_a_person_is_the_same_in_sources_of_other_cohort_names(tmp_path):
    """Who rolled over from a download called ADNI-1 to one called ADNI-3 is one person, for the check of leaks."""
    add(tmp_path / "a", OLD)
    add(tmp_path / "b", OLD.but(subject="941_S_0042", image=102, day=date(2018, 2, 3), visit="ADNI3 Year 1 Visit"))
    (old,), (new,) = read(tmp_path / "a", cohort="ADNI-1"), read(tmp_path / "b", cohort="ADNI-2-3")
    assert (old.cohort, new.cohort) == ("ADNI-1", "ADNI-2-3")
    assert old.person == new.person == "ADNI/42"


def test_scans_are_ordered_by_subject_session_and_image(tmp_path):
    later = NEW.but(image=11, day=date(2019, 3, 1))
    same_day = NEW.but(image=9)
    add(tmp_path, later, same_day, NEW, OLD)
    assert [scan.image for scan in read(tmp_path)] == ["I101", "I202", "I9", "I11"]


@pytest.mark.parametrize("sequence", ["MP-RAGE", "MPRAGE_SENSE2", "MT1__GradWarp__N3m", "Sag_IR-SPGR", "MPR__N3"])
def test_t1_sequences_are_scans(tmp_path, sequence):
    add(tmp_path, NEW.but(sequence=sequence))
    assert len(read(tmp_path)) == 1


@pytest.mark.parametrize("sequence", ["Axial_PD_T2_FSE", "Axial_T2-FLAIR", "MPR__N3__Br_Mask"])
def test_other_sequences_are_not(tmp_path, sequence):
    add(tmp_path, OLD, NEW.but(sequence=sequence))
    assert [scan.image for scan in read(tmp_path)] == ["I101"]


def test_only_other_sequences_is_an_error(tmp_path):
    add(tmp_path, NEW.but(sequence="Axial_T2-FLAIR"))
    refused(tmp_path, "none of a T1 sequence", "MPRAGE")


class TestCrossval:
    def test_gives_adni1_people_their_split(self, tmp_path):
        tests = OLD.but(subject="002_S_0007", image=103)
        neither = OLD.but(subject="002_S_0008", image=104)
        add(tmp_path, OLD, tests, neither, NEW)
        (tmp_path / "CROSSVAL.csv").write_text("RID,Phase,TRAINING\n42,ADNI1,1\n0007,ADNI1,0\n6056,ADNI3,0\n")
        splits = {scan.person: scan.given_split for scan in read(tmp_path)}
        assert splits == {"ADNI/42": "validation", "ADNI/7": "test", "ADNI/8": "", "ADNI/6056": "train"}

    def test_later_scans_of_adni1_people_train(self, tmp_path):
        add(tmp_path, OLD, OLD.but(image=105, day=date(2012, 1, 1), visit="ADNI2 Initial Visit-Cont Pt"))
        (tmp_path / "CROSSVAL.csv").write_text("RID,TRAINING\n42,0\n")
        assert [scan.given_split for scan in read(tmp_path)] == ["test", "train"]

    def test_elsewhere(self, tmp_path):
        add(tmp_path / "root", OLD)
        (tmp_path / "mine.csv").write_text("RID,TRAINING\n42,1\n")
        assert read(tmp_path / "root", crossval=tmp_path / "mine.csv")[0].given_split == "validation"

    def test_the_same_line_twice_is_no_contradiction(self, tmp_path):
        add(tmp_path, OLD)
        (tmp_path / "CROSSVAL.csv").write_text("RID,TRAINING\n42,1\n42,1\n")
        assert [scan.given_split for scan in read(tmp_path)] == ["validation"]

    def test_named_but_missing(self, tmp_path):
        add(tmp_path, OLD)
        refused(tmp_path, "mine.csv", "crossval", crossval=tmp_path / "mine.csv")

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("RID,TRAINIG\n42,1\n", ['"TRAINING"', 'Did you mean "TRAINIG"']),
            ("RID,TRAINING\n42\n", ["line 2", "1 values for 2 columns"]),
            ("RID,TRAINING\n42,1\n43,2\n", ["line 3", 'TRAINING is "2"', "1 for the standard training set"]),
            ("RID,TRAINING\n128_S_0042,1\n", ["line 2", '"128_S_0042"']),
            ("RID,TRAINING\n42,1\n7,0\n0042,0\n", ["line 4", "RID 42", "TRAINING 0", "TRAINING 1 in line 2"]),
            ("", ["CROSSVAL.csv", "is empty", "RID,TRAINING"]),
        ],
    )
    def test_wrong(self, tmp_path, text, words):
        add(tmp_path, OLD)
        (tmp_path / "CROSSVAL.csv").write_text(text)
        refused(tmp_path, "CROSSVAL.csv", *words)


class TestRefusals:
    def test_no_folder(self, tmp_path):
        refused(tmp_path / "nowhere", "no folder", str(tmp_path / "nowhere"), "root")

    def test_empty_folder(self, tmp_path):
        refused(tmp_path, "holds no SUBJECT/SEQUENCE", str(tmp_path), "DICOM")

    def test_image_without_xml(self, tmp_path):
        add(tmp_path, OLD)
        add_nifti(tmp_path, NEW)
        rejected(tmp_path, "I202", "no XML describes the image I202", NEW.nifti_name, kept=["I101"])

    def test_xml_without_image(self, tmp_path):
        add(tmp_path, OLD)
        add_xml(tmp_path, NEW)
        rejected(tmp_path, "I202", "there is no image I202", NEW.xml_name, kept=["I101"])

    def test_two_files_of_one_image(self, tmp_path):
        add(tmp_path, NEW)
        (tmp_path / NEW.nifti_name).with_name("copy.nii.gz").touch()
        rejected(tmp_path, "I202", "I202 is there twice", "copy.nii.gz")

    def test_two_xml_of_one_image(self, tmp_path):
        add(tmp_path, NEW)
        copy = (tmp_path / NEW.xml_name).read_text()
        (tmp_path / "copy.xml").write_text(copy)
        assert [scan.image for scan in read(tmp_path)] == [
            "I202"
        ]  # who says the same twice does not contradict himself
        (tmp_path / "copy.xml").write_text(copy + "\n")
        rejected(tmp_path, "I202", "both describe the image I202, and not alike", "copy.xml", NEW.xml_name)

    def test_subjects_that_disagree(self, tmp_path):
        add_nifti(tmp_path, NEW)
        add_xml(tmp_path, NEW.but(subject="301_S_6057"))
        rejected(tmp_path, "I202", "folder of 301_S_6056", "301_S_6057")

    @pytest.mark.parametrize(
        ("old", "new", "words"),
        [
            ("301_S_6056", "1_S_6056", ['"1_S_6056"', "subjectIdentifier"]),
            ("71.25", "seventy", ['"seventy"', "not a number", "subjectAge"]),
            ("71.25", "852", ["852 years", "0 and 120"]),
            ("71.25", "-1", ["-1 years"]),
            ("71.25", "nan", ["nan years"]),
            ("<subjectAge>71.25</subjectAge>", "", ["subjectAge is missing"]),
            ("<ageQualifier>Y<", "<ageQualifier>M<", ['ageQualifier is "M"', "years"]),
            ("<ageQualifier>Y<", "<ageQualifier><", ['ageQualifier is ""']),
            ("<subjectSex>F<", "<subjectSex>X<", ['the sex is "X"', "subjectSex"]),
            (">CN<", "> <", ["researchGroup is empty"]),
            ("ADNI Screening", "Unscheduled", ['"Unscheduled"', "names no phase", "ADNI2 Year 1 Visit"]),
            ("ADNI Screening", "ADNI4 Baseline - New Pt", ["names no phase"]),
            ("<imageUID>202<", "<imageUID>$image_id<", ['"$image_id" is no image id', "imagingProtocol"]),
            ("</idaxs>", "", ["not readable as XML"]),
        ],
    )
    def test_wrong_xml(self, tmp_path, old, new, words):
        add(tmp_path, NEW, OLD)
        edit(tmp_path / NEW.xml_name, old, new)
        rejected(tmp_path, "I202", NEW.xml_name, *words, kept=["I101"])

    def test_a_subject_folder_that_is_no_id(self, tmp_path):
        add(tmp_path, NEW)
        (tmp_path / "301_S_6056").rename(tmp_path / "S_6056")
        rejected(tmp_path, "I202", '"S_6056" is no ADNI subject id')

    def test_a_date_folder_that_is_no_date(self, tmp_path):
        add(tmp_path, NEW)
        day = (tmp_path / NEW.nifti_name).parents[1]
        day.rename(day.with_name("baseline"))
        rejected(tmp_path, "I202", '"baseline" is no date')

    def test_an_image_folder_that_is_no_id(self, tmp_path):
        add(tmp_path, NEW)
        folder = (tmp_path / NEW.nifti_name).parent
        folder.rename(folder.with_name("image"))
        rejected(tmp_path, "I202", '"image" is no image id')


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("subject", "placeholder", "phase", "age"),
    [
        ("123_S_4567", "$image_id", "ADNI-3", 75.05),
        ("234_S_5678", "$proc_id", "ADNI-2", 74.4274),
        ("345_S_6789", "$proc_id", "ADNI-GO", 77.9726),
    ],
)
def test_xml_in_the_layout_of_a_real_download(tmp_path, shared_data, subject, placeholder, phase, age):
    add_nifti(tmp_path, NEW.but(subject=subject))
    text = (shared_data / "adni_xml" / f"ADNI_{subject}_template.xml").read_text()
    (tmp_path / "a.xml").write_text(text.replace(placeholder, "202").replace("$image_id", "77"))
    (scan,) = read(tmp_path)
    assert (scan.subject, scan.image, scan.phase, scan.age_years) == (subject, "I202", phase, age)
    assert (scan.diagnosis, scan.sex) == ("research_group", "M" if subject == "345_S_6789" else "F")
