"""What this machine has, asked without Ray, whose start takes seconds."""

from __future__ import annotations

import os

import psutil


def this_machine(gpus: bool = False) -> dict[str, float]:
    """Return the CPUs, GPUs and bytes of memory that a cluster on this machine has at most, as Ray names them.

    Args:
        gpus: count them too: loads torch, which takes a second.
    """
    count = 0
    if gpus:
        import torch

        count = torch.cuda.device_count()
    memory = float(psutil.virtual_memory().total)
    return {"CPU": float(os.cpu_count() or 1), "GPU": float(count), "memory": memory}
