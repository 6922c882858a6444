"""Weights from elsewhere, brought into our own format once, with an account of what went over."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from brainage_ray.config import ImportedWeights
from brainage_ray.config.base import digest
from brainage_ray.config.run import InitialWeights
from brainage_ray.data import TrainedOn, atomic_write, read_provenance, sha256_of, write_provenance
from brainage_ray.errors import ConfigError, UnsafeFileError, WeightsError
from brainage_ray.models import build_backbone, fetch_weights, load_encoder, read_weights, save_state
from brainage_ray.pipeline.chains import Node, chains
from brainage_ray.pipeline.session import Session

RGB = 3
ENCODER = "encoder.safetensors"
TRANSFER = "transfer.json"
CHECKSUM = "sha256"
DOWNLOADS = "weights"
"""Folder in the cache."""


def import_nodes(session: Session) -> Iterator[tuple[Node, ImportedWeights]]:
    """Yield each chain of the experiment that ends with imported weights."""
    for node in (node for level in chains(session.experiment) for node in level):
        config = session.experiment.pretraining[node.chain[-1]]
        if isinstance(config, ImportedWeights):
            yield node, config


def check_local_weights(session: Session) -> None:
    """Check the files of weights that the experiment names on this machine, before anything starts.

    Raises:
        ConfigError: one is missing, or its checksum is another.
    """
    for node, config in import_nodes(session):
        if "://" in config.uri or imported(session, config, node) is not None:
            continue
        try:
            fetch_weights(config.uri, config.sha256, session.cache / DOWNLOADS)
        except (WeightsError, UnsafeFileError) as error:
            raise ConfigError(f"pretraining.{node.chain[-1]}: {error.problem}", error.fix) from None


def imported(session: Session, config: ImportedWeights, node: Node) -> InitialWeights | None:
    """Return imported weights that are in our own format already."""
    folder = imported_folder(session, config, node)
    if not ((folder / CHECKSUM).is_file() and (folder / TRANSFER).is_file()):
        return None
    return InitialWeights(path=folder / ENCODER, sha256=(folder / CHECKSUM).read_text())


def import_weights(session: Session, config: ImportedWeights, node: Node) -> InitialWeights:
    """Bring weights from elsewhere into our own format, once, and say what went over.

    Raises:
        WeightsError: they cannot be had, have another checksum or do not fit the backbone.
    """
    if (there := imported(session, config, node)) is not None:
        return there
    session.progress.say(f"pretrain: weights {config.uri}")
    file = fetch_weights(config.uri, config.sha256, session.cache / DOWNLOADS)
    backbone = build_backbone(node.backbone, in_channels=RGB)
    report = load_encoder(backbone, read_weights(file, config.sha256))
    session.progress.say(f"pretrain: {node.label}: {report}")
    folder = imported_folder(session, config, node)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(folder / TRANSFER) as target:
        about = {"uri": config.uri, "sha256": sha256_of(file)}
        target.write(json.dumps(about | asdict(report), indent=1).encode())
    session.tracking.tracker.log_files(folder / TRANSFER, group=f"pretraining/{node.label}")
    sha256 = save_state(backbone, folder / ENCODER)
    known = read_provenance(file) or TrainedOn(experiment=session.experiment.name, unknown=(config.uri,))
    write_provenance(known, {folder / ENCODER: sha256})
    with atomic_write(folder / CHECKSUM) as target:  # last: where it is, the weights are whole
        target.write(sha256.encode())
    return InitialWeights(path=folder / ENCODER, sha256=sha256)


def read_transfer(session: Session, config: ImportedWeights, node: Node) -> dict[str, Any]:
    """Return what went over from imported weights: uri and sha256, and the names as in models.TransferReport."""
    return dict(json.loads((imported_folder(session, config, node) / TRANSFER).read_text()))


def imported_folder(session: Session, config: ImportedWeights, node: Node) -> Path:
    """Return where imported weights lie in our own format."""
    return session.folder / "pretraining" / f"{node.label}-{digest(config.sha256, node.backbone.to_json())}"
