from __future__ import annotations

import gzip

import nibabel as nib
import numpy as np
import pytest

from brainage_ray.data.contents import ContentCache, content_hash, contents_of, images_of
from brainage_ray.data.prepare import prepare_scan
from brainage_ray.errors import DataError

AFFINE = np.array([[2.0, 0, 0, -20], [0, 2.5, 0, 7], [0, 0, 3, 1], [0, 0, 0, 1]])
VOXELS = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)


@pytest.fixture
def file(tmp_path):
    nib.save(nib.Nifti1Image(VOXELS, AFFINE), tmp_path / "a.nii")
    return tmp_path / "a.nii"


def packed(file, level):
    path = file.with_name(f"level{level}.nii.gz")
    path.write_bytes(gzip.compress(file.read_bytes(), level, mtime=level))
    return path


def saved(file, voxels, affine, name):
    nib.save(nib.Nifti1Image(voxels, affine), file.with_name(name))
    return file.with_name(name)


def test_a_copy_is_the_same_however_it_is_packed_typed_or_turned(file):
    flipped = AFFINE @ np.array([[-1, 0, 0, 3], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    copies = [
        packed(file, 1), packed(file, 9),
        saved(file, VOXELS.astype(np.float64), AFFINE, "float.nii.gz"),
        saved(file, VOXELS[::-1], flipped, "flipped.nii"),
        saved(file, VOXELS[..., None], AFFINE, "four.nii"),
    ]  # fmt: skip
    assert {content_hash(path) for path in copies} == {content_hash(file)}


def test_one_voxel_or_one_shift_makes_another_content(file):
    changed = VOXELS.copy()
    changed[1, 2, 3] += 1
    moved = AFFINE.copy()
    moved[0, 3] += 0.5
    others = [saved(file, changed, AFFINE, "v.nii"), saved(file, VOXELS, moved, "m.nii")]
    assert len({content_hash(path) for path in [file, *others]}) == 3


def test_what_cannot_be_read_is_said_and_has_no_hash_in_the_cache(file, tmp_path):
    broken = file.with_name("broken.nii.gz")
    broken.write_bytes(packed(file, 9).read_bytes()[:40])
    with pytest.raises(DataError, match=r"broken\.nii\.gz cannot be read"):
        content_hash(broken)
    found = ContentCache(tmp_path / "cache" / "c.jsonl").hash_all([file, broken, tmp_path / "none.nii"])
    assert found == {file: content_hash(file), broken: "", tmp_path / "none.nii": ""}


def test_a_file_is_hashed_once_and_again_when_it_changes(file, tmp_path, monkeypatch):
    cache = tmp_path / "cache" / "c.jsonl"
    first = ContentCache(cache).hash_all([file, file])
    cache.write_text(cache.read_text() + '["half a li')  # a kill
    with monkeypatch.context() as patch:
        patch.setattr("brainage_ray.data.contents.content_hash", lambda _: pytest.fail("hashed again"))
        assert ContentCache(cache).hash_all([file]) == first
    nib.save(nib.Nifti1Image(VOXELS[:3], AFFINE), file)
    assert ContentCache(cache).hash_all([file]) == {file: content_hash(file)} != first


def test_preparation_keeps_the_contents_and_redoes_what_was_made_before_there_were_any(scan, config, tmp_path):
    prepared = prepare_scan(scan, config, tmp_path / "cache")
    assert prepared.contents == contents_of(scan) == (content_hash(images_of([scan])[0]),)
    (about,) = (tmp_path / "cache").rglob("*.json")
    about.write_text(about.read_text().replace('"contents"', '"older"'))
    assert prepare_scan(scan, config, tmp_path / "cache") == prepared
    assert '"contents"' in about.read_text()


def test_a_tumour_case_has_a_content_for_each_modality(tumour):
    assert len(set(contents_of(tumour))) == 4
