"""Files, folders, BIDS datasets and tables, as somebody names them on the command line."""

from __future__ import annotations

import pytest
from brains import brain, save

from brainage_ray.config import PreprocessingConfig
from brainage_ray.data.given import find_given
from brainage_ray.data.prepare_given import prepare_given
from brainage_ray.errors import DataError


@pytest.fixture
def scan(tmp_path):
    return save(tmp_path / "scans" / "deep" / "a.nii.gz", brain())


def test_a_file_and_a_folder(scan, tmp_path):
    save(tmp_path / "scans" / "b.nii", brain())
    (tmp_path / "scans" / ".hidden.nii.gz").touch()
    assert [given.image.name for given in find_given([scan, tmp_path / "scans"])] == ["a.nii.gz", "b.nii", "a.nii.gz"]
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="holds no image"):
        find_given([tmp_path / "none"])


def test_a_table_with_ages_and_bad_rows(scan, tmp_path):
    table = tmp_path / "scans.csv"
    rows = [
        "image,age,sex,subject,other",
        "scans/deep/a.nii.gz,70.5,f,S1,x",
        "b.nii,,n/a,n/a,",
        "c.nii,old,,S3,",
        ",50,,S4,",
    ]
    table.write_text("\n".join(rows) + "\n")
    known, unknown, wrong, empty = find_given([table])
    assert known.image == scan
    assert (known.age_years, known.sex, known.subject, known.error) == (70.5, "F", "S1", "")
    assert (unknown.age_years, unknown.sex, unknown.subject, unknown.error) == (None, "", "", "")
    assert 'the age is "old"' in wrong.error
    assert wrong.image == tmp_path / "c.nii"
    assert "image is empty" in empty.error


def test_a_bids_dataset_with_an_age_that_nobody_knows(tmp_path):
    for name in ("sub-01", "sub-02"):
        save(tmp_path / name / "anat" / f"{name}_T1w.nii.gz", brain())
        save(tmp_path / name / "anat" / f"{name}_T2w.nii.gz", brain())
    (tmp_path / "dataset_description.json").write_text("{}")
    assert [given.age_years for given in find_given([tmp_path])] == [None, None]
    (tmp_path / "participants.tsv").write_text("participant_id\tage\tsex\nsub-01\t61\tF\nsub-02\tn/a\tM\n")
    first, second = find_given([tmp_path])
    assert (first.subject, first.age_years, first.sex) == ("sub-01", 61.0, "F")
    assert (second.subject, second.age_years, second.sex) == ("sub-02", None, "M")


def test_a_head_cannot_go_where_slices_are_counted_from_a_grid(tmp_path):
    head = save(tmp_path / "head.nii.gz", brain(shape=(100, 110, 90)) + 1)
    with pytest.raises(DataError, match=r"whole head.*grid of a template"):
        prepare_given(head, PreprocessingConfig(), tmp_path)


def test_a_brain_is_not_stripped_again(tmp_path):
    path = save(tmp_path / "brain.nii.gz", brain())
    made = {"slice_origin": "brain_top", "slice_range_mm": (0.0, 50.0)}
    stripped = prepare_given(path, PreprocessingConfig(brain_extraction="template", **made), tmp_path)
    assert stripped.note == "no brain extraction: the scan is stripped already"
    plain = prepare_given(path, PreprocessingConfig(**made), tmp_path)
    assert plain.note == ""
    assert plain.appearance == stripped.appearance
    assert plain.prepared.voxel_mm == 2.0
