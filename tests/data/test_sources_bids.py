from __future__ import annotations

import json
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st
from invented_downloads import add_bids, add_sessions, put

from brainage_ray.config import BidsSource
from brainage_ray.data.sources.bids import Bids
from brainage_ray.data.sources.bids_names import parse_t1w
from brainage_ray.errors import MetadataError

PEOPLE = "participant_id,age,sex,group,site\nsub-01,61.5,F,CN,Leeds\n"


def read(root, **settings):
    return Bids(BidsSource(kind="bids", root=root, cohort="Ours", **settings)).read()


def only(found):
    assert found.rejected == ()
    (scan,) = found.scans
    return scan


def no_ages(root):
    """The images whose age nobody knows, which are on the record."""
    unknown = read(root).rejected
    assert all("has no age" in one.reason or "nothing says the age" in one.reason for one in unknown)
    assert all("brainage qc exclude" in one.reason for one in unknown)
    return [one.session for one in unknown]


def ages(root, **settings):
    found = read(root, **settings)
    assert found.rejected == ()
    return {scan.session: scan.age_years for scan in found.scans}


def rejected(root, image, *words, kept=0, **settings):
    found = read(root, **settings)
    (one,) = found.rejected
    assert one.image == image
    for word in words:
        assert word in one.reason
    assert len(found.scans) == kept


def test_every_field_of_a_scan(tmp_path):
    scan = only(read(add_bids(tmp_path, PEOPLE, "sub-01_ses-02_acq-mprage_run-1_T1w")))
    assert (scan.cohort, scan.subject, scan.session) == ("Ours", "sub-01", "ses-02")
    assert (scan.image, scan.person) == ("sub-01_ses-02_acq-mprage_run-1_T1w", "Ours/sub-01")
    assert (scan.age_years, scan.sex, scan.diagnosis, scan.site) == (61.5, "F", "CN", "Leeds")
    assert scan.files == {"t1": tmp_path / "sub-01" / "ses-02" / "anat" / f"{scan.image}.nii.gz"}


class TestNames:
    @pytest.mark.parametrize(
        "path",
        [
            "sub-01/anat/sub-01_T1w.nii.gz", "sub-01/anat/sub-01_T1w.nii", "sub-A1b/anat/sub-A1b_run-02_T1w.nii.gz",
            "sub-01/ses-pre/anat/sub-01_ses-pre_acq-x_ce-gd_rec-y_run-1_T1w.nii.gz",
            "sub-01/anat/sub-01_space-MNI152NLin2009cAsym_res-1_desc-preproc_T1w.nii.gz",
        ],
    )  # fmt: skip
    def test_that_are_bids(self, path):
        assert parse_t1w(PurePosixPath(path)).image == PurePosixPath(path).name.partition(".")[0]

    @pytest.mark.parametrize(
        "path",
        [
            "sub-01/anat/sub-01_t1w.nii.gz", "sub-01/anat/sub-01_T1w_brain.nii.gz", "sub-01/anat/sub-01.T1w.nii.gz",
            "sub-01/anat/T1w.nii.gz", "sub-01/anat/sub-02_T1w.nii.gz", "sub-01/sub-01_T1w.nii.gz",
            "sub-01/func/sub-01_T1w.nii.gz", "sub-01/anat/sub-01_ses-1_T1w.nii.gz", "sub-01_T1w.nii.gz",
            "sub-01/ses-1/anat/sub-01_T1w.nii.gz", "sub-01/ses-2/anat/sub-01_ses-1_T1w.nii.gz",
            "sub-01/anat/sub-01_run-1_acq-x_T1w.nii.gz", "sub-01/anat/sub-01_run-1_run-2_T1w.nii.gz",
            "sub-01/anat/sub-01_run-one_T1w.nii.gz", "sub-01/anat/sub-01_foo-1_T1w.nii.gz",
            "sub-01/anat/sub-01_acq-a-b_T1w.nii.gz", "sub-01/anat/sub-0_1_T1w.nii.gz", "sub-/anat/sub-_T1w.nii.gz",
            "acq-1/anat/acq-1_T1w.nii.gz", "a/sub-01/anat/sub-01_T1w.nii.gz",
        ],
    )  # fmt: skip
    def test_that_are_not(self, path):
        with pytest.raises(MetadataError, match="bids: ") as error:
            parse_t1w(PurePosixPath(path))
        assert path in str(error.value)
        assert error.value.fix

    @given(st.from_regex(r"[0-9a-zA-Z]{1,6}", fullmatch=True), st.from_regex(r"[0-9a-zA-Z]{1,6}", fullmatch=True))
    def test_any_labels_come_back(self, subject, session):
        stem = f"sub-{subject}_ses-{session}_T1w"
        name = parse_t1w(PurePosixPath(f"sub-{subject}/ses-{session}/anat/{stem}.nii.gz"))
        assert (name.image, name.subject, name.session) == (stem, f"sub-{subject}", f"ses-{session}")

    def test_a_misnamed_image_is_on_the_record(self, tmp_path):
        root = add_bids(tmp_path, PEOPLE, "sub-01_T1w")
        put(root / "sub-01" / "anat" / "sub-01_t1w_old.nii.gz")
        rejected(root, "sub-01/anat/sub-01_t1w_old.nii.gz", "is not named as a T1w image", kept=1)


