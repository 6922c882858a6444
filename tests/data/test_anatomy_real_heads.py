"""Two whole heads of IXI, one from before and one from behind in docs/decisions/0009; the reference is their brains."""

from __future__ import annotations

import json

import numpy as np
import pytest
from brains import scan_of

from brainage_ray.config import PreprocessingConfig
from brainage_ray.data.anatomy import Image, dice
from brainage_ray.data.anatomy import extraction as anatomy_extraction
from brainage_ray.data.anatomy.chain import apply_anatomy
from brainage_ray.data.prepare import prepare_scan
from brainage_ray.data.preprocessing import PREPROCESSING_VERSION
from brainage_ray.data.volumes import read_image

HEAD = "IXI556-HH-2452"
"""Of the eight, the one that comes out worst; `python -m benchmarks.preprocessing_chains` does all."""
CONFIG = PreprocessingConfig(
    brain_extraction="template", registration="affine", slice_range_mm=(50.0, 130.0), slice_shape=(96, 80)
)


@pytest.mark.slow
@pytest.mark.shared_data
def test_a_real_head_comes_out_stripped_and_aligned(shared_data, tmp_path, monkeypatch):
    path = shared_data / "ixi" / "t1_head" / f"{HEAD}_T1.nii.gz"
    brain, affine = read_image(shared_data / "ixi" / "t1_brain" / f"{HEAD}_T1_brain.nii.gz")
    found = []
    refine = anatomy_extraction.refine
    monkeypatch.setattr(anatomy_extraction, "refine", lambda *arguments: found.append(refine(*arguments)) or found[-1])
    prepared = prepare_scan(scan_of(path), CONFIG, tmp_path)
    assert np.allclose(affine, read_image(path)[1])
    assert dice(found[0], brain != 0) > 0.95
    assert prepared.template_dice > 0.96
    slices = np.load(prepared.images)
    assert slices.shape == (40, 96, 80)
    assert [step.split(" (")[0] for step in prepared.steps] == [
        "brain extraction template", "registration affine", f"slices {PREPROCESSING_VERSION}",
    ]  # fmt: skip
    assert json.loads(prepared.images.with_suffix("").with_suffix(".json").read_bytes())["steps"] == [*prepared.steps]


@pytest.mark.shared_data
def test_a_real_brain_is_registered_to_the_same_bytes_again(shared_data):
    array, affine = read_image(shared_data / "ixi" / "t1_brain" / f"{HEAD}_T1_brain.nii.gz")
    image = Image(array[::2, ::2, ::2], affine @ np.diag([2, 2, 2, 1]))  # an eighth of the work
    config = PreprocessingConfig(registration="rigid", bias_correction="n4")
    first, again = (apply_anatomy(image, config) for _ in range(2))
    assert first.brain.array.tobytes() == again.brain.array.tobytes()
    assert first.template_dice == again.template_dice > 0.8
    assert first.brain.array.shape == (197, 233, 189)
