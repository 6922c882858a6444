from __future__ import annotations

import json
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainage_ray.tracking.records import MAX_NAME, MAX_PARAM, MAX_TAG, Point, Run, clean_name, clean_tags, flatten

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
nested = st.dictionaries(
    st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=8),
    st.recursive(scalars, lambda inner: st.dictionaries(st.text("ab", min_size=1), inner, max_size=3), max_leaves=8),
    max_size=5,
)


def points(*epochs, value=1.0):
    return [Point(epoch, 0, {"mae": value}) for epoch in epochs]


def test_settings_become_dotted_names_and_text():
    settings = {"training": {"optimizer": {"lr": 1e-4, "name": "adam"}, "amp": True}, "seeds": [0, 1], "note": None}
    assert flatten(settings) == {
        "training.optimizer.lr": "0.0001",
        "training.optimizer.name": "adam",
        "training.amp": "true",
        "seeds": "[0, 1]",
        "note": "null",
    }


@given(nested)
def test_every_leaf_becomes_one_parameter_within_the_limits(settings):
    def leaves(node):
        return sum(leaves(v) if isinstance(v, dict) and v else 1 for v in node.values())

    flat = flatten(settings)
    assert len(flat) == leaves(settings)
    assert all(isinstance(v, str) and len(v) <= MAX_PARAM for v in flat.values())


def test_what_is_too_long_is_cut():
    flat = flatten({"a" * 300: "b" * 7000})
    ((name, value),) = flat.items()
    assert (len(name), len(value), value[-3:]) == (MAX_NAME, MAX_PARAM, "...")
    assert len(clean_tags({"t": "x" * 9000})["t"]) == MAX_TAG
    assert clean_tags({"t": "x" * MAX_TAG})["t"] == "x" * MAX_TAG


@given(st.text(max_size=300))
def test_names_are_cleaned_once_and_for_all(name):
    clean = clean_name(name)
    assert clean_name(clean) == clean
    assert re.fullmatch(r"[\w.\-: /]*", clean)


def test_names_that_are_right_stay():
    assert clean_name("training.optimizer.lr") == "training.optimizer.lr"
    assert clean_name("validation_dice_whole-tumour") == "validation_dice_whole-tumour"
    assert clean_name("unet+brats (years)") == "unet_brats _years_"


def test_values_that_cannot_be_json_become_text(tmp_path):
    assert json.loads(flatten({"paths": [tmp_path]})["paths"]) == [str(tmp_path)]


@given(st.lists(st.integers(1, 20)), st.sets(st.integers(1, 20)))
def test_epochs_that_are_logged_or_told_before_are_not_logged_again(trained, logged):
    run = Run("k", "n", "trial", logged={("mae", epoch): 9.0 for epoch in logged}, points=points(*trained))
    assert [epoch for *_, epoch in run.new_values()] == [
        epoch for epoch in dict.fromkeys(trained) if epoch not in logged
    ]


@pytest.mark.parametrize(("old", "new", "written"), [(1.0, 1.0, 0), (1.0, 2.0, 1), (math.nan, math.nan, 0)])
def test_a_number_about_the_whole_run_is_logged_again_where_it_changed(old, new, written):
    run = Run("k", "n", "group", logged={("mae", 0): old}, points=points(0, value=new))
    assert len(list(run.new_values())) == written


def test_a_run_counts_what_waits_and_what_it_drops():
    run = Run("k", "n", "trial", params={"lr": "1"}, points=points(1, 2), next_status="FINISHED")
    assert run.unwritten() == 4
    assert run.drop() == 3
    assert run.next_status == "FINISHED"  # may still be written
    assert run.drop() == 1
    assert run.unwritten() == 0


@pytest.mark.parametrize(
    ("status", "wanted"), [("", "RUNNING"), ("RUNNING", ""), ("FINISHED", ""), ("FAILED", "RUNNING")]
)
def test_waking_a_run(status, wanted):
    run = Run("k", "n", "trial", status=status)
    run.wake()
    assert run.next_status == wanted


def test_waking_keeps_the_status_that_waits():
    run = Run("k", "n", "trial", status="RUNNING", next_status="FINISHED")
    run.wake()
    assert run.next_status == "FINISHED"
