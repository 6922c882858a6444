from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainage_ray.data.phantoms.ageing import (
    DISEASE_YEARS,
    SCATTER_YEARS,
    Course,
    draw_scatter,
    personal_course,
    planted_course,
)

AGES = st.floats(50, 110)


@pytest.mark.parametrize(
    ("age", "ventricle_mm", "thinning", "contrast"),
    [(50, 0, 0.05, 1), (55, 0.33, 0.11, 0.98), (70, 1.68, 0.29, 0.92), (90, 4.32, 0.53, 0.84)],
)
def test_the_course_is_the_documented_one(age, ventricle_mm, thinning, contrast):
    course = planted_course(age)
    assert (course.ventricle_mm, course.thinning, course.contrast) == pytest.approx((ventricle_mm, thinning, contrast))


@given(AGES, st.floats(0.1, 20))
def test_every_sign_grows_with_age(age, years):
    young, old = planted_course(age), planted_course(age + years)
    assert young.ventricle_mm < old.ventricle_mm
    assert young.thinning < old.thinning
    assert young.contrast > old.contrast


@given(st.floats(0, 50))
def test_nothing_happens_before_fifty(age):
    assert planted_course(age) == planted_course(50) == Course(0, 0.05, 1)


@given(AGES, st.sampled_from(sorted(DISEASE_YEARS)))
def test_a_disease_is_years_on_the_same_course(age, diagnosis):
    assert personal_course(age, diagnosis, (0, 0, 0)) == planted_course(age + DISEASE_YEARS[diagnosis])


def test_mci_is_three_years_and_ad_six():
    assert [DISEASE_YEARS[d] for d in ("CN", "MCI", "AD")] == [0, 3, 6]
    assert DISEASE_YEARS["EMCI"] == DISEASE_YEARS["LMCI"] == DISEASE_YEARS["MCI"]


@given(AGES, st.floats(-5, 5))
def test_scatter_of_years_moves_along_the_course(age, years):
    assert personal_course(age, "CN", (years, 0, 0)) == planted_course(age + years)


def test_scatter_beside_the_course():
    mean, own = planted_course(70), personal_course(70, "CN", (0, 0.5, -0.1))
    assert own == Course(mean.ventricle_mm + 0.5, mean.thinning - 0.1, mean.contrast)
    assert personal_course(50, "CN", (0, 0, -1)).thinning == 0


def test_scatter_has_the_size_that_it_says():
    rng = np.random.default_rng(0)
    years = np.array([draw_scatter(rng)[0] for _ in range(2000)])
    assert abs(years.mean()) < 0.2
    assert years.std() == pytest.approx(SCATTER_YEARS, rel=0.05)
