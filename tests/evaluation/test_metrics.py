from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainage_ray.errors import DataError
from brainage_ray.evaluation.metrics import mean_absolute_error, sample_sd, summarise_mae
from brainage_ray.evaluation.null import null_model

AGES = st.lists(st.floats(20, 100), min_size=1, max_size=20)


def test_mae_of_scikit_learns_worked_example():
    """sklearn.metrics.mean_absolute_error, first example of its documentation: 0.5."""
    assert mean_absolute_error(np.array([2.5, 0.0, 2, 8]), np.array([3, -0.5, 2, 7])) == 0.5


def test_summary_over_seeds():
    ages = np.array([60.0, 70, 80])
    summary = summarise_mae(np.array([[61.0, 71, 81], [57.0, 67, 77]]), ages, [4, 7])
    assert summary.per_seed_years == (1.0, 3.0)
    assert summary.mean_years == 2.0
    assert summary.sd_years == pytest.approx(np.sqrt(2))
    assert summary.max_years == 3.0
    assert summary.ensemble_years == 1.0
    assert (summary.seeds, summary.n_scans, summary.reason) == ((4, 7), 3, "")


def test_one_seed_has_no_spread_and_says_so():
    summary = summarise_mae(np.array([[61.0]]), np.array([60.0]), [0])
    assert summary.sd_years is None
    assert "one seed" in summary.reason


def test_no_scans_give_an_empty_cell_with_its_reason():
    summary = summarise_mae(np.zeros((2, 0)), np.zeros(0), [0, 1])
    assert summary.mean_years is summary.ensemble_years is None
    assert "no scans" in summary.reason


@given(ages=AGES, errors=st.data())
def test_seeds_commute_and_the_ensemble_is_never_worse_than_their_mean(ages, errors):
    offset = st.lists(st.floats(-20, 20), min_size=len(ages), max_size=len(ages))
    matrix = np.array(ages) + np.array(errors.draw(st.lists(offset, min_size=2, max_size=5)))
    forth = summarise_mae(matrix, np.array(ages), range(len(matrix)))
    back = summarise_mae(matrix[::-1], np.array(ages), range(len(matrix)))
    assert forth.mean_years == pytest.approx(back.mean_years)
    assert forth.sd_years == pytest.approx(back.sd_years, abs=1e-9)
    assert forth.ensemble_years <= forth.mean_years + 1e-9


@pytest.mark.parametrize(
    ("brain", "age", "message"),
    [
        ([], [], "no scans"),
        ([1.0], [1.0, 2.0], "differ in shape"),
        ([1.0, np.nan], [1.0, 2.0], "scan 1 has brain age nan and age 2.0"),
    ],
)
def test_bad_input_is_named(brain, age, message):
    with pytest.raises(DataError, match=message):
        mean_absolute_error(np.array(brain), np.array(age))


def test_sd_has_n_minus_one_in_the_denominator():
    assert sample_sd([2.0, 4, 4, 4, 5, 5, 7, 9]) == pytest.approx(np.sqrt(32 / 7))
    assert sample_sd([1.0]) is None


def test_null_model_answers_the_training_median():
    null = null_model(np.array([60.0, 70, 95]), np.array([68.0, 74]))
    assert (null.age_years, null.mae_years, null.n_training, null.n_scans) == (70.0, 3.0, 3, 2)


@given(training=AGES, other=st.floats(20, 100))
def test_no_other_constant_beats_the_null_model_on_its_own_training_ages(training, other):
    ages = np.array(training)
    best = null_model(ages, ages).mae_years
    assert best <= mean_absolute_error(np.full(len(ages), other), ages) + 1e-9


def test_null_model_without_scans_or_training():
    assert "no scans" in null_model(np.array([70.0]), np.zeros(0)).reason
    with pytest.raises(DataError, match="no training ages"):
        null_model(np.zeros(0), np.array([70.0]))
    with pytest.raises(DataError, match="not finite"):
        null_model(np.array([np.nan]), np.array([70.0]))
