"""Weights from elsewhere become an encoder of ours, with an account of every name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from brainage_ray.config import BackboneConfig
from brainage_ray.errors import WeightsError
from brainage_ray.models.backbone import Backbone
from brainage_ray.models.build import build_backbone
from brainage_ray.models.nnunet import Foreign, encoder_of_nnunet, is_nnunet
from brainage_ray.models.transfer import TransferReport, load_encoder
from brainage_ray.models.weights import check_sum, read_content, read_weights, state_of

RGB = 3
_NAMED = 5
"""Names that are left out and printed; the table has all."""


@dataclass(frozen=True)
class KeyRow:
    """What became of one name."""

    outcome: str
    """taken, renamed, adapted (the stem, for other channels), left or missing."""
    ours: str
    theirs: str
    shape: str
    """In the file; of the network, where it is missing."""
    why: str = ""


@dataclass(frozen=True)
class ImportReport:
    """What became of every name of a file, and of every name of the network."""

    transfer: TransferReport
    rows: tuple[KeyRow, ...]

    def __str__(self) -> str:
        """Return the account in one line: 318 loaded, 0 missing, 2 left out: fc.weight, fc.bias."""
        renamed = sum(row.outcome == "renamed" for row in self.rows)
        left = [row.theirs for row in self.rows if row.outcome == "left"]
        more = f" and {len(left) - _NAMED} more" if len(left) > _NAMED else ""
        names = f": {', '.join(left[:_NAMED])}{more}" if left else ""
        loaded = f"{len(self.transfer.loaded)} loaded" + (f" ({renamed} renamed)" if renamed else "")
        return f"{loaded}, {len(self.transfer.missing)} missing, {len(left)} left out{names}"

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        left = [row.theirs for row in self.rows if row.outcome == "left"]
        return asdict(self.transfer) | {"unexpected": left, "keys": [asdict(row) for row in self.rows]}


def import_encoder(config: BackboneConfig, path: Path, sha256: str | None = None) -> tuple[Backbone, ImportReport]:
    """Fill an encoder with weights from elsewhere: all of it, or an error.

    Its stem has the channels of the file's, so that a pre-training on as many goes on with them.

    Args:
        config: of the backbone.
        path: of a .safetensors, .pth or .pt file: ours, torchvision's or nnU-Net's.
        sha256: checksum of the file, or its first digits, 8 at least.

    Raises:
        WeightsError: the file is missing, damaged or another, or does not fill the encoder.
        UnsafeFileError: it holds code.
    """
    probe = build_backbone(config, RGB)
    foreign = _read(path, sha256, len(probe.channels))
    given = {_bare(name): value for name, value in foreign.state.items()}
    stem = given.get(probe.stem_key)
    channels = stem.shape[1] if stem is not None and stem.ndim == 4 else RGB
    backbone = probe if channels == RGB else build_backbone(config, channels)
    try:
        transfer = load_encoder(backbone, foreign.state)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error.problem}", error.fix) from None
    return backbone, ImportReport(transfer, tuple(_rows(backbone, foreign, given, transfer)))


def _read(path: Path, sha256: str | None, stages: int) -> Foreign:
    if path.suffix not in (".pth", ".pt") or not path.is_file():
        return Foreign(read_weights(path, sha256))
    if sha256 is not None:
        check_sum(path, sha256)
    content = read_content(path)
    if not is_nnunet(content):
        return Foreign(state_of(path, content))
    try:
        return encoder_of_nnunet(content, stages)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error.problem}", error.fix) from None


def _rows(backbone: Backbone, foreign: Foreign, given: Mapping[str, Tensor], transfer: TransferReport) -> list[KeyRow]:
    theirs = {_bare(name): foreign.origin.get(name, name) for name in foreign.state}
    rows = []
    for name in transfer.loaded:
        outcome = "taken" if theirs[name] == name else "renamed"
        shape, why = _shape(given[name]), ""
        if name in transfer.adapted:
            outcome, why = "adapted", f"to {_shape(backbone.state_dict()[name])}"
        rows.append(KeyRow(outcome, name, theirs[name], shape, why))
    own = backbone.state_dict()
    rows += [KeyRow("missing", name, "", _shape(own[name]), "a batch counter") for name in transfer.missing]
    rows += [KeyRow("left", "", theirs[n], _shape(given[n]), "not of the encoder") for n in transfer.unexpected]
    return rows + [KeyRow("left", "", name, shape, why) for name, (shape, why) in foreign.left.items()]


def _bare(name: str) -> str:
    return name.removeprefix("module.").removeprefix("backbone.")


def _shape(value: Tensor) -> str:
    return " x ".join(map(str, value.shape)) or "1"
