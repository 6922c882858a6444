"""Whom weights were trained on: a file beside them that travels with them, so that their next user can check.

People are in it as hashes. That keeps names out of sight; it hides nobody from who has a list of all subjects.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import ValidationError

from brainage_ray.config.base import FrozenModel
from brainage_ray.data.files import atomic_write, sha256_of

PROVENANCE = "provenance.json"
"""Name of the file."""
SCHEMA_VERSION = 1


class TrainedOn(FrozenModel):
    """Whom weights were trained on, over all stages of their training."""

    schema_version: int = SCHEMA_VERSION
    experiment: str
    """Name of the one that trained them last."""
    weights: Mapping[str, str] = {}
    """SHA-256 by name of the files beside this one that it speaks of."""
    people: tuple[str, ...] = ()
    """hash_person of each, sorted."""
    contents: tuple[str, ...] = ()
    """Content hash of each image, see data.contents, sorted."""
    unknown: tuple[str, ...] = ()
    """Weights that the training started from, and of which nothing is known."""


def hash_person(person: str) -> str:
    """Return what stands for a person: 32 hex digits."""
    return hashlib.sha256(f"brainage person {person}".encode()).hexdigest()[:32]


def trained_on(experiment: str, people: Iterable[str], contents: Iterable[str], *before: TrainedOn) -> TrainedOn:
    """Describe a training.

    Args:
        experiment: its name.
        people: as Scan.person.
        contents: of the manifest: content hashes joined by a space.
        before: of the weights that it started from.
    """
    hashes = {hash_person(person) for person in set(people)}
    images = {content for joined in contents for content in joined.split()}
    return TrainedOn(
        experiment=experiment,
        people=tuple(sorted(hashes.union(*(one.people for one in before)))),
        contents=tuple(sorted(images.union(*(one.contents for one in before)))),
        unknown=tuple(sorted({name for one in before for name in one.unknown})),
    )


def write_provenance(known: TrainedOn, weights: Mapping[Path, str]) -> None:
    """Write the file beside weights, which lie in one folder; the same content is not written again.

    Args:
        known: whom they were trained on.
        weights: SHA-256 of each file.

    Raises:
        NoSpaceError: the disk is full.
    """
    named = known.model_copy(update={"weights": {path.name: weights[path] for path in sorted(weights)}})
    text = named.model_dump_json(indent=1).encode()
    path = min(weights).with_name(PROVENANCE)
    if not path.is_file() or path.read_bytes() != text:
        with atomic_write(path) as file:
            file.write(text)


def read_provenance(weights: Path) -> TrainedOn | None:
    """Return whom a file of weights was trained on; None where nothing beside it says so of this very file."""
    path = weights.with_name(PROVENANCE)
    try:
        known = TrainedOn.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
    mine = weights.is_file() and known.weights.get(weights.name) == sha256_of(weights)
    return known if mine and known.schema_version == SCHEMA_VERSION else None