class TestFiles:
    def test_other_images_and_folders_are_left_alone(self, tmp_path):
        root = add_bids(tmp_path, PEOPLE, "sub-01_T1w", "sub-01_T2w", "sub-01_FLAIR")
        put(root / "sub-01" / "anat" / "sub-01_T1w.json")
        for folder in ("derivatives/x/sub-01/anat", "sourcedata", "code", ".git/annex"):
            put(root / folder / "sub-01_T1w.nii.gz")
        assert only(read(root)).image == "sub-01_T1w"

    def test_a_pipelines_images_in_place_of_the_raw_ones(self, tmp_path):
        root = add_bids(tmp_path, PEOPLE, "sub-01_T1w")
        folder = root / "derivatives" / "fmriprep" / "sub-01" / "anat"
        for name in ("sub-01_desc-preproc_T1w", "sub-01_space-MNI_desc-preproc_T1w", "sub-01_desc-brain_mask"):
            put(folder / f"{name}.nii.gz")
        found = read(root, derivative="fmriprep")
        assert [scan.image for scan in found.scans] == ["sub-01_desc-preproc_T1w", "sub-01_space-MNI_desc-preproc_T1w"]
        chosen = only(read(root, derivative="fmriprep", entities={"space": "MNI"}))
        assert chosen.files["t1"] == folder / "sub-01_space-MNI_desc-preproc_T1w.nii.gz"
        assert chosen.age_years == 61.5

    def test_entities_choose(self, tmp_path):
        root = add_bids(tmp_path, PEOPLE, "sub-01_run-1_T1w", "sub-01_run-2_T1w")
        assert only(read(root, entities={"run": "2"})).image == "sub-01_run-2_T1w"
        rejected(root, "sub-01", "no T1w image with run-3", entities={"run": "3"})

    def test_a_link_to_nothing_as_datalad_leaves_it(self, tmp_path):
        root = add_bids(tmp_path, PEOPLE, "sub-01_T1w")
        path = root / "sub-01" / "anat" / "sub-01_T1w.nii.gz"
        path.unlink()
        path.symlink_to("../../.git/annex/objects/nothing")
        rejected(root, "sub-01_T1w", "link to nothing", "datalad get")

    def test_an_image_in_two_forms(self, tmp_path):
        root = add_bids(tmp_path, PEOPLE, "sub-01_T1w")
        put(root / "sub-01" / "anat" / "sub-01_T1w.nii")
        rejected(root, "sub-01_T1w", "is there also as")

    @pytest.mark.parametrize("folder", ["", "sub-02/anat"])
    def test_a_participant_without_an_image_is_on_the_record(self, tmp_path, folder):
        root = add_bids(tmp_path, PEOPLE + "sub-02,50,M,CN,York\n", "sub-01_T1w")
        (root / folder).mkdir(parents=True, exist_ok=True)
        rejected(root, "sub-02", "participants.tsv, line 3", "no T1w image", kept=1)

    def test_no_images_at_all(self, tmp_path):
        with pytest.raises(MetadataError, match="holds no sub-XX"):
            read(add_bids(tmp_path, PEOPLE))

    @pytest.mark.parametrize(("mark", "name"), [(",", "commas"), (";", "semicolons")])
    def test_other_separators_than_tabs_are_named(self, tmp_path, mark, name):
        root = add_bids(tmp_path, PEOPLE, "sub-01_T1w")
        (root / "participants.tsv").write_text(PEOPLE.replace(",", mark))
        with pytest.raises(MetadataError, match=rf"participants\.tsv has {name} between its values, not tabs"):
            read(root)

    def test_no_participants_tsv(self, tmp_path):
        add_bids(tmp_path, PEOPLE, "sub-01_T1w")
        (tmp_path / "participants.tsv").unlink()
        add_sessions(tmp_path, "sub-01", "session_id,days\nses-1,0\n")
        with pytest.raises(MetadataError, match=r"no table .*participants\.tsv"):
            read(tmp_path)

    def test_no_such_pipeline(self, tmp_path):
        root = add_bids(tmp_path, PEOPLE, "sub-01_T1w")
        with pytest.raises(MetadataError, match=r"no folder .*fmripep\. Correct `derivative` in data\.sources"):
            read(root, derivative="fmripep")


