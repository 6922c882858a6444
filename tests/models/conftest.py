"""Weights in torchvision's names, made without torchvision."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

TorchvisionState = Callable[..., dict[str, Tensor]]


def _convolution(state, name, shape):
    fan_in = shape[1] * shape[2] * shape[3]
    state[f"{name}.weight"] = torch.randn(shape) * (2 / fan_in) ** 0.5


def _batch_norm(state, name, channels):
    state[f"{name}.weight"] = 0.5 + torch.rand(channels)
    state[f"{name}.bias"] = 0.1 * torch.randn(channels)
    state[f"{name}.running_mean"] = 0.1 * torch.randn(channels)
    state[f"{name}.running_var"] = 0.5 + torch.rand(channels)
    state[f"{name}.num_batches_tracked"] = torch.tensor(7)


def make_state(width=1.0, blocks=(3, 4, 6, 3), channels=3, classes=1000, seed=0):
    """A ResNet state as torchvision's resnet50().state_dict() has it, random with uneven statistics."""
    torch.manual_seed(seed)
    planes = [round(count * width) for count in (64, 128, 256, 512)]
    state: dict[str, Tensor] = {}
    _convolution(state, "conv1", (planes[0], channels, 7, 7))
    _batch_norm(state, "bn1", planes[0])
    before = planes[0]
    for stage, (inner, count) in enumerate(zip(planes, blocks, strict=True), start=1):
        for block in range(count):
            name = f"layer{stage}.{block}"
            shapes = ((inner, before, 1, 1), (inner, inner, 3, 3), (4 * inner, inner, 1, 1))
            for i, shape in enumerate(shapes, start=1):
                _convolution(state, f"{name}.conv{i}", shape)
                _batch_norm(state, f"{name}.bn{i}", shape[0])
            if block == 0:
                _convolution(state, f"{name}.downsample.0", (4 * inner, before, 1, 1))
                _batch_norm(state, f"{name}.downsample.1", 4 * inner)
            before = 4 * inner
    state["fc.weight"], state["fc.bias"] = torch.randn(classes, before), torch.randn(classes)
    return state


@pytest.fixture
def torchvision_state() -> TorchvisionState:
    return make_state


@pytest.fixture(autouse=True)
def _reproducible() -> Iterator[None]:
    """Fixed weights; and one thread, since networks this small lose time by sharing work out."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)
