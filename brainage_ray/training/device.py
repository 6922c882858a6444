"""The processor that trains, and how it is set up while it does."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from brainage_ray.errors import ConfigError, EngineError


def resolve_device(name: str) -> torch.device:
    """Return the device that a run names; a GPU always with its index.

    Args:
        name: auto (the current GPU where there is one), cpu, cuda, cuda:1 ...

    Raises:
        ConfigError: neither auto, cpu nor a GPU's name.
        EngineError: there is no such GPU here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f'there is no device "{name}"', "Use auto, cpu, cuda or cuda:N.")
    if device.type == "cpu":
        return torch.device("cpu")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if (device.index or 0) >= count:
        problem = f"{name} is not there: torch {torch.__version__} sees {count} GPUs on {platform.node()}"
        raise EngineError(problem, "Look for its driver (nvidia-smi) and a CUDA build of torch; brainage doctor helps.")
    return torch.device("cuda", torch.cuda.current_device() if device.index is None else device.index)


def device_name(device: torch.device) -> str:
    """Return the name of a device as its maker gives it, for the record."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU {platform.machine()}"


@contextmanager
def runtime(device: torch.device, threads: int) -> Iterator[None]:
    """Set torch up for a device inside the block, and leave it as it was found.

    On the CPU: the number of threads, and deterministic algorithms, so that the same seed gives
    the same weights. On a GPU: the fastest convolutions for the shapes that come.

    Args:
        device: that computes.
        threads: torch threads on the CPU.
    """
    cpu = device.type == "cpu"
    before = torch.get_num_threads(), torch.get_deterministic_debug_mode(), torch.backends.cudnn.benchmark
    try:
        if cpu:
            torch.set_num_threads(threads)
            torch.set_deterministic_debug_mode("error")  # use_deterministic_algorithms imports the compiler: seconds
        else:
            torch.backends.cudnn.benchmark = True
        yield
    finally:
        if cpu:
            torch.set_num_threads(before[0])
            torch.set_deterministic_debug_mode(before[1])
        else:
            torch.backends.cudnn.benchmark = before[2]
