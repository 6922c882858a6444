"""The names of T1w images in BIDS, read by pattern (bids-specification.readthedocs.io, 1.10).

A regular expression and not a library: pybids brings a database and twenty packages, and both it and ancpbids pass
over a misnamed file in silence, where here it must be on the record.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePath

from brainage_ray.errors import MetadataError

_ENTITIES = ("sub", "ses", "task", "acq", "ce", "rec", "run", "echo", "part", "chunk", "space", "split", "res",
             "den", "label", "desc")  # fmt: skip
"""Entities that the name of a T1w image may have, in the order that BIDS prescribes; from space on, of derivatives."""

_PAIR = re.compile(r"([a-z]+)-([0-9a-zA-Z+]+)")
_FILE = re.compile(r"(.+)_T1w(\.nii|\.nii\.gz)")
_NUMBERS = ("run", "echo")
_FIX = "BIDS names it sub-XX[/ses-YY]/anat/sub-XX[_ses-YY][_acq-..][_run-..]_T1w.nii.gz; rename or move it."


@dataclass(frozen=True)
class T1wName:
    """What a name says."""

    image: str
    """The file's name without its ending: sub-01_ses-02_T1w."""
    subject: str
    """Participant id, sub-01."""
    session: str
    """Session id, ses-02, or empty."""
    entities: tuple[tuple[str, str], ...]
    """(entity, label) of all, in order."""


def parse_t1w(path: PurePath) -> T1wName:
    """Read a path relative to the dataset.

    Raises:
        MetadataError: the name or the folders are not BIDS's, or disagree.
    """
    file = _FILE.fullmatch(path.name)
    if not file:
        raise MetadataError(f"bids: {path} is not named as a T1w image", _FIX)
    pairs = [_PAIR.fullmatch(part) for part in file[1].split("_")]
    if any(pair is None for pair in pairs):
        raise MetadataError(f"bids: {path} has a name that is not made of entity-label pairs", _FIX)
    entities = tuple((pair[1], pair[2]) for pair in pairs if pair)
    _check_entities(path, entities)
    known = dict(entities)
    session = f"ses-{known['ses']}" if "ses" in known else ""
    subject = f"sub-{known['sub']}"
    folders = tuple(part for part in (subject, session, "anat") if part)
    if path.parts[:-1] != folders:
        raise MetadataError(f"bids: {path} does not lie in {'/'.join(folders)}", _FIX)
    return T1wName(f"{file[1]}_T1w", subject, session, entities)


def _check_entities(path: PurePath, entities: tuple[tuple[str, str], ...]) -> None:
    names = [name for name, _ in entities]
    if unknown := [name for name in names if name not in _ENTITIES]:
        raise MetadataError(f'bids: {path} has the entity "{unknown[0]}", which a T1w image has not', _FIX)
    if names[0] != "sub" or len(set(names)) < len(names) or names != sorted(names, key=_ENTITIES.index):
        problem = f"bids: {path} has its entities twice or in the order {', '.join(names)}"
        raise MetadataError(problem, f"They come once each and in the order {', '.join(_ENTITIES)}; rename it.")
    if wrong := [f"{name}-{label}" for name, label in entities if name in _NUMBERS and not label.isdecimal()]:
        raise MetadataError(f"bids: {path}: {wrong[0]} is no number", _FIX)
