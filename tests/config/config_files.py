"""Small experiment files for the tests of the config package."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

LR = "training.optimizer.lr"
NAME = "training.optimizer.name"
MOMENTUM = "training.optimizer.momentum"
WIDTH = "backbone.width"
DEPTH = "backbone.depth"
UNET = {"backbone": {"kind": "unet"}}
RESNET = {"backbone": {"kind": "resnet50"}}

MINIMAL: dict[str, Any] = {
    "name": "small",
    "data": {"root": "images", "sources": [{"kind": "table", "table": "${data.root}/people.csv", "cohort": "X"}]},
    "arms": {"unet": UNET},
    "search": {"space": {"parameters": {LR: {"type": "float", "low": 1.0e-4, "high": 1.0e-2}}}},
}


def minimal() -> dict[str, Any]:
    """Return a copy of MINIMAL to change."""
    return copy.deepcopy(MINIMAL)


def write_yaml(path: Path, data: Any) -> Path:
    """Write a YAML file whose keys keep their order."""
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    return path


Change = Callable[[dict[str, Any]], Any]


def changed(folder: Path, change: Change) -> Path:
    """Write a changed MINIMAL."""
    data = minimal()
    change(data)
    return write_yaml(folder / "x.yaml", data)


def choices(*values: Any, **more: Any) -> dict[str, Any]:
    """Return a categorical parameter."""
    return {"type": "categorical", "choices": [*values], **more}


def between(low: float, high: float, **more: Any) -> dict[str, Any]:
    """Return a range, of whole numbers where the bounds are."""
    return {"type": "int" if isinstance(low, int) else "float", "low": low, "high": high, **more}
