"""What this machine has, asked without Ray, whose start takes seconds."""

from __future__ import annotations

import os
from pathlib import Path

import psutil

_DEVICES = ("nvidia*", "nvhost*", "nvgpu*", "kfd", "dxg")
"""What the drivers of NVIDIA and AMD put into /dev: on a server, on a Jetson, under Windows."""


def this_machine(gpus: bool = False) -> dict[str, float]:
    """Return the CPUs, GPUs and bytes of memory that a cluster on this machine has at most, as Ray names them.

    Args:
        gpus: count them too: loads torch, which takes seconds, where there may be some.
    """
    count = 0
    if gpus and _has_devices(Path("/dev")):
        import torch

        count = torch.cuda.device_count()
    memory = float(psutil.virtual_memory().total)
    return {"CPU": float(os.cpu_count() or 1), "GPU": float(count), "memory": memory}


def _has_devices(folder: Path) -> bool:
    return any(True for pattern in _DEVICES for _ in folder.glob(pattern))
