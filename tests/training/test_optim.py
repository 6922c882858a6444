from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from brainage_ray.config import OptimizerConfig, ScheduleConfig
from brainage_ray.training.optim import build_optimizer, schedule_factor, set_learning_rate

schedules = st.builds(
    ScheduleConfig,
    name=st.sampled_from(["constant", "cosine", "poly"]),
    warmup_fraction=st.floats(0, 0.9),
)


@given(schedules, st.integers(1, 500))
def test_a_rate_rises_in_the_warmup_then_never_rises_and_stays_in_0_to_1(schedule, steps):
    factors = [schedule_factor(step, steps, schedule) for step in range(steps)]
    assert all(0 < factor <= 1 for factor in factors)
    top = round(schedule.warmup_fraction * steps)
    assert factors[:top] == sorted(factors[:top])
    assert factors[top:] == sorted(factors[top:], reverse=True)
    if top < steps:
        assert factors[top] == 1


@pytest.mark.parametrize(
    ("name", "step", "expected"),
    [
        ("constant", 99, 1.0),
        ("cosine", 50, 0.5),
        ("cosine", 25, 0.8535533905932737),
        ("poly", 50, 0.5**0.9),
        ("poly", 99, 0.01**0.9),
    ],
)
def test_schedules_have_their_reference_values(name, step, expected):
    assert schedule_factor(step, 100, ScheduleConfig(name=name)) == pytest.approx(expected, rel=1e-12)


def test_the_warmup_rises_linearly_and_the_rest_of_the_schedule_is_laid_out_behind_it():
    schedule = ScheduleConfig(name="poly", warmup_fraction=0.2)
    assert [schedule_factor(step, 10, schedule) for step in (0, 1, 2)] == [0.5, 1.0, 1.0]
    assert schedule_factor(6, 10, schedule) == pytest.approx(0.5**0.9)


def test_each_optimizer_is_torchs_with_its_settings():
    weights = [nn.Parameter(torch.ones(2))]
    adam = build_optimizer(weights, OptimizerConfig(name="adam", lr=0.1, weight_decay=0.2))
    assert isinstance(adam, torch.optim.Adam)
    assert (adam.defaults["lr"], adam.defaults["weight_decay"]) == (0.1, 0.2)
    assert isinstance(build_optimizer(weights, OptimizerConfig(name="adamw")), torch.optim.AdamW)
    sgd = build_optimizer(weights, OptimizerConfig(name="sgd", momentum=0.9))
    assert isinstance(sgd, torch.optim.SGD)
    assert (sgd.defaults["momentum"], sgd.defaults["nesterov"]) == (0.9, True)
    plain = build_optimizer(weights, OptimizerConfig(name="sgd", momentum=0.0))
    assert not plain.defaults["nesterov"]


def test_the_learning_rate_of_all_weights_is_set():
    optimizer = torch.optim.SGD([{"params": [nn.Parameter(torch.ones(1))]}, {"params": [nn.Parameter(torch.ones(1))]}])
    set_learning_rate(optimizer, 0.25)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.25]
