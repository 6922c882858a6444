from __future__ import annotations

import os
import stat
import sys

import numpy as np
import pytest
from heads import head, template_config, turned

from brainage_ray.config import PreprocessingConfig
from brainage_ray.data.anatomy import dice
from brainage_ray.data.anatomy.extraction import make_extraction, refine
from brainage_ray.data.anatomy.templates import load_template
from brainage_ray.errors import DataError, EngineError

MASKS = """
import sys, nibabel as nib, numpy as np
image = nib.load(sys.argv[sys.argv.index("-i") + 1])
mask = (image.get_fdata() > 35).astype(np.uint8)
nib.save(nib.Nifti1Image(mask, image.affine), {out})
"""
FAILS = "import sys; sys.exit('no weights and no network')"
OUT = {
    "hd_bet": ("hd-bet", 'sys.argv[sys.argv.index("-o") + 1].replace(".nii.gz", "_bet.nii.gz")'),
    "synthstrip": ("mri_synthstrip", 'sys.argv[sys.argv.index("-m") + 1]'),
}


def extraction(kind):
    return make_extraction(PreprocessingConfig(brain_extraction=kind, slice_origin="brain_top"))


def install(folder, monkeypatch, name, code):
    """Put a program of that name, in Python, on the PATH."""
    folder.mkdir(exist_ok=True)
    program = folder / name
    program.write_text(f"#!{sys.executable}\n{code}")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.parametrize("kind", OUT)
def test_a_program_is_given_the_head_and_its_mask_is_read(tmp_path, monkeypatch, kind):
    name, out = OUT[kind]
    install(tmp_path / "bin", monkeypatch, name, MASKS.format(out=out))
    image, _ = head()
    np.testing.assert_array_equal(extraction(kind).mask(image), image.array > 35)


@pytest.mark.parametrize("kind", OUT)
def test_what_a_program_says_before_it_fails_is_in_the_error(tmp_path, monkeypatch, kind):
    install(tmp_path / "bin", monkeypatch, OUT[kind][0], FAILS)
    with pytest.raises(DataError, match="no weights and no network"):
        extraction(kind).mask(head()[0])


@pytest.mark.parametrize(
    ("kind", "fix"), [("hd_bet", r"pip install 'brainage_ray\[hd-bet\]'"), ("synthstrip", "FreeSurfer")]
)
def test_a_program_that_is_not_there_is_named_with_its_installation(monkeypatch, kind, fix):
    monkeypatch.setenv("PATH", "")
    for ask in (extraction(kind).about, lambda: extraction(kind).mask(head()[0])):
        with pytest.raises(EngineError, match=rf"{OUT[kind][0]} is not installed.*{fix}"):
            ask()


def test_the_version_of_a_program_is_on_the_record(tmp_path, monkeypatch):
    install(tmp_path / "bin", monkeypatch, "mri_synthstrip", FAILS)
    assert "mri_synthstrip sha256:" in extraction("synthstrip").about()
    (tmp_path / "build-stamp.txt").write_text("freesurfer-linux-7.4.1\n")
    assert extraction("synthstrip").about() == "brain extraction synthstrip (mri_synthstrip freesurfer-linux-7.4.1)"


def test_the_template_way_names_all_that_it_stands_on(tmp_path):
    about = make_extraction(template_config(tmp_path, brain_extraction="template")).about()
    assert about.startswith("brain extraction template (brainextractor 0.")
    assert "antspyx 0." in about
    assert "template.nii.gz sha256:" in about


def test_stripped_scans_need_no_extraction():
    assert make_extraction(PreprocessingConfig()) is None


def test_a_rough_brain_becomes_a_good_one(tmp_path, monkeypatch):
    """What BET takes for the brain of a head may hold much of its neck and scalp."""
    monkeypatch.setattr("brainage_ray.data.anatomy.registration.WORKING_MM", 4.0)
    image, truth = head(turned(scale=(1.04, 0.96, 1.02)))
    rough = image.array > 35
    found = refine(image, rough, load_template(template_config(tmp_path)))
    assert dice(rough, truth) < 0.75
    assert dice(found, truth) > 0.9
