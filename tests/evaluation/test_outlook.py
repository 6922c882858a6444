"""Ranges and distances that tell a scan which a model never saw the like of."""

from __future__ import annotations

import numpy as np
import pytest

from brainage_ray.evaluation.outlook import FEWEST, fit_likeness, outside, seen_ranges

NAMES = ("a", "b", "c")


def correlated(n, seed=0):
    mixing = np.array([[1.0, 0.9, 0.0], [0.0, 0.5, 0.0], [0.0, 0.0, 2.0]])
    return np.random.default_rng(seed).normal(size=(n, 3)) @ mixing + [5, -3, 100]


def test_new_scans_of_the_same_kind_lie_inside_and_others_outside():
    likeness = fit_likeness(correlated(120), NAMES)
    assert (likeness.distance(correlated(500, 1)) < 1).mean() > 0.99
    assert likeness.distance(np.array([[5, -3, 120.0]]))[0] > 2
    assert likeness.furthest(np.array([5, -3, 120.0])) == "c"


def test_a_combination_that_never_occurs_is_far_though_each_number_occurs():
    values = correlated(120)
    likeness = fit_likeness(values, NAMES)
    usual, unheard = likeness.distance(np.array([[7.0, -1.2, 100], [7.0, -4.8, 100]]))
    assert usual < 1 < unheard


def test_one_odd_scan_among_those_seen_does_not_widen_the_limit():
    values = correlated(100)
    values[0] = [5, -3, 200]
    assert fit_likeness(values, NAMES).distance(np.array([[5, -3, 200.0]]))[0] > 1


def test_a_number_that_never_varied_does_not_rule():
    values = correlated(60)
    values[:, 2] = 1.0
    assert fit_likeness(values, NAMES).distance(np.array([[5, -3, 1.001]]))[0] < 1


def test_too_few_scans_have_no_likeness():
    assert fit_likeness(correlated(FEWEST - 1), NAMES) is None


@pytest.mark.parametrize(("name", "value", "words"), [
    ("age_years", 81.0, "age 81.0 years: the model saw 20.0 to 80.0"),
    ("voxel_mm", 5.0, "longest voxel edge 5.00 mm"),
    ("field_mm", 60.0, "shortest side of the field of view 60 mm"),
    ("brain_volume_ml", 500.0, "brain volume 500 ml"),
    ("snr", 2.0, "SNR 2.0"),
    ("n_slices", 8, "number of slices 8"),
])  # fmt: skip
def test_what_lies_outside_is_said_with_what_was_seen(name, value, words):
    seen = {
        "age_years": [20, 80.0, np.nan], "voxel_mm": [1, 2.0], "field_mm": [150, 256.0],
        "brain_volume_ml": [1000, 1700.0], "snr": [10, 20.0], "n_slices": [40, 40],
    }  # fmt: skip
    ranges = seen_ranges({key: np.array(values, float) for key, values in seen.items()})
    inside = {key: values[0] for key, values in seen.items()}
    assert outside(inside, ranges) == []
    (flag,) = outside(inside | {name: value}, ranges)
    assert flag.startswith(words)
    assert outside({name: None}, ranges) == outside({name: float("nan")}, ranges) == outside({name: value}, {}) == []
