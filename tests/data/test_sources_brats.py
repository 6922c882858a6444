from __future__ import annotations

from pathlib import Path

import pytest

from brainage_ray.config import BratsSource
from brainage_ray.data.sources.brats import Brats
from brainage_ray.errors import MetadataError

KINDS = ("flair", "t1", "t1ce", "t2", "seg")


def add_case(root: Path, name: str, suffix: str = ".nii.gz") -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    for kind in KINDS:
        (folder / f"{name}_{kind}{suffix}").touch()
    return folder


def read(root: Path):
    found = Brats(BratsSource(kind="brats", root=root)).read()
    assert not found.rejected
    return found.scans


def rejected(root: Path, image: str, *words: str, kept=()) -> None:
    found = Brats(BratsSource(kind="brats", root=root)).read()
    assert [one.image for one in found.rejected] == [image]
    for word in words:
        assert word in found.rejected[0].reason
    assert [scan.image for scan in found.scans] == list(kept)


def refused(root: Path, *words: str) -> None:
    with pytest.raises(MetadataError) as error:
        read(root)
    for word in words:
        assert word in str(error.value)
    assert error.value.fix


def test_every_field_of_a_scan(tmp_path):
    case = add_case(tmp_path, "BraTS20_Training_001")
    (scan,) = read(tmp_path)
    assert (scan.cohort, scan.subject, scan.image) == ("BraTS", "BraTS20_Training_001", "BraTS20_Training_001")
    assert (scan.session, scan.age_years, scan.person) == ("", None, "BraTS/BraTS20_Training_001")
    assert tuple(scan.files) == ("flair", "t1", "t1ce", "t2")
    assert scan.files["t1"] == case / "BraTS20_Training_001_t1.nii.gz"
    assert scan.segmentation == case / "BraTS20_Training_001_seg.nii.gz"


def test_uncompressed_files(tmp_path):
    add_case(tmp_path, "BRATS_009", ".nii")
    assert read(tmp_path)[0].segmentation.name == "BRATS_009_seg.nii"


def test_cases_are_ordered_and_other_files_left_alone(tmp_path):
    add_case(tmp_path, "B2")
    add_case(tmp_path, "B1")
    (tmp_path / "name_mapping.csv").touch()
    (tmp_path / ".cache").mkdir()
    assert [scan.subject for scan in read(tmp_path)] == ["B1", "B2"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_file_is_named(tmp_path, kind):
    (add_case(tmp_path, "B1") / f"B1_{kind}.nii.gz").unlink()
    add_case(tmp_path, "B2")
    rejected(tmp_path, "B1", f"B1_{kind}.nii.gz", str(tmp_path / "B1"), kept=["B2"])


def test_a_file_under_another_name_is_shown(tmp_path):
    case = add_case(tmp_path, "BraTS20_Training_355", ".nii")
    (case / "BraTS20_Training_355_seg.nii").rename(case / "W39_1998.09.19_Segm.nii")
    rejected(tmp_path, "BraTS20_Training_355", "BraTS20_Training_355_seg.nii", "W39_1998.09.19_Segm.nii", "Rename")


def test_an_empty_case_does_not_vanish(tmp_path):
    add_case(tmp_path, "B1")
    (tmp_path / "B2").mkdir()
    rejected(tmp_path, "B2", "B2_flair.nii.gz", "holds nothing", kept=["B1"])


def test_a_file_that_is_there_in_two_forms(tmp_path):
    (add_case(tmp_path, "B1") / "B1_t1.nii").touch()
    rejected(tmp_path, "B1", "B1_t1.nii.gz is there a second time")


def test_an_image_outside_a_case_does_not_vanish(tmp_path):
    add_case(tmp_path, "B1")
    (tmp_path / "B2_t1.nii.gz").touch()
    rejected(tmp_path, "B2_t1.nii.gz", "lies in no folder", kept=["B1"])


def test_no_cases(tmp_path):
    refused(tmp_path, "holds no folders", str(tmp_path))


def test_no_folder(tmp_path):
    refused(tmp_path / "nowhere", "no folder", "nowhere")
    (tmp_path / "file").touch()
    refused(tmp_path / "file", "is no folder")


@pytest.mark.shared_data
def test_real_cases(shared_data):
    scans = read(shared_data / "brats_msd")
    assert [scan.subject for scan in scans] == ["BRATS_009", "BRATS_119"]
