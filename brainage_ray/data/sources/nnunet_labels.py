"""What the labels of an nnU-Net dataset mean, by the names that dataset.json gives them.

nnU-Net wants labels without gaps and so renumbers BraTS, and not always alike: its own conversion has oedema 1,
necrosis 2, enhancing tumour 3, while 1, 2, 3 in BraTS since 2023 are necrosis, oedema, enhancing tumour.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from brainage_ray.errors import MetadataError

_MEANINGS = (  # in this order: "non-enhancing" holds "enhancing"
    ("background", re.compile(r"background|bg")),
    ("whole", re.compile(r"whole.*|wt")),
    ("core", re.compile(r"(tumou?r)?core|tc")),
    ("necrosis", re.compile(r".*necro.*|.*nonenhanc.*|ncr|net|ncrnet|netc")),
    ("oedema", re.compile(r".*o?edema.*|ed|snfh|.*flairhyperintensity.*")),
    ("enhancing", re.compile(r"(gd|gadolinium)?enhanc.*|et")),
    ("unsaid", re.compile(r"(label|class)?\d+")),
)
_CLASSES = {"background": 0, "necrosis": 1, "oedema": 2, "enhancing": 3}


def label_classes(path: Path, labels: Any) -> tuple[tuple[int, int], ...]:
    """Return (value, class) of each label, classes as in Scan.label_classes.

    Args:
        path: of dataset.json, for messages.
        labels: its `labels`: name -> value, or name -> values for nnU-Net's regions (whole tumour, tumour core,
            enhancing tumour), whose differences are the classes.

    Returns:
        Empty where the names say nothing (`label_1`), so that BraTS's own numbers hold.

    Raises:
        MetadataError: it is no such mapping, a name is of no known tissue, or a class is missing.
    """
    found = {_meaning(path, name): _values(path, name, value) for name, value in _items(path, labels)}
    named = found.keys() - {"background"}
    if named == {"unsaid"}:
        return ()
    whole, core, enhancing = (found.get(name, set()) for name in ("whole", "core", "enhancing"))
    classes = {value: _CLASSES[name] for name in named & _CLASSES.keys() for value in found[name]}
    if "whole" in found:
        if not enhancing < core < whole:
            fix = "Write each region with all its values: whole tumor [1, 2, 3], tumor core [2, 3], enhancing tumor 3."
            raise MetadataError(f"{path}: the regions in labels do not lie in each other", fix)
        classes = dict.fromkeys(whole, 2) | dict.fromkeys(core, 1) | dict.fromkeys(enhancing, 3)
    if set(classes.values()) != {1, 2, 3}:
        fix = "Name necrosis (or non-enhancing tumor), edema and enhancing tumor, or the regions of BraTS."
        raise MetadataError(f"{path}: labels has {', '.join(map(str, labels))}", fix)
    return tuple(sorted(({0: 0} | classes).items()))


def _items(path: Path, labels: Any) -> list[tuple[str, Any]]:
    if not isinstance(labels, Mapping) or not labels:
        raise MetadataError(f"{path} has no labels", 'Write "labels": {"background": 0, "edema": 1, ...}.')
    return [(str(name), value) for name, value in labels.items()]


def _meaning(path: Path, name: str) -> str:
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    meaning = next((meaning for meaning, pattern in _MEANINGS if pattern.fullmatch(plain)), None)
    if meaning is None:
        fix = "Known are necrosis, non-enhancing tumor, edema, enhancing tumor, whole tumor and tumor core."
        raise MetadataError(f'{path}: labels has "{name}", which is no tissue of BraTS', fix)
    return meaning


def _values(path: Path, name: str, value: Any) -> set[int]:
    values = value if isinstance(value, list) else [value]
    if not values or not all(type(v) is int for v in values):
        raise MetadataError(f'{path}: labels has "{name}": {value!r}', "Write its whole number, or a list of them.")
    return set(values)
