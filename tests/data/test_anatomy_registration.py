from __future__ import annotations

import numpy as np
import pytest
from heads import AFFINE, SHAPE, at, brain, head, points, template_config, turned

from brainage_ray.data.anatomy.bias import correct_bias
from brainage_ray.data.anatomy.images import dice
from brainage_ray.data.anatomy.registration import align, carry, mask_by_deformation
from brainage_ray.data.anatomy.templates import load_template


@pytest.fixture(autouse=True)
def coarse(monkeypatch):
    """The invented brain has voxels of 4 mm: no more is to be found in finer ones."""
    monkeypatch.setattr("brainage_ray.data.anatomy.registration.WORKING_MM", 4.0)


@pytest.fixture
def template(tmp_path):
    return load_template(template_config(tmp_path))


def error_mm(found, moved, template):
    """How far from the truth a transform puts the template's brain, mm, on average."""
    mm = points()[template.mask]
    truth = np.linalg.inv(moved)  # template -> scan
    there = mm @ found[:3, :3].T + found[:3, 3]
    return np.linalg.norm(there - mm @ truth[:3, :3].T - truth[:3, 3], axis=1).mean()


@pytest.mark.parametrize(
    ("kind", "moved"), [("rigid", turned()), ("affine", turned(scale=(1.06, 0.95, 1.04))), ("affine", turned(-12))]
)
def test_a_known_move_is_found_again(template, kind, moved):
    found = align(brain(moved), template, kind)
    assert error_mm(np.eye(4), moved, template) > 7
    assert error_mm(found, moved, template) < 2  # half a voxel


def test_rigid_keeps_the_size(template):
    found = align(brain(turned(scale=(1.1, 1.1, 1.1))), template, "rigid")[:3, :3]
    np.testing.assert_allclose(found @ found.T, np.eye(3), atol=1e-4)


def test_the_same_brain_gives_the_same_bytes(template):
    moved = brain(turned())
    first, again = (align(moved, template, "affine") for _ in range(2))
    np.testing.assert_array_equal(first, again)
    masks = [mask_by_deformation(moved, template, first) for _ in range(2)]
    np.testing.assert_array_equal(*masks)


def test_the_grid_that_a_brain_is_stored_on_does_not_matter(template):
    moved = turned()
    oblique = turned(15) @ AFFINE @ np.diag([0.9, 0.9, 1.2, 1])
    found = align(brain(moved, (56, 64, 48), oblique), template, "affine")
    assert error_mm(found, moved, template) < 2


def test_a_carried_brain_lies_on_the_template_and_keeps_its_brightness(template):
    moved = turned()
    scan = brain(moved)
    flat = scan.holding(np.where(scan.array > 0, 80, 5000))  # what is outside the mask does not matter
    carried, mask = carry(flat, scan.array > 0, template, align(scan, template, "rigid"))
    assert carried.array.shape == SHAPE
    np.testing.assert_allclose(carried.array[mask], 80, atol=1e-3)
    assert not carried.array[~mask].any()
    assert dice(mask, template.mask) > 0.97


def test_a_deformed_template_follows_a_brain_that_no_affine_transform_fits(template):
    """A brain that widens towards the front."""
    mm = points()
    x, y, z = np.moveaxis(mm, -1, 0)
    wedge = at(np.stack([x / (1 + y / 200), y, z], axis=-1))
    scan = template.brain.holding(wedge)
    deformed = mask_by_deformation(scan, template, np.eye(4))
    assert dice(template.mask, wedge > 0) < 0.95
    assert dice(deformed, wedge > 0) > dice(template.mask, wedge > 0) + 0.01


def test_n4_takes_a_bias_field_out():
    image, mask = head()
    field = np.exp(points() @ [0.004, 0.003, -0.003])
    spoilt = image.holding(image.array * field)
    corrected = correct_bias(spoilt, mask)

    def left(scan):
        return np.log(scan.array[mask] / image.array[mask]).std()

    assert left(corrected) < 0.7 * left(spoilt)
    assert not corrected.array[~mask].any()
    np.testing.assert_array_equal(correct_bias(spoilt, mask).array, corrected.array)
