"""Optimizers, and learning rates as a pure function of the step."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from brainage_ray.config.model import OptimizerConfig, ScheduleConfig

POLY_POWER = 0.9
"""Of nnU-Net's schedule (Isensee et al. 2021, doi:10.1038/s41592-020-01008-z)."""


def build_optimizer(parameters: Iterable[nn.Parameter], config: OptimizerConfig) -> torch.optim.Optimizer:
    """Return the optimizer of a run, fused where the weights lie on a GPU.

    Args:
        parameters: what it changes, already on their device.
        config: which, with its settings.
    """
    weights = list(parameters)
    fused = all(weight.is_cuda for weight in weights) or None
    common: dict[str, Any] = {"lr": config.lr, "weight_decay": config.weight_decay, "fused": fused}
    if config.name == "adam":
        return torch.optim.Adam(weights, **common)
    if config.name == "adamw":
        return torch.optim.AdamW(weights, **common)
    return torch.optim.SGD(weights, momentum=config.momentum, nesterov=config.momentum > 0, **common)


def set_options(optimizer: torch.optim.Optimizer, config: OptimizerConfig) -> None:
    """Give all of an optimizer's weights the settings that may change while it works, the learning rate apart."""
    for group in optimizer.param_groups:
        group["weight_decay"] = config.weight_decay
        if config.name == "sgd":
            group["momentum"], group["nesterov"] = config.momentum, config.momentum > 0


def schedule_factor(step: int, steps: int, config: ScheduleConfig) -> float:
    """Return the learning rate of a step as a share of the top rate.

    The rate rises linearly over the warm-up, reaches 1 with its last step, and then stays
    (constant), falls as half a cosine (cosine) or as (1 - t)**0.9 (poly), where t runs from 0 to 1.

    Args:
        step: 0 to steps - 1.
        steps: of the whole schedule.
        config: the schedule.
    """
    warmup = round(config.warmup_fraction * steps)
    if step < warmup:
        return (step + 1) / warmup
    t = (step - warmup) / max(1, steps - warmup)
    if config.name == "cosine":
        return 0.5 * (1 + math.cos(math.pi * t))
    if config.name == "poly":
        return float((1 - t) ** POLY_POWER)
    return 1.0


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give all of an optimizer's weights the same learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate
