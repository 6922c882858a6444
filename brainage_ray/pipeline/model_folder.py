"""The final models of an arm as a folder that leaves the workspace: settings, weights, checksums; no code."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field

from brainage_ray.config import BackboneConfig, FitResult, PreprocessingConfig, TrainingConfig, TrainingRun
from brainage_ray.config.base import FrozenModel
from brainage_ray.config.experiment import Aggregate
from brainage_ray.config.read import validate
from brainage_ray.data import (
    TrainedOn,
    atomic_write,
    inside,
    read_provenance,
    sha256_of,
    trained_on,
    write_provenance,
)
from brainage_ray.errors import ConfigError, WeightsError
from brainage_ray.pipeline.fitted import FittedModel

MODELS = "models"
"""Folder of an experiment with one folder an arm."""
RESULTS = "results.json"
"""In an experiment's folder: what it came to."""
MODEL_FILE = "model.json"
SCHEMA_VERSION = 1


class Member(FrozenModel):
    """One seed's model."""

    seed: int
    file: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+\.safetensors$")]
    """Name inside the folder: a name, never a path."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    epochs: int
    target_mean_years: float
    """years = output x target_sd_years + target_mean_years."""
    target_sd_years: float


class ModelFolder(FrozenModel):
    """`model.json`: all that prediction needs beside the weights, and where the models came from."""

    schema_version: int
    experiment: str
    arm: str
    backbone: BackboneConfig
    training: TrainingConfig
    preprocessing: PreprocessingConfig
    aggregate: Aggregate
    members: Annotated[tuple[Member, ...], Field(min_length=1)]
    data_hash: str
    commit: str
    """Of the code that trained the members; several, where they were trained at different times, with commas."""


def write_model_folder(
    folder: Path, experiment: str, preprocessing: PreprocessingConfig, models: Sequence[FittedModel]
) -> ModelFolder:
    """Gather the models of one arm.

    Args:
        folder: to fill.
        experiment: its name.
        preprocessing: how scans become what these models read.
        models: of one arm, a seed each.

    Raises:
        WeightsError: a model's file is not what its training left.
    """
    for old in folder.glob("*.safetensors"):  # of seeds that the experiment names no more
        old.unlink()
    members = tuple(_copy_member(folder, model) for model in models)
    known = [read_provenance(model.fit.weights) for model in models if model.fit.weights is not None]
    unknown = tuple(m.file for m, one in zip(members, known, strict=True) if one is None)
    before = [one for one in known if one is not None]
    together = trained_on(experiment, (), (), *before, TrainedOn(experiment=experiment, unknown=unknown))
    write_provenance(together, {folder / member.file: member.sha256 for member in members})
    run = models[0].run
    described = ModelFolder(
        schema_version=SCHEMA_VERSION, experiment=experiment, arm=models[0].arm, backbone=run.backbone,
        training=run.training, preprocessing=preprocessing, aggregate=run.aggregate, members=members,
        data_hash=run.store_hash, commit=commits(models),
    )  # fmt: skip
    with atomic_write(folder / MODEL_FILE) as file:
        file.write(described.model_dump_json(indent=1).encode())
    return described


def commits(models: Sequence[FittedModel]) -> str:
    """Name the commits of the code that trained some models."""
    return ", ".join(dict.fromkeys(model.fit.commit for model in models))


def read_model_folder(folder: Path) -> ModelFolder:
    """Read `model.json` and check the weights beside it.

    Raises:
        ConfigError: the folder is no model folder, or its model.json is of another version.
        WeightsError: a file is missing or its checksum is another.
        UnsafeFileError: a file is a link out of the folder.
    """
    path = inside(folder, MODEL_FILE)
    if not path.is_file():
        raise ConfigError(f"There is no model in {folder}", "Fill it with: brainage pull EXPERIMENT/ARM --to FOLDER.")
    try:
        data = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not JSON: {error}", "Pull the model again.") from None
    version = data.get("schema_version") if isinstance(data, dict) else None
    if version != SCHEMA_VERSION:
        raise ConfigError(f"{path} has schema version {version}, this program reads {SCHEMA_VERSION}", "Pull it again.")
    described = validate(ModelFolder, data, path)
    for member in described.members:
        file = inside(folder, member.file)
        if not file.is_file() or sha256_of(file) != member.sha256:
            raise WeightsError(f"{file} is missing or is not the file that {MODEL_FILE} names", "Pull it again.")
    return described


def fitted_models(folder: Path, described: ModelFolder) -> list[FittedModel]:
    """Return the members as what inference reads."""
    return [_fitted(folder, described, member) for member in described.members]


def _copy_member(folder: Path, model: FittedModel) -> Member:
    fit = model.fit
    if fit.weights is None or fit.weights_sha256 is None:
        raise WeightsError(f"The final model {model.arm} seed {model.seed} left no weights", "Refit it.")
    name = f"seed-{model.seed}.safetensors"
    with atomic_write(folder / name) as file:
        file.write(fit.weights.read_bytes())
    return Member(
        seed=model.seed, file=name, sha256=fit.weights_sha256, epochs=len(fit.curve),
        target_mean_years=fit.target_mean_years, target_sd_years=fit.target_sd_years,
    )  # fmt: skip


def _fitted(folder: Path, described: ModelFolder, member: Member) -> FittedModel:
    run = TrainingRun(
        task="age", backbone=described.backbone, training=described.training, seed=member.seed, store=Path(),
        store_hash=described.data_hash, aggregate=described.aggregate, folder=folder,
    )  # fmt: skip
    fit = FitResult(
        key=run.key, curve=(), target_mean_years=member.target_mean_years, target_sd_years=member.target_sd_years,
        weights=folder / member.file, weights_sha256=member.sha256,
    )  # fmt: skip
    return FittedModel(described.arm, member.seed, run, fit)
