from __future__ import annotations

from unittest.mock import Mock

import nibabel as nib
import numpy as np
import pytest
from brains import SHAPE, brain, save, scan_of

from brainage_ray.data.volumes import read_volumes
from brainage_ray.errors import DataError

GRID = np.diag([2.0, 2.0, 2.0, 1.0])


def refused(path, *words):
    with pytest.raises(DataError) as caught:
        read_volumes(scan_of(path))
    for word in (str(path), *words):
        assert word in caught.value.problem
    assert caught.value.fix.endswith(".")


def coded(path, sform, qform, make=nib.Nifti1Image):
    image = make(brain(), GRID)
    image.set_sform(GRID, code=sform)
    image.set_qform(GRID, code=qform)
    nib.save(image, path)
    return path


@pytest.mark.parametrize("make", [nib.Nifti1Image, nib.Nifti2Image])
def test_a_nifti_that_does_not_say_where_up_is_is_refused(tmp_path, make):
    """nibabel would invent an orientation for it, and the slices would be cut along a guessed axis."""
    refused(coded(tmp_path / "a.nii.gz", 0, 0, make), "no orientation", "sform_code and qform_code are 0")


def test_a_nifti_without_orientation_is_refused_with_a_trailing_axis_too(tmp_path):
    image = nib.Nifti1Image(brain()[..., None], GRID)
    image.set_sform(None, code=0)
    image.set_qform(None, code=0)
    nib.save(image, tmp_path / "a.nii")
    refused(tmp_path / "a.nii", "no orientation")


@pytest.mark.parametrize("codes", [(1, 1), (0, 2), (2, 0), (4, 0)])
def test_one_code_is_enough(tmp_path, codes):
    volumes = read_volumes(scan_of(coded(tmp_path / "a.nii.gz", *codes)))
    np.testing.assert_array_equal(volumes.images[0], brain())


@pytest.mark.parametrize("make", [nib.AnalyzeImage, nib.Spm99AnalyzeImage, nib.Spm2AnalyzeImage])
def test_analyze_carries_no_orientation(tmp_path, make):
    nib.save(make(brain(), None), tmp_path / "a.img")
    refused(tmp_path / "a.img", "no orientation", "Analyze")


def test_freesurfer_files_are_read(tmp_path):
    nib.save(nib.MGHImage(brain(), GRID), tmp_path / "a.mgz")
    np.testing.assert_array_equal(read_volumes(scan_of(tmp_path / "a.mgz")).images[0], brain())


def test_a_brain_without_a_voxel_above_0_has_lost_its_scale(tmp_path):
    """Of z-scored images some voxels are above 0; those may pass."""
    nib.save(nib.Nifti1Image(-brain(), GRID), tmp_path / "a.nii.gz")
    refused(tmp_path / "a.nii.gz", "no voxel above 0")
    scored = np.where(brain() > 0, brain() - np.median(brain()[brain() > 0]), 0)
    nib.save(nib.Nifti1Image(scored, GRID), tmp_path / "b.nii.gz")
    assert read_volumes(scan_of(tmp_path / "b.nii.gz")).images[0].min() < 0


def test_colours_are_no_brightness(tmp_path):
    colours = np.zeros(SHAPE, np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    colours["R"] = brain()
    refused(save(tmp_path / "a.nii.gz", colours), "voxels of the type", "R")


def test_complex_voxels_do_not_lose_their_imaginary_part_unsaid(tmp_path):
    refused(save(tmp_path / "a.nii.gz", brain().astype(np.complex64)), "complex64")


@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.uint16, np.float64])
def test_numbers_of_any_width_are_read(tmp_path, dtype):
    array = np.clip(np.rint(brain()), 0, 255).astype(dtype)
    volumes = read_volumes(scan_of(save(tmp_path / "a.nii.gz", array)))
    np.testing.assert_array_equal(volumes.images[0], array)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_header_that_claims_more_than_fits_in_memory(tmp_path, suffix):
    header = nib.Nifti1Header()
    header.set_data_dtype(np.float32)
    header["dim"][:4] = 3, 32767, 32767, 32767
    header.set_sform(GRID, code=1)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    path = tmp_path / f"a{suffix}"
    with nib.openers.Opener(str(path), "wb") as file:
        file.write(header.binaryblock + bytes(1000))
    refused(path, "claims 32767 x 32767 x 32767 voxels")


def test_a_volume_for_which_there_is_no_memory_names_the_setting(tmp_path, monkeypatch):
    path = save(tmp_path / "a.nii", brain())
    monkeypatch.setattr(nib, "as_closest_canonical", Mock(side_effect=MemoryError("Unable to allocate 7 GiB")))
    with pytest.raises(DataError, match=r"a\.nii is too large for the memory: Unable .*Raise resources\.memory_gib"):
        read_volumes(scan_of(path))


@pytest.mark.parametrize("error", [ValueError(), TypeError("odd"), OverflowError("too large")])
def test_whatever_nibabel_raises_on_a_damaged_file_names_it(tmp_path, monkeypatch, error):
    path = save(tmp_path / "a.nii", brain())

    def fail(_):
        raise error

    monkeypatch.setattr(nib, "load", fail)
    refused(path, f"cannot be read: {str(error) or 'ValueError'}")
