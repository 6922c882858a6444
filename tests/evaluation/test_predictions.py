from __future__ import annotations

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from brainage_ray.evaluation.predictions import baseline_scans


def visits(*rows):
    return pd.DataFrame(rows, columns=["person", "age_years", "session", "image"])


def test_the_earliest_scan_is_the_baseline_though_its_session_comes_later_in_the_alphabet():
    scans = visits(("a", 71.0, "12", "I1"), ("a", 70.5, "6", "I2"), ("a", 70.0, "bl", "I3"), ("b", 60.0, "sc", "I4"))
    assert baseline_scans(scans)["image"].tolist() == ["I3", "I4"]


def test_scans_of_one_age_go_by_session_and_then_by_image():
    scans = visits(("a", 70.0, "2006-05-04", "I3"), ("a", 70.0, "2006-05-02", "I2"), ("a", 70.0, "2006-05-02", "I1"))
    assert baseline_scans(scans)["image"].tolist() == ["I1"]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(50, 90), st.sampled_from(["6", "12", "bl"])), min_size=1))
def test_nobody_has_a_younger_scan_than_the_baseline_and_everybody_has_one(drawn):
    scans = visits(*((person, age, session, f"I{i}") for i, (person, age, session) in enumerate(drawn)))
    baseline = baseline_scans(scans)
    youngest = scans.groupby("person")["age_years"].min()
    assert baseline.set_index("person")["age_years"].sort_index().tolist() == youngest.tolist()
    assert baseline.index.is_monotonic_increasing
