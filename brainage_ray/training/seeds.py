"""The one place where randomness begins.

Every random number of a run comes from a generator that is named by the run's seed, a purpose
and the epoch. There is no state to save: an epoch draws the same numbers whether the run was
interrupted before it, whether other runs take turns with it, and on whatever device.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch

Purpose = Literal["init", "shuffle", "augmentation", "dropout"]
CPU = torch.device("cpu")


def derive_seed(seed: int, purpose: Purpose, *parts: int) -> int:
    """Return a seed of 63 bits that is unrelated to that of any other purpose, epoch or worker.

    Args:
        seed: of the run.
        purpose: what the numbers are for.
        parts: which of its generators: the epoch, then the worker.
    """
    name = "/".join(map(str, (seed, purpose, *parts)))
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1


def numpy_generator(seed: int, purpose: Purpose, *parts: int) -> np.random.Generator:
    """Return NumPy's generator for a purpose, see derive_seed."""
    return np.random.default_rng(derive_seed(seed, purpose, *parts))


def torch_generator(seed: int, purpose: Purpose, *parts: int, device: torch.device = CPU) -> torch.Generator:
    """Return torch's generator on a device for a purpose, see derive_seed."""
    return torch.Generator(device).manual_seed(derive_seed(seed, purpose, *parts))


@contextmanager
def seeded(seed: int, purpose: Purpose, *parts: int, device: torch.device = CPU) -> Iterator[None]:
    """Seed torch's global generators inside the block, and leave them as they were found.

    For what takes no generator of its own: the initialisation of layers, dropout.

    Args:
        seed: of the run.
        purpose: what the numbers are for.
        parts: see derive_seed.
        device: whose generator is seeded beside the CPU's; a GPU with its index.
    """
    value = derive_seed(seed, purpose, *parts)
    gpus = [device.index] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=gpus):
        torch.default_generator.manual_seed(value)
        for index in gpus:
            torch.cuda.default_generators[index].manual_seed(value)
        yield
