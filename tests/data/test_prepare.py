from __future__ import annotations

import errno
import json
import pickle
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import numpy as np
import pytest
from brains import brain, save, scan_of

from brainage_ray.config import PreprocessingConfig
from brainage_ray.data import prepare
from brainage_ray.data.anatomy import Anatomy
from brainage_ray.data.prepare import PreparedScan, prepare_scan
from brainage_ray.data.preprocessing import PREPROCESSING_VERSION, preprocess_scan
from brainage_ray.errors import DataError, NoSpaceError


def files_of(cache):
    return {p.relative_to(cache): p.stat().st_mtime_ns for p in sorted(cache.rglob("*")) if p.is_file()}


def test_the_files_hold_the_slices(scan, config, tmp_path):
    prepared = prepare_scan(scan, config, tmp_path / "cache")
    slices = preprocess_scan(scan, config)
    np.testing.assert_array_equal(np.load(prepared.images), slices.images)
    assert prepared.labels is None
    assert prepared.positions_mm == tuple(slices.positions_mm)
    assert prepared.n_slices == 20
    assert prepared.brain_volume_ml == slices.brain_volume_ml
    assert prepared.images.parent == tmp_path / "cache" / prepared.key[:2]


def test_labels_of_a_tumour_case(tumour, config, tmp_path):
    prepared = prepare_scan(tumour, config, tmp_path / "cache")
    np.testing.assert_array_equal(np.load(prepared.labels), preprocess_scan(tumour, config).labels)
    assert np.load(prepared.images).shape[1] == 4


def test_the_second_time_nothing_is_computed(scan, config, tmp_path, monkeypatch):
    first = prepare_scan(scan, config, tmp_path / "cache")
    before = files_of(tmp_path / "cache")
    monkeypatch.setattr(prepare, "preprocess_scan", lambda *_: pytest.fail("computed again"))
    assert prepare_scan(scan, config, tmp_path / "cache") == first
    assert files_of(tmp_path / "cache") == before


