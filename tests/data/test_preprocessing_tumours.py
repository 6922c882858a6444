from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from brains import brain, save, write_tumour

from brainage_ray.config import PreprocessingConfig
from brainage_ray.data.preprocessing import preprocess_scan
from brainage_ray.data.scan import Scan
from brainage_ray.errors import DataError


def test_segmentation_channels_classes_and_gaps(tumour, config):
    slices = preprocess_scan(tumour, config)
    n = len(slices.images)
    assert slices.images.shape == (n, 4, 48, 40)
    assert slices.labels.shape == (n, 48, 40)
    assert slices.labels.dtype == np.uint8
    assert set(np.unique(slices.labels)) == {0, 1, 2, 3}
    assert not {24, 26, 40} & set(slices.positions_mm.tolist()), "empty slices drop out"
    assert {22, 28, 38, 42} <= set(slices.positions_mm.tolist()), "their neighbours stay"
    covers = (slices.images != 0).any(axis=1).mean(axis=(1, 2))
    assert covers.min() >= 0.02


def test_each_modality_is_standardised_by_itself_in_the_written_order(tumour, config):
    images = preprocess_scan(tumour, config).images.astype(np.float64)
    swapped = replace(tumour, files={**tumour.files, "t1": tumour.files["t2"], "t2": tumour.files["t1"]})
    np.testing.assert_array_equal(preprocess_scan(swapped, config).images[:, 1], images[:, 3])
    for channel in range(4):
        inside = images[:, channel][images[:, channel] != 0]
        assert inside.std() == pytest.approx(1, abs=0.05)


def test_labels_keep_their_geometry_on_a_finer_grid(tumour, config, tmp_path):
    """A coarser copy of the same case: labels by nearest neighbour, gaps not smeared over."""
    fine = {name: nib.load(path) for name, path in [*tumour.files.items(), ("seg", tumour.segmentation)]}
    paths = {}
    for name, image in fine.items():
        array = np.asarray(image.dataobj).repeat(2, 0).repeat(2, 1).repeat(2, 2)
        paths[name] = save(tmp_path / f"fine_{name}.nii", array, np.diag([1.0, 1, 1, 1]))
    segmentation = paths.pop("seg")
    slices = preprocess_scan(replace(tumour, files=paths, segmentation=segmentation), config)
    expected = preprocess_scan(tumour, config)
    np.testing.assert_array_equal(slices.positions_mm, expected.positions_mm)
    np.testing.assert_array_equal(slices.labels, expected.labels)


def test_enhancing_tumour_is_4_or_3(tmp_path, config):
    old = preprocess_scan(write_tumour(tmp_path, "old"), config)
    new = preprocess_scan(write_tumour(tmp_path, "new", values=(2, 1, 3)), config)
    np.testing.assert_array_equal(old.labels, new.labels)


@pytest.mark.parametrize(("values", "says"), [((2, 1, 5), "has the label 5"), ((3, 1, 4), "labels 3 and 4")])
def test_unknown_labels_are_refused(tmp_path, config, values, says):
    scan = write_tumour(tmp_path, "odd", values=values)
    with pytest.raises(DataError, match=says) as caught:
        preprocess_scan(scan, config)
    assert str(scan.segmentation) in str(caught.value)


def test_files_of_a_case_share_a_grid(tumour, config, tmp_path):
    moved = save(tmp_path / "t2.nii.gz", brain(), np.diag([2.0, 2.0, 2.5, 1.0]))
    with pytest.raises(DataError, match="not on the grid of") as caught:
        preprocess_scan(replace(tumour, files={**tumour.files, "t2": moved}), config)
    assert str(moved) in str(caught.value)


def test_a_missing_modality_is_named(tumour, config):
    files = {name: path for name, path in tumour.files.items() if name != "t1ce"}
    with pytest.raises(DataError, match="B T1 has no t1ce image"):
        preprocess_scan(replace(tumour, files=files), config)


@pytest.mark.shared_data
def test_a_real_tumour_with_gaps(shared_data):
    folder = shared_data / "brats_msd" / "BRATS_009"
    files = {name: folder / f"BRATS_009_{name}.nii.gz" for name in ("flair", "t1", "t1ce", "t2")}
    scan = Scan("B", "BRATS_009", "", "BRATS_009", files, folder / "BRATS_009_seg.nii.gz")
    slices = preprocess_scan(scan, PreprocessingConfig())
    valid = [*range(63, 90), 93, 94, *range(97, 109), 110, 111, 112]
    assert slices.positions_mm.tolist() == [z for z in valid if z % 2 == 0]
    labels = np.asarray(nib.load(folder / "BRATS_009_seg.nii.gz").dataobj)[:, :, [z for z in valid if z % 2 == 0]]
    for value, label in ((1, 1), (2, 2), (3, 4)):
        ours = (slices.labels == value).sum() * 8
        assert ours == pytest.approx((labels == label).sum() * 2, rel=0.05), "the volume of each class, mm3"
