from __future__ import annotations

import json

import numpy as np
import pytest
from brains import SHAPE, brain, save
from invented_downloads import NNUNET, add_nnunet
from nibabel import Nifti1Image

from brainage_ray.config import NnUnetSource, PreprocessingConfig
from brainage_ray.data.prepare import prepare_scan
from brainage_ray.data.sources.nnunet import NnUnet
from brainage_ray.data.volumes import read_volumes
from brainage_ray.errors import DataError, MetadataError

REGIONS = {"background": 0, "whole tumor": [1, 2, 3], "tumor core": [2, 3], "enhancing tumor": [3]}


def read(root, **about):
    if about:
        path = root / "dataset.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | about))
    return NnUnet(NnUnetSource(kind="nnunet", root=root, cohort="BraTS21")).read()


def refused(root, *words, **about):
    with pytest.raises(MetadataError) as error:
        read(root, **about)
    for word in words:
        assert word in str(error.value)
    assert error.value.fix


def test_every_field_of_a_scan(tmp_path):
    found = read(add_nnunet(tmp_path, "BraTS_001"))
    (scan,) = found.scans
    assert found.rejected == ()
    assert (scan.cohort, scan.subject, scan.session, scan.image) == ("BraTS21", "BraTS_001", "", "BraTS_001")
    names = {modality: path.name for modality, path in scan.files.items()}
    assert names == {m: f"BraTS_001_{i:04d}.nii.gz" for i, m in enumerate(("flair", "t1", "t1ce", "t2"))}
    assert scan.segmentation == tmp_path / "labelsTr" / "BraTS_001.nii.gz"


@pytest.mark.parametrize(
    "names",
    [
        ("FLAIR", "T1w", "T1gd", "T2w"), ("flair", "t1", "t1ce", "t2"), ("T2-FLAIR", "T1", "T1c", "T2"),
        ("t2f", "t1n", "t1c", "t2w"), ("Flair", "T1w", "T1wCE", "T2w"),
    ],
)  # fmt: skip
def test_channels_go_by_name_not_by_number(tmp_path, names):
    flair, *others = names
    channels = dict(zip("0123", (*others, flair), strict=True))
    (scan,) = read(add_nnunet(tmp_path, "A"), channel_names=channels).scans
    assert scan.files["flair"].name == "A_0003.nii.gz"
    assert scan.files["t1"].name == "A_0000.nii.gz"
    assert tuple(scan.files) == ("flair", "t1", "t1ce", "t2")


def test_further_channels_are_left_alone(tmp_path):
    add_nnunet(tmp_path, "A")
    (tmp_path / "imagesTr" / "A_0004.nii.gz").touch()
    found = read(tmp_path, channel_names=NNUNET["channel_names"] | {"4": "ADC"})
    assert len(found.scans) == 1
    assert found.rejected == ()


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (NNUNET["labels"], {0: 0, 1: 2, 2: 1, 3: 3}),
        (REGIONS, {0: 0, 1: 2, 2: 1, 3: 3}),
        ({"background": 0, "NCR": 1, "ED": 2, "ET": 3}, {0: 0, 1: 1, 2: 2, 3: 3}),
        ({"background": 0, "NCR/NET": 1, "edema": 2, "enhancing": 4}, {0: 0, 1: 1, 2: 2, 4: 3}),
        ({"background": 0, "NETC": 1, "SNFH": 2, "ET": 3}, {0: 0, 1: 1, 2: 2, 3: 3}),
        ({"background": 0, "WT": [1, 2, 4], "TC": [1, 4], "ET": 4}, {0: 0, 1: 1, 2: 2, 4: 3}),
        ({"background": 0, "necrotic core": 1, "peritumoral oedema": 2, "enhancing": 3}, {0: 0, 1: 1, 2: 2, 3: 3}),
        ({"background": 0, "label_1": 1, "label_2": 2, "label_3": 3}, {}),
        ({"background": 0, "1": 1, "2": 2, "4": 4}, {}),
    ],
)  # fmt: skip
def test_labels_go_by_name_where_they_have_one(tmp_path, labels, classes):
    (scan,) = read(add_nnunet(tmp_path, "A"), labels=labels).scans
    assert dict(scan.label_classes) == classes


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (None, "no labels"),
        ([1, 2], "no labels"),
        ({"background": 0, "bone": 1}, '"bone"'),
        ({"background": 0, "tumor core": 1}, "tumor core"),
        ({"background": 0, "edema": 1, "necrosis": 2}, "labels has"),
        ({"background": 0, "edema": 1, "necrosis": 2, "enhancing tumor": 2}, "labels has"),
        ({**REGIONS, "enhancing tumor": [1]}, "do not lie in each other"),
        ({**REGIONS, "enhancing tumor": ["3"]}, '"enhancing tumor"'),
        ({"background": 0, "edema": True, "necrosis": 2, "enhancing": 3}, '"edema": True'),
    ],
)
def test_labels_without_meaning_are_refused(tmp_path, labels, words):
    refused(add_nnunet(tmp_path, "A"), "dataset.json", words, labels=labels)