def test_the_key_is_of_bytes_settings_and_version(scan, config, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    key = prepare_scan(scan, config, cache).key
    moved = save(tmp_path / "elsewhere.nii.gz", brain())
    moved.write_bytes(scan.files["t1"].read_bytes())
    assert prepare_scan(scan_of(moved, subject="S2"), config, cache).key == key, "not of the name"
    image = brain()
    image[20, 20, 20] += 1
    other = scan_of(save(tmp_path / "other.nii.gz", image))
    assert prepare_scan(other, config, cache).key != key
    assert prepare_scan(scan, config.model_copy(update={"slice_step_mm": 4.0}), cache).key != key
    monkeypatch.setattr(prepare, "PREPROCESSING_VERSION", 999)
    assert prepare_scan(scan, config, cache).key != key


def test_json_round_trip(tumour, scan, config, tmp_path):
    for one in (tumour, scan):
        prepared = prepare_scan(one, config, tmp_path / "cache")
        assert PreparedScan.from_json(json.loads(json.dumps(prepared.to_json()))) == prepared
        assert pickle.loads(pickle.dumps(prepared)) == prepared


@pytest.mark.parametrize("damage", ["json missing", "json cut", "array missing", "array cut"])
def test_a_damaged_cache_is_written_anew(scan, config, tmp_path, damage):
    cache = tmp_path / "cache"
    prepared = prepare_scan(scan, config, cache)
    path = prepared.images if "array" in damage else prepared.images.with_name(f"{prepared.key}.json")
    content = path.read_bytes()
    path.unlink()
    if "cut" in damage:
        path.write_bytes(content[:100])
    assert prepare_scan(scan, config, cache) == prepared
    assert path.read_bytes() == content


def test_a_kill_between_the_files_leaves_nothing_that_counts(scan, config, tmp_path, monkeypatch):
    """The JSON file is the last: a process that dies before it loses this one scan."""
    cache = tmp_path / "cache"

    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(prepare.json, "dumps", die)
        patch.setattr(prepare, "digest", lambda *_: "0123456789abcdef")
        with pytest.raises(KeyboardInterrupt):
            prepare_scan(scan, config, cache)
    assert [p.suffix for p in files_of(cache)] == [".npy"]
    monkeypatch.setattr(prepare, "digest", lambda *_: "0123456789abcdef")
    assert prepare_scan(scan, config, cache).n_slices == 20


def test_a_full_disk_names_the_folder(scan, config, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(prepare, "write_array", full)
    with pytest.raises(NoSpaceError, match=r"cache.*Free some"):
        prepare_scan(scan, config, tmp_path / "cache")
    assert not files_of(tmp_path / "cache")


@pytest.mark.parametrize("which", ["t1", "segmentation"])
def test_a_missing_file_is_named(tumour, config, tmp_path, which):
    gone = tmp_path / "gone.nii.gz"
    changed = {"files": {**tumour.files, "t1": gone}} if which == "t1" else {"segmentation": gone}
    with pytest.raises(DataError, match=r"gone\.nii\.gz of B T1 cannot be read"):
        prepare_scan(replace(tumour, **changed), config, tmp_path / "cache")


def test_a_scan_that_fails_leaves_no_file(config, tmp_path):
    scan = scan_of(save(tmp_path / "empty.nii.gz", np.zeros((40, 48, 36), np.float32)))
    with pytest.raises(DataError, match=r"empty\.nii\.gz"):
        prepare_scan(scan, config, tmp_path / "cache")
    assert not files_of(tmp_path / "cache")


def test_two_processes_at_once(scan, config, tmp_path):
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        tasks = [pool.submit(prepare_scan, scan, config, tmp_path / "cache") for _ in range(4)]
        results = [task.result() for task in tasks]
    assert len(set(results)) == 1
    assert len(files_of(tmp_path / "cache")) == 2
    np.testing.assert_array_equal(np.load(results[0].images), preprocess_scan(scan, config).images)


def test_a_prepared_scan_keeps_its_steps_and_its_overlap_with_the_template(scan, config, tmp_path):
    plain = prepare_scan(scan, config, tmp_path / "cache")
    assert plain.steps == (f"slices {PREPROCESSING_VERSION}",)
    assert plain.template_dice is None
    assert PreparedScan.from_json(json.loads(json.dumps(plain.to_json()))) == plain


def test_another_version_of_a_step_is_another_key(scan, config, tmp_path, monkeypatch):
    plain = prepare_scan(scan, config, tmp_path / "cache")
    monkeypatch.setattr(prepare, "preprocessing_steps", lambda *_: ("registration affine (antspyx 9)", "slices 2"))
    assert prepare_scan(scan, config, tmp_path / "cache").key != plain.key


def test_a_template_elsewhere_with_the_same_content_is_the_same_key(scan, tmp_path, monkeypatch):
    """The anatomical steps are tested elsewhere; here they leave the brain as it is."""
    monkeypatch.setattr("brainage_ray.data.preprocessing.apply_anatomy", lambda image, config: Anatomy(image, 0.93))
    keys = []
    for name, values in (("a", brain()), ("b", brain()), ("c", brain() * 2)):
        template = save(tmp_path / name / "template.nii.gz", values)
        config = PreprocessingConfig(
            registration="affine", template=template, slice_range_mm=(16.0, 56.0), slice_shape=(48, 40)
        )
        prepared = prepare_scan(scan, config, tmp_path / "cache")
        assert prepared.template_dice == 0.93
        keys.append(prepared.key)
    assert keys[0] == keys[1] != keys[2]


def test_a_case_with_a_segmentation_goes_in_as_released(tumour, config, tmp_path):
    wanted = config.model_copy(update={"registration": "affine", "bias_correction": "n4"})
    prepared = prepare_scan(tumour, wanted, tmp_path / "cache")
    assert prepared.steps == (f"slices {PREPROCESSING_VERSION}",)
    assert prepared.template_dice is None


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.ones((9, 9, 9), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])), "no colours"),
        (np.ones((9, 9), np.float32), "not three dimensions"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_in_words_before_its_content_is_compared(array, words, config, tmp_path):
    path = save(tmp_path / "a.nii.gz", array)
    with pytest.raises(DataError, match=words):
        prepare_scan(scan_of(path), config, tmp_path / "cache")