class TestAges:
    def test_of_participants(self, tmp_path):
        assert ages(add_bids(tmp_path, PEOPLE, "sub-01_T1w")) == {"": 61.5}

    def test_of_sessions_come_first(self, tmp_path):
        root = add_bids(tmp_path, PEOPLE, "sub-01_ses-1_T1w", "sub-01_ses-2_T1w")
        add_sessions(root, "sub-01", "session_id,age\nses-1,62.1\nses-2,64.3\n")
        assert ages(root) == {"ses-1": 62.1, "ses-2": 64.3}

    def test_grow_by_the_days_since_the_first(self, tmp_path):
        root = add_bids(tmp_path, PEOPLE, "sub-01_ses-1_T1w", "sub-01_ses-2_T1w")
        add_sessions(root, "sub-01", "session_id,days\nses-1,0\nses-2,730.5\n")
        assert ages(root) == {"ses-1": 61.5, "ses-2": pytest.approx(63.5, abs=1e-3)}

    def test_grow_by_the_time_of_acquisition_in_any_century(self, tmp_path):
        root = add_bids(tmp_path, PEOPLE, "sub-01_ses-post_T1w", "sub-01_ses-pre_T1w")
        text = "session_id,acq_time\nses-post,1882-06-15T10:00:00\nses-pre,1880-06-15T09:00:00\n"
        add_sessions(root, "sub-01", text)
        assert ages(root) == {"ses-pre": 61.5, "ses-post": pytest.approx(63.5, abs=0.01)}

    @pytest.mark.parametrize(
        ("sessions", "expected"),
        [(("ses-1", "ses-10", "ses-2"), "ses-1"), (("ses-M00", "ses-M12"), "ses-M00"), (("ses-pre", "ses-post"), None)],
    )
    def test_of_later_sessions_are_unknown_where_nothing_says_when_they_were(self, tmp_path, sessions, expected):
        root = add_bids(tmp_path, PEOPLE, *(f"sub-01_{session}_T1w" for session in sessions))
        assert sorted(no_ages(root)) == sorted(session for session in sessions if session != expected)
        assert [scan.age_years for scan in read(root).scans] == [61.5] * (expected is not None)

    def test_of_the_only_session_of_several_with_a_t1_is_not_that_of_the_first(self, tmp_path):
        root = add_bids(tmp_path, PEOPLE, "sub-01_ses-2_T1w", "sub-01_ses-1_T2w")
        assert no_ages(root) == ["ses-2"]

    @pytest.mark.parametrize("age", [0, 120])
    def test_at_the_ends_are_taken(self, tmp_path, age):
        assert ages(add_bids(tmp_path, PEOPLE.replace("61.5", str(age)), "sub-01_T1w")) == {"": age}

    @pytest.mark.parametrize("written", ["n/a", ""])
    def test_that_are_unknown_reject_the_scan_as_in_every_source(self, tmp_path, written):
        root = add_bids(tmp_path, PEOPLE.replace("61.5", written), "sub-01_T1w")
        rejected(root, "sub-01_T1w", "participants.tsv, line 2: sub-01 has no age")
        assert no_ages(root) == [""]

    def test_of_sessions_do_without_participants(self, tmp_path):
        root = add_bids(tmp_path, PEOPLE, "sub-01_ses-1_T1w", "sub-01_ses-2_T1w", "sub-02_ses-1_T1w")
        (root / "participants.tsv").unlink()
        add_sessions(root, "sub-01", "session_id,age,diagnosis\nses-1,62.1,CN\nses-2,n/a,CN\n")
        add_sessions(root, "sub-02", "no table")
        found = read(root)
        assert [(scan.age_years, scan.sex, scan.diagnosis) for scan in found.scans] == [(62.1, "", "CN")]
        assert [one.image for one in found.rejected] == ["sub-01_ses-2_T1w", "sub-02_ses-1_T1w"]
        assert "bids: sub-01 ses-2 has no age" in found.rejected[0].reason
        assert "sub-02_sessions.tsv" in found.rejected[1].reason

    @pytest.mark.parametrize("written", ["-1", "999", "89+", "nan", "61;5", "6_1"])
    def test_that_are_none_reject_the_scan(self, tmp_path, written):
        root = add_bids(tmp_path, PEOPLE.replace("61.5", written), "sub-01_T1w")
        rejected(root, "sub-01_T1w", "participants.tsv, line 2", written)

    @pytest.mark.parametrize(("units", "age"), [("years", 61.5), ("Months", 738), ("days", 22462.875), ("weeks", 3209)])
    def test_in_other_units(self, tmp_path, units, age):
        root = add_bids(tmp_path, PEOPLE.replace("61.5", str(age)), "sub-01_T1w")
        put(root / "participants.json", json.dumps({"age": {"Units": units}}).encode())
        assert ages(root)[""] == pytest.approx(61.5, abs=0.01)

    @pytest.mark.parametrize("content", ['{"age": {"Units": "moons"}}', "{"])
    def test_in_units_that_are_none(self, tmp_path, content):
        root = add_bids(tmp_path, PEOPLE, "sub-01_T1w")
        put(root / "participants.json", content.encode())
        with pytest.raises(MetadataError, match=r"participants\.json"):
            read(root)

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("session_id,days\nses-1,soon\n", '"soon" is not a number'),
            ("session_id,acq_time\nses-1,soon\n", '"soon" is no date'),
            ("session_id,age\nses-1,999\n", "999 years"),
            ("session_id,age\nses-1,61\nses-1,62\n", "there twice"),
            ("session_id,age\nses-1\n", "1 values for 2 columns"),
            ("id,age\nses-1,61\n", 'no column "session_id"'),
            ("", "is empty"),
        ],
    )
    def test_wrong_sessions_reject_that_persons_scan(self, tmp_path, text, words):
        people = PEOPLE + "sub-02,50,M,CN,York\n"
        root = add_bids(tmp_path, people, "sub-01_ses-1_T1w", "sub-02_ses-1_T1w")
        add_sessions(root, "sub-01", text)
        rejected(root, "sub-01_ses-1_T1w", "sub-01_sessions.tsv", words, kept=1)