def written(root, values, labels):
    """A case whose label map has the values in blocks, and each image is a brain."""
    blocks = np.zeros(SHAPE, np.uint8)
    for i, value in enumerate(values):
        blocks[10:20, 20 + 3 * i : 23 + 3 * i, 10:20] = value
    images = Nifti1Image(brain(), np.diag([2.0, 2.0, 2.0, 1.0]))
    add_nnunet(root, "A", labels=b"", image=b"")
    for channel in range(4):
        save(root / "imagesTr" / f"A_{channel:04d}.nii.gz", images.get_fdata(dtype=np.float32))
    save(root / "labelsTr" / "A.nii.gz", blocks)
    (scan,) = read(root, labels=labels).scans
    return scan, blocks


@pytest.mark.parametrize(
    ("values", "labels", "classes"),
    [
        ((1, 2, 3), NNUNET["labels"], (2, 1, 3)),
        ((1, 2, 3), {"background": 0, "necrosis": 1, "edema": 2, "enhancing": 3}, (1, 2, 3)),
        ((1, 2, 4), {"background": 0, "necrosis": 1, "edema": 2, "enhancing": 4}, (1, 2, 3)),
        ((1, 2, 4), {"background": 0, "label_1": 1, "label_2": 2, "label_4": 4}, (1, 2, 3)),
        ((1, 2, 3), {"background": 0, "label_1": 1, "label_2": 2, "label_3": 3}, (1, 2, 3)),
    ],
)
def test_voxels_have_the_class_that_the_dataset_says(tmp_path, values, labels, classes):
    scan, blocks = written(tmp_path, values, labels)
    found = read_volumes(scan).labels
    for value, number in zip(values, classes, strict=True):
        assert (found[blocks == value] == number).all()
    assert (found[blocks == 0] == 0).all()


def test_a_value_that_the_dataset_does_not_name_is_refused(tmp_path):
    scan, _ = written(tmp_path, (1, 2, 4), NNUNET["labels"])
    with pytest.raises(DataError, match="has the label 4"):
        read_volumes(scan)


def test_the_same_files_under_another_meaning_are_cut_again(tmp_path):
    config = PreprocessingConfig(slice_range_mm=(16.0, 56.0), slice_shape=(48, 40))
    first, _ = written(tmp_path, (1, 2, 3), NNUNET["labels"])
    (second,) = read(tmp_path, labels={"background": 0, "necrosis": 1, "edema": 2, "enhancing": 3}).scans
    keys = {prepare_scan(scan, config, tmp_path / "cache").key for scan in (first, second)}
    assert len(keys) == 2


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ({"file_ending": ".mha"}, ["file_ending", ".mha"]),
        ({"channel_names": {"0": "T1"}}, ["no flair", "T1"]),
        ({"channel_names": {"0": "T1", "1": "T1w", "2": "FLAIR", "3": "T2"}}, ["second t1"]),
        ({"channel_names": ["T1"]}, ["no channel_names"]),
        ({"modality": {"0": "FLAIR"}}, ["nnUNetv2_convert_old_nnUNet_dataset"]),
        ({"dataset": {}}, ['"dataset"', "imagesTr"]),
    ],
)
def test_what_the_dataset_must_say(tmp_path, about, words):
    refused(add_nnunet(tmp_path, "A"), "dataset.json", *words, **about)


@pytest.mark.parametrize("file", ["labelsTr/B.nii.gz", "imagesTr/B_0000.nii.gz", "imagesTr/B_0003.nii.gz"])
def test_a_case_without_all_its_files_is_rejected(tmp_path, file):
    add_nnunet(tmp_path, "A", "B")
    (tmp_path / file).unlink()
    found = read(tmp_path)
    assert [(r.subject, r.image) for r in found.rejected] == [("B", "B")]
    assert file in found.rejected[0].reason
    assert [scan.image for scan in found.scans] == ["A"]


def test_a_case_that_is_missing_altogether_is_missed(tmp_path):
    found = read(add_nnunet(tmp_path, "A", "B"), numTraining=3)
    assert "numTraining 3, but there are 2" in found.rejected[0].reason
    assert len(found.scans) == 2
    assert not read(tmp_path, numTraining="2").rejected


@pytest.mark.parametrize(
    "name", ["imagesTr/A.nii.gz", "imagesTr/A_0.nii.gz", "labelsTr/notes.txt", "imagesTr/A_0000.nii"]
)
def test_a_file_that_belongs_to_no_case_is_on_the_record(tmp_path, name):
    add_nnunet(tmp_path, "A")
    (tmp_path / name).touch()
    (tmp_path / "imagesTr" / ".DS_Store").touch()
    assert [rejected.image for rejected in read(tmp_path).rejected] == [name]


@pytest.mark.parametrize("name", ["dataset.json", "imagesTr", "labelsTr"])
def test_what_must_be_there(tmp_path, name):
    add_nnunet(tmp_path, "A")
    (tmp_path / name).rename(tmp_path / "elsewhere")
    refused(tmp_path, name)
