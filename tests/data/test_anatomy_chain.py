from __future__ import annotations

import numpy as np
import pytest
from heads import SHAPE, brain, head, points, template_config, turned

from brainage_ray.config import PreprocessingConfig
from brainage_ray.data.anatomy import anatomy_steps, apply_anatomy, dice
from brainage_ray.errors import DataError


class Finds:
    """A brain extraction that finds what it is told."""

    def __init__(self, mask):
        self.found = mask

    def about(self):
        return "brain extraction told"

    def mask(self, head):
        return self.found


@pytest.fixture(autouse=True)
def coarse(monkeypatch):
    monkeypatch.setattr("brainage_ray.data.anatomy.registration.WORKING_MM", 4.0)


@pytest.fixture
def told(monkeypatch):
    """Let brain extraction find a mask."""

    def tell(mask):
        monkeypatch.setattr("brainage_ray.data.anatomy.chain.make_extraction", lambda config: Finds(mask))

    return tell


def test_by_default_there_are_no_steps():
    assert anatomy_steps(PreprocessingConfig()) == ()


def test_each_step_is_on_the_record_with_its_version(tmp_path):
    config = template_config(tmp_path, bias_correction="n4", brain_extraction="template")
    extraction, bias, registration = anatomy_steps(config)
    assert extraction.startswith("brain extraction template (brainextractor ")
    assert bias.startswith("bias correction n4 (antspyx ")
    assert registration.startswith("registration affine (antspyx ")
    assert "template.nii.gz sha256:" in registration


def test_a_stripped_brain_is_laid_on_the_template(tmp_path):
    truth = brain().array > 0
    scan = brain(turned())
    done = apply_anatomy(scan, template_config(tmp_path, registration="rigid"))
    assert done.brain.array.shape == SHAPE
    assert dice(scan.array > 0, truth) < 0.9
    assert dice(done.brain.array > 0, truth) == pytest.approx(done.template_dice, abs=1e-3)
    assert done.template_dice > 0.97


def test_a_head_comes_out_stripped_on_its_own_grid_where_it_is_not_registered(told):
    image, mask = head()
    told(mask)
    done = apply_anatomy(image, PreprocessingConfig(brain_extraction="template", slice_origin="brain_top"))
    np.testing.assert_array_equal(done.brain.array, np.where(mask, image.array, 0))
    assert np.isnan(done.template_dice)


def test_bias_is_corrected_in_the_brain_alone(told):
    image, mask = head()
    told(mask)
    config = PreprocessingConfig(bias_correction="n4", brain_extraction="template", slice_origin="brain_top")
    done = apply_anatomy(image, config)
    assert not done.brain.array[~mask].any()
    assert np.abs(done.brain.array[mask] / image.array[mask] - 1).max() > 0.001


@pytest.mark.parametrize(("part", "ml"), [(slice(0, 20), "finds 0 ml"), (slice(None), "ml of brain")])
def test_what_is_no_brain_is_refused(told, part, ml):
    image, _ = head()
    everything = np.zeros(SHAPE, bool)
    everything[part] = part == slice(None)
    told(everything)
    with pytest.raises(DataError, match=ml):
        apply_anatomy(image, PreprocessingConfig(brain_extraction="template", slice_origin="brain_top"))


def test_a_brain_that_does_not_lie_on_the_template_is_refused(tmp_path):
    scan = brain()
    ball = np.linalg.norm(points(), axis=-1) < 24
    with pytest.raises(DataError, match="was not laid on the template"):
        apply_anatomy(scan.holding(scan.array * ball), template_config(tmp_path, registration="rigid"))
