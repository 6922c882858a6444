"""Samplers, schedulers and objectives: which go together, and what a person reads where they do not."""

from __future__ import annotations

from itertools import product
from typing import get_args

import pytest
from config_files import DEPTH, LR, NAME, between, changed, choices
from hypothesis import given
from hypothesis import strategies as st

from brainage_ray.config import SearchSpace, load_experiment
from brainage_ray.config.read import validate
from brainage_ray.config.search import Sampler, Scheduler
from brainage_ray.errors import ConfigError

BOTH = ["validation_mae", "validation_delta_auc"]
CHOICES = {"parameters": {LR: choices(1.0e-3, 1.0e-4)}}

WHEN_ADAM = between(0.1, 0.2, when={NAME: "adam"})
BAD = {
    "gp and asha": ({"sampler": "gp", "scheduler": "asha"}, ["gp learns from complete trials", "asha"]),
    "pbt and tpe": ({"sampler": "tpe", "scheduler": "pbt"}, ["pbt makes new settings itself", "sampler: random"]),
    "pbt and a choice of architecture": (
        {"sampler": "random", "scheduler": "pbt", "space": {"parameters": {DEPTH: choices(4, 5)}}},
        [DEPTH, "cannot change then"],
    ),
    "pbt and the optimizer itself": (
        {"sampler": "random", "scheduler": "pbt", "space": {"parameters": {NAME: choices("adam", "sgd")}}},
        [NAME],
    ),
    "pbt and a condition": (
        {"sampler": "random", "scheduler": "pbt", "space": {"parameters": {LR: WHEN_ADAM}}},
        [LR, "has a when"],
    ),
    "pbt without a population": ({"sampler": "random", "scheduler": "pbt", "trials": 3}, ["from 3 to 4"]),
    "two objectives and asha": ({"objective": BOTH, "scheduler": "asha"}, ["one value", "objective has 2"]),
    "two objectives and cmaes": ({"objective": BOTH, "sampler": "cmaes"}, ["cmaes", "nsga2, tpe or gp"]),
    "one objective and nsga2": ({"sampler": "nsga2"}, ["several objectives", "has one"]),
    "the other objective alone": ({"objective": "validation_delta_auc"}, ["alone is no brain age"]),
    "the other objective first": ({"objective": BOTH[::-1]}, ["validation_mae first"]),
    "an objective of the test split": ({"objective": "test_mae"}, ["search.objective", "closed during the search"]),
    "one of two": ({"objective": [BOTH[0], "test_delta_auc"]}, ["search.objective", "test_delta_auc is of the test"]),
    "an objective twice": ({"objective": BOTH[:1] * 2}, ["twice"]),
    "cmaes and a choice": (
        {"sampler": "cmaes", "space": {"parameters": {NAME: choices("adam", "sgd")}}}, [NAME, "is a choice", "tpe"],
    ),
    "cmaes and a condition": (
        {"sampler": "cmaes", "space": {"parameters": {LR: between(0.1, 0.2, when={NAME: "adam"})}}}, [LR, "has a when"],
    ),
    "grid and a start": ({"sampler": "grid", "space": CHOICES, "start_from": "paper"}, ["every point", "start_from"]),
    "patients that are learnt from": (
        {"objective": BOTH, "training": {"diagnoses": ["CN", "AD"]}}, ["training.diagnoses has AD"],
    ),
}  # fmt: skip


def load(folder, **search):
    def change(data):
        data["training"] = search.pop("training", {})
        data["search"] = {**data["search"], **search}

    return load_experiment(changed(folder, change))


@pytest.mark.parametrize("name", BAD)
def test_what_does_not_go_together_is_refused_with_the_reason(tmp_path, name):
    search, words = BAD[name]
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, **search)
    assert all(word in str(refused.value) for word in words), str(refused.value)


@pytest.mark.parametrize(("sampler", "scheduler"), [*product(get_args(Sampler), get_args(Scheduler))])
def test_every_pair_loads_or_says_why_not(tmp_path, sampler, scheduler):
    search = {"sampler": sampler, "scheduler": scheduler}
    if sampler == "grid":
        search["space"] = CHOICES
    if scheduler == "pbt":
        search["trials"] = 4
    if sampler == "nsga2":
        search["objective"] = BOTH
    alone = sampler in ("gp", "cmaes", "nsga2") and scheduler != "none"
    if alone or (scheduler == "pbt" and sampler != "random"):
        with pytest.raises(ConfigError, match=r"scheduler: none|sampler: random"):
            load(tmp_path, **search)
    else:
        found = load(tmp_path, **search).search
        assert (found.sampler, found.scheduler) == (sampler, scheduler)


SPACE = validate(
    SearchSpace,
    {
        "parameters": {
            LR: between(1.0e-4, 1.0e-2, log=True),
            "training.batch_size": between(8, 60, step=8),
            "training.dropout": between(0.1, 0.5, step=0.1),
            NAME: choices("adam", "sgd"),
            "training.optimizer.momentum": between(0.5, 0.9, when={NAME: "sgd"}),
            "training.loss": {"type": "constant", "value": "l1"},
            DEPTH: choices(4, 5, when={"backbone.kind": "unet"}),
        }
    },
    "the test",
)
ARM = {"backbone": {"kind": "unet"}, "training": {"optimizer": {"name": "adam"}}}


def test_settings_from_elsewhere_go_to_the_nearest_point():
    settings = {
        LR: 1.0, "training.batch_size": 64, "training.dropout": 0.26, NAME: "sgd",
        "training.optimizer.momentum": 0.99, "training.loss": "mse", DEPTH: 4, "elsewhere": 1,
    }  # fmt: skip
    assert SPACE.nearest(settings, ARM) == {
        LR: 1.0e-2, "training.batch_size": 56, "training.dropout": pytest.approx(0.3), NAME: "sgd",
        "training.optimizer.momentum": 0.9, DEPTH: 4,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "arm", "expected"),
    [
        ({NAME: "adam", "training.optimizer.momentum": 0.6}, ARM, {NAME: "adam"}),  # the condition does not hold
        ({"training.optimizer.momentum": 0.6}, {**ARM, "training": {"optimizer": {"name": "sgd"}}},
         {"training.optimizer.momentum": 0.6}),
        ({NAME: "lion", LR: "high", "training.batch_size": True}, ARM, {}),
        ({DEPTH: 5}, {"backbone": {"kind": "resnet50"}}, {}),
    ],
)  # fmt: skip
def test_what_the_space_does_not_have_is_left_to_the_sampler(settings, arm, expected):
    assert SPACE.nearest(settings, arm) == expected


@given(st.floats(-1e6, 1e6), st.integers(-1000, 1000))
def test_the_nearest_value_is_in_the_range_and_the_nearest_of_itself(number, whole):
    for path, value in ((LR, number), ("training.dropout", number), ("training.batch_size", whole)):
        parameter = SPACE.parameters[path]
        nearest = parameter.nearest(value)
        assert parameter.low <= nearest <= parameter.high
        assert parameter.nearest(nearest) == pytest.approx(nearest)