class TestPeople:
    @pytest.mark.parametrize(("written", "sex"), [("F", "F"), ("male", "M"), ("n/a", ""), ("o", ""), ("Other", "")])
    def test_sex(self, tmp_path, written, sex):
        assert only(read(add_bids(tmp_path, PEOPLE.replace("F", written), "sub-01_T1w"))).sex == sex

    def test_diagnosis_of_the_session_then_of_the_participant_then_the_default(self, tmp_path):
        people = "participant_id,age,diagnosis\nsub-01,60,MCI\nsub-02,60,n/a\n"
        root = add_bids(tmp_path, people, "sub-01_ses-1_T1w", "sub-01_ses-2_T1w", "sub-02_ses-1_T1w")
        add_sessions(root, "sub-01", "session_id,diagnosis,days\nses-1,n/a,0\nses-2,AD,365\n")
        found = read(root, default_diagnosis="CN")
        assert [scan.diagnosis for scan in found.scans] == ["MCI", "AD", "CN"]

    def test_diagnosis_by_the_column_that_is_named(self, tmp_path):
        people = "participant_id,age,group,dx\nsub-01,60,control,CN\n"
        root = add_bids(tmp_path, people, "sub-01_T1w")
        assert only(read(root)).diagnosis == "control"
        assert only(read(root, diagnosis_column="dx")).diagnosis == "CN"

    def test_a_column_that_no_table_has_is_one_error_which_names_those_that_there_are(self, tmp_path):
        root = add_bids(tmp_path, PEOPLE, "sub-01_ses-1_T1w", "sub-01_ses-2_T1w")
        add_sessions(root, "sub-01", "session_id,age,dx\nses-1,61,MCI\nses-2,62,n/a\n")
        words = r'has a column "dxx"; there are age, dx, group, participant_id, session_id, sex, site\. Correct `diagn'
        with pytest.raises(MetadataError, match=words):
            read(root, diagnosis_column="dxx")
        assert [scan.diagnosis for scan in read(root, diagnosis_column="dx").scans] == ["MCI", ""]

    def test_who_is_not_in_the_table(self, tmp_path):
        root = add_bids(tmp_path, PEOPLE, "sub-01_T1w", "sub-02_T1w")
        rejected(root, "sub-02_T1w", "has no sub-02", kept=1)

    def test_who_is_in_it_twice(self, tmp_path):
        root = add_bids(tmp_path, PEOPLE + "sub-01,62,F,CN,York\n", "sub-01_T1w")
        rejected(root, "sub-01_T1w", "sub-01 is in lines 2, 3")
