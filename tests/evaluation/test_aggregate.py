from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainage_ray.errors import DataError
from brainage_ray.evaluation.aggregate import aggregate_slices


@st.composite
def slices(draw):
    counts = draw(st.lists(st.integers(1, 7), min_size=1, max_size=8))
    scan = draw(st.permutations(list(np.repeat(np.arange(len(counts)), counts))))
    values = draw(st.lists(st.floats(-1e6, 1e6, width=32), min_size=len(scan), max_size=len(scan)))
    return np.array(values), np.array(scan), len(counts)


@pytest.mark.parametrize("rule", ["median", "mean"])
@given(data=slices())
def test_equals_numpy_scan_by_scan(rule, data):
    values, scan, n_scans = data
    expected = [getattr(np, rule)(values[scan == i]) for i in range(n_scans)]
    np.testing.assert_allclose(aggregate_slices(values, scan, n_scans, rule), expected, rtol=1e-9, atol=1e-6)


@given(data=slices(), seed=st.integers(0, 99))
def test_order_of_slices_does_not_matter(data, seed):
    values, scan, n_scans = data
    order = np.random.default_rng(seed).permutation(len(values))
    before = aggregate_slices(values, scan, n_scans, "median")
    np.testing.assert_array_equal(before, aggregate_slices(values[order], scan[order], n_scans, "median"))


def test_one_outlier_moves_the_mean_but_not_the_median():
    values, scan = np.array([70.0, 71, 72, 71, 500]), np.zeros(5, dtype=np.int64)
    assert aggregate_slices(values, scan, 1, "median").tolist() == [71.0]
    assert aggregate_slices(values, scan, 1, "mean").tolist() == [156.8]


def test_half_precision_values_keep_their_sum():
    values = np.full(40, 75.0625, dtype=np.float16)
    result = aggregate_slices(values, np.zeros(40, dtype=np.int64), 1, "mean")
    assert result.dtype == np.float64
    assert result[0] == values[0]


def test_no_scans_give_no_values():
    assert aggregate_slices(np.zeros(0), np.zeros(0, dtype=np.int64), 0, "median").shape == (0,)


@pytest.mark.parametrize(
    ("values", "scan", "n_scans", "rule", "message"),
    [
        ([1.0, 2.0], [0, 2], 3, "median", "scan 1 has no slices"),
        ([1.0, np.nan], [0, 1], 2, "mean", "slice 1 of scan 1 has the value nan"),
        ([1.0, np.inf], [0, 1], 2, "mean", "the value inf"),
        ([1.0, 2.0], [0], 1, "mean", "differ in shape"),
        ([1.0, 2.0], [0, 5], 2, "median", "from 0 to 5, but there are 2 scans"),
        ([1.0, 2.0], [-1, 0], 1, "median", "from -1 to 0"),
        ([1.0], [0], 1, "mode", 'no aggregation rule "mode"'),
    ],
)
def test_bad_input_is_named(values, scan, n_scans, rule, message):
    with pytest.raises(DataError, match=message):
        aggregate_slices(np.array(values), np.array(scan), n_scans, rule)


def test_importing_it_loads_no_statistics():
    code = (
        "import sys, brainage_ray.evaluation.aggregate, brainage_ray.evaluation.metrics;"
        "print([m for m in ('scipy', 'statsmodels', 'pandas', 'ray', 'mlflow') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
