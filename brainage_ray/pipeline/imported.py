"""Weights from elsewhere, brought into our own format once, with an account of what went over."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from brainage_ray.config import ImportedWeights
from brainage_ray.config.base import digest
from brainage_ray.config.run import InitialWeights
from brainage_ray.data import TrainedOn, atomic_write, read_provenance, sha256_of, trained_on, write_provenance
from brainage_ray.errors import ConfigError, UnsafeFileError, WeightsError
from brainage_ray.models import ImportReport, KeyRow, fetch_weights, import_encoder, save_state
from brainage_ray.pipeline.chains import Node, chains
from brainage_ray.pipeline.model_folder import MODEL_FILE, MODELS, read_model_folder
from brainage_ray.pipeline.pull import URI, pull
from brainage_ray.pipeline.session import Session

ENCODER = "encoder.safetensors"
TRANSFER = "transfer.json"
KEYS = "transfer.csv"
"""What became of each name, a row a name."""
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
    """Check the weights that the experiment names on this machine, and say what goes over, before anything starts.

    Raises:
        ConfigError: some are missing, have another checksum, hold code or do not fill their backbone.
    """
    for node, config in import_nodes(session):
        if "://" in config.uri or imported(session, config, node) is not None:
            continue
        try:
            files = find_weights(session, config)
            report = import_encoder(node.backbone, files[0])[1]
        except (WeightsError, UnsafeFileError, ConfigError) as error:
            raise ConfigError(f"pretraining.{node.chain[-1]}: {error.problem}", error.fix) from None
        session.progress.say(f"pretraining.{node.chain[-1]} for {node.backbone.kind}: {report}")


def find_weights(session: Session, config: ImportedWeights) -> list[Path]:
    """Return the files that a stage imports: one, or of a model one a seed; what is elsewhere is fetched once.

    Raises:
        WeightsError: they cannot be had, or have another checksum.
        UnsafeFileError: a file is a link out of its folder.
        ConfigError: there are no such models.
    """
    cache = session.cache / DOWNLOADS
    folder = model_at(session, config)
    if folder is None:
        return [fetch_weights(config.uri, config.sha256, cache)]
    if config.uri.startswith(URI) and not _is_model(folder, config):
        pull(config.uri, folder, session.workspace, session.servers.tracking)
    described = read_model_folder(folder)
    if not _is_model(folder, config):
        sha256 = sha256_of(folder / MODEL_FILE)
        raise WeightsError(
            f"{MODEL_FILE} of {config.uri} has the SHA-256 {sha256}, which does not begin with {config.sha256}",
            f"These are other models. Write sha256: {sha256[:12]} if they are the ones wanted.",
        )
    return [folder / member.file for member in described.members]


def model_at(session: Session, config: ImportedWeights) -> Path | None:
    """Return the folder of models that an address names, which may still have to be filled; None: it names a file."""
    if config.uri.startswith(URI):
        return session.cache / DOWNLOADS / f"models-{digest(config.uri, config.sha256)}"
    if "://" in config.uri:
        return None
    path = Path(config.uri).expanduser()
    arm = path.parent / MODELS / path.name  # WORKSPACE/EXPERIMENT/ARM
    return next((folder for folder in (path, arm) if (folder / MODEL_FILE).is_file()), None)


def known_of(session: Session, config: ImportedWeights) -> list[TrainedOn]:
    """Return what is known of whom weights were trained on, as far as they are on this machine."""
    folder = model_at(session, config)
    if folder is not None:
        paths = sorted(folder.glob("*.safetensors"))
    elif "://" in config.uri:
        paths = sorted((session.cache / DOWNLOADS).glob(f"{config.sha256[:8].lower()}-*"))
    else:
        paths = [Path(config.uri).expanduser()]
    found = (read_provenance(path) for path in paths)
    return [one for one in found if one is not None]


def imported(session: Session, config: ImportedWeights, node: Node) -> tuple[InitialWeights, ...] | None:
    """Return imported weights that are in our own format already."""
    folder = imported_folder(session, config, node)
    if not ((folder / CHECKSUM).is_file() and (folder / TRANSFER).is_file()):
        return None
    sums = (folder / CHECKSUM).read_text().split()
    return tuple(InitialWeights(path=_encoder(folder, i), sha256=sha256) for i, sha256 in enumerate(sums))


def import_weights(session: Session, config: ImportedWeights, node: Node) -> tuple[InitialWeights, ...]:
    """Bring weights from elsewhere into our own format, once, and say what went over.

    Returns:
        One, or of a model one a seed: repeat i of what is trained next starts from the i-th.

    Raises:
        WeightsError: they cannot be had, have another checksum or do not fit the backbone.
    """
    if (there := imported(session, config, node)) is not None:
        return there
    session.progress.say(f"pretrain: weights {config.uri}")
    files = find_weights(session, config)
    folder = imported_folder(session, config, node)
    made = [import_encoder(node.backbone, file) for file in files]
    report = made[0][1]
    folder.mkdir(parents=True, exist_ok=True)
    _write_transfer(folder, report, {"uri": config.uri, "sha256": sha256_of(_pinned(session, config, files))})
    session.progress.say(f"pretrain: {node.label}: {report}")
    session.tracking.tracker.log_files(folder / TRANSFER, group=f"pretraining/{node.label}")
    sums = [save_state(backbone, _encoder(folder, i)) for i, (backbone, _) in enumerate(made)]
    experiment = session.experiment.name
    known = [read_provenance(file) or TrainedOn(experiment=experiment, unknown=(config.uri,)) for file in files]
    together = known[0] if len(known) == 1 else trained_on(known[0].experiment, (), (), *known)
    write_provenance(together, {_encoder(folder, i): sha256 for i, sha256 in enumerate(sums)})
    with atomic_write(folder / CHECKSUM) as target:  # last: where it is, the weights are whole
        target.write("\n".join(sums).encode())
    return tuple(InitialWeights(path=_encoder(folder, i), sha256=sha256) for i, sha256 in enumerate(sums))


def read_transfer(session: Session, config: ImportedWeights, node: Node) -> dict[str, Any]:
    """Return what went over from imported weights: uri and sha256, and the names as in models.ImportReport."""
    return dict(json.loads((imported_folder(session, config, node) / TRANSFER).read_text()))


def imported_folder(session: Session, config: ImportedWeights, node: Node) -> Path:
    """Return where imported weights lie in our own format."""
    return session.folder / "pretraining" / f"{node.label}-{digest(config.sha256, node.backbone.to_json())}"


def _is_model(folder: Path, config: ImportedWeights) -> bool:
    path = folder / MODEL_FILE
    return path.is_file() and sha256_of(path).startswith(config.sha256)


def _pinned(session: Session, config: ImportedWeights, files: Sequence[Path]) -> Path:
    """Return the file whose checksum the experiment names."""
    folder = model_at(session, config)
    return files[0] if folder is None else folder / MODEL_FILE


def _encoder(folder: Path, i: int) -> Path:
    return folder / (ENCODER if i == 0 else f"encoder-{i}.safetensors")


def _write_transfer(folder: Path, report: ImportReport, about: dict[str, str]) -> None:
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, [field.name for field in fields(KeyRow)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in report.rows)
    for name, text in ((KEYS, table.getvalue()), (TRANSFER, json.dumps(about | report.to_json(), indent=1))):
        with atomic_write(folder / name) as target:
            target.write(text.encode())
