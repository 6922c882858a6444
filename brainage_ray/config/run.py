"""One training as data: all that a worker needs, and the plain numbers that come back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from brainage_ray.config.base import FrozenModel, digest
from brainage_ray.config.data import Diagnosis, Split
from brainage_ray.config.experiment import Aggregate
from brainage_ray.config.model import BackboneConfig, TrainingConfig
from brainage_ray.config.read import annotation_at, keys_at, nearest, validate
from brainage_ray.config.space import Choice, SearchSpace
from brainage_ray.errors import ConfigError

TRAINING_VERSION = 1
"""Part of every run's key and of the key of every prediction. Raise it with any change of the code that changes what
the same settings come to: a loss, an augmentation, a metric, the order of random numbers, a default of a network; or
how a fitted model predicts. Then all that was made before is made again."""
CHECKPOINT = "checkpoint.pt"
"""In a run's folder: its state after the last finished epoch."""
BEST = "best.safetensors"
"""In the folder of a search trial's run: its weights after the trial's best epoch so far."""
SEARCHABLE = ("training", "backbone")
"""Top-level keys of a training run that a search may change."""


class InitialWeights(FrozenModel):
    """Encoder weights that a training starts from."""

    path: Path
    """A safetensors file of an encoder's state."""
    sha256: str
    """Of the file, 64 hex digits."""


class SettingsChange(FrozenModel):
    """Other settings from an epoch on, as population-based training makes them."""

    after_epoch: Annotated[int, Field(ge=0)]
    """The first epoch with these settings is the next one; 0: all epochs."""
    params: dict[str, Choice]
    """Value by dotted path, of training.optimizer (not its name) or training.augmentation."""


class TrainingRun(FrozenModel):
    """One training: search trial, refit or pre-training."""

    task: Literal["age", "segmentation"]
    backbone: BackboneConfig
    training: TrainingConfig
    seed: Annotated[int, Field(ge=0)]
    """Drives initialisation, shuffling, dropout and augmentation."""
    store: Path
    """Folder of the slice store."""
    store_hash: str
    """Content hash of that store."""
    train_splits: tuple[Split, ...] = ("train",)
    """Splits that train."""
    validation_split: Literal["validation"] | None = "validation"
    """Split that is scored after each epoch; None for refits."""
    cohorts: tuple[str, ...] = ()
    """Cohorts to use; none named: all."""
    initial: InitialWeights | None = None
    """Where the encoder starts; None for random."""
    aggregate: Aggregate = "median"
    """How a scan's slices become its brain age."""
    one_scan_per_subject: Literal["baseline", "all"] = "baseline"
    """Which scans of the validation split count for its MAE; all of the training splits' train."""
    delta_diagnosis: Diagnosis | None = None
    """After each epoch the brain-age delta is to tell people of the validation split with this diagnosis from those
    whose diagnoses the run learns from: validation_delta_auc. None: that is not measured."""
    stop_after_epochs: Annotated[int, Field(ge=1)] | None = None
    """End here though the schedule is laid out for training.max_epochs; None: go to its end."""
    changes: tuple[SettingsChange, ...] = ()
    """Of the settings while the run trains, in the order of their epochs."""
    parent: Path | None = None
    """The checkpoint of a run that had the same settings until then: the epochs before are taken from there and not
    trained again, where this run has no checkpoint of its own. No result depends on it: so it is not in the key."""
    keep_weights: bool = True
    """Write model.safetensors, and a checkpoint after each epoch, into folder."""
    keep_best: bool = False
    """Write a checkpoint after each epoch, the last included, from which training.checkpoint.keep_best takes the
    weights of the best one. Both may be deleted later, and no result depends on them: so it is not in the key."""
    folder: Path
    """Where this run's files go."""
    team: Annotated[int, Field(ge=1)] = 1
    """Workers that train this run together; each has its share of a batch, and random streams of its own."""
    threads: Annotated[int, Field(ge=1)] = 1
    """torch threads on the CPU."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 ...; auto takes a GPU where there is one."""
    commit: str = ""
    """Of the code, as the driver knows it: a worker's copy may have left git. Empty: what the worker finds."""

    @property
    def key(self) -> str:
        """Digest of all that the result depends on: not of paths, threads or device."""
        left_out = {"store", "folder", "threads", "device", "commit", "initial", "keep_best", "parent"}
        if self.validation_split is None:  # then nothing is scored
            left_out |= {"aggregate", "one_scan_per_subject", "delta_diagnosis"}
        if self.delta_diagnosis is None:  # the key is that of a version without it
            left_out |= {"delta_diagnosis"}
        if not self.changes:
            left_out |= {"changes"}
        data = self.model_dump(mode="json", exclude=left_out)
        return digest(TRAINING_VERSION, data, self.initial.sha256 if self.initial else None)

    @property
    def epochs(self) -> int:
        """Epochs that this run trains."""
        return min(self.stop_after_epochs or self.training.max_epochs, self.training.max_epochs)

    def training_at(self, epoch: int) -> TrainingConfig:
        """Return the settings of an epoch (1-based)."""
        params = {path: value for change in self.changes if change.after_epoch < epoch
                  for path, value in change.params.items()}  # fmt: skip
        return apply_params(self, params, "changes").training if params else self.training


class TransferCounts(FrozenModel):
    """How the encoder's initial weights went over, in names of weights."""

    loaded: int
    missing: int
    """Batch counters that the file lacks; no weight ever is missing."""
    left_out: int
    """Of what sat on the encoder: a classifier, head or decoder."""


class FitResult(FrozenModel):
    """What came of a training run."""

    key: str
    """Of the run."""
    curve: tuple[dict[str, float], ...]
    """Metrics of each epoch: train_loss, learning_rate, seconds, and for age validation_mae (years), for
    segmentation validation_dice_<class>, where there is a validation split."""
    target_mean_years: float = 0.0
    """years = output x target_sd_years + target_mean_years; age only."""
    target_sd_years: float = 1.0
    """See target_mean_years."""
    weights: Path | None = None
    """model.safetensors: backbone.* and head.* or decoder.*; None where keep_weights is False."""
    weights_sha256: str | None = None
    """Of that file."""
    encoder: Path | None = None
    """encoder.safetensors, the backbone alone; segmentation only."""
    encoder_sha256: str | None = None
    """Of that file."""
    n_train_scans: int = 0
    n_train_slices: int = 0
    seconds: float = 0.0
    """Wall clock of the training, over all its starts."""
    device: str = ""
    """Name of the processor that trained."""
    transfer: TransferCounts | None = None
    """Of the initial weights; None where the run started from random ones."""
    commit: str = ""
    """Of the code that trained."""


def apply_params(run: TrainingRun, params: Mapping[str, Any], where: str = "search space") -> TrainingRun:
    """Put a trial's parameters into a training run.

    Args:
        run: the run that the arm stands for.
        params: value by dotted path, for example {"training.optimizer.lr": 1e-4}.
        where: the file the paths came from, for the message.

    Raises:
        ConfigError: an unknown path, or a value that its field does not take.
    """
    data = run.to_json()
    for path, value in params.items():
        check_path(path, where)
        keys = path.split(".")
        node = data
        for key in keys[:-1]:
            node = node[key]
        node[keys[-1]] = value
    return validate(TrainingRun, data, where)


def most_epochs(run: TrainingRun, space: SearchSpace) -> int:
    """Return the epochs that a trial trains at most, where the space may search them."""
    searched = space.active(run.to_json()).get("training.max_epochs")
    if searched is None:
        return run.epochs
    values = [int(value) for value in searched.values]
    return max([*values, run.epochs] if searched.when else values)


def check_path(path: str, where: str) -> None:
    """Refuse a dotted path that a search cannot change.

    Raises:
        ConfigError: naming the part that there is not, and what is nearest.
    """
    keys = path.split(".")
    for i, key in enumerate(keys):
        known = list(SEARCHABLE) if i == 0 else keys_at(TrainingRun, keys[:i])
        if key not in known or annotation_at(TrainingRun, keys[: i + 1]) is None:
            raise ConfigError(f'{where}: parameters has "{path}", but there is no "{key}"', nearest(key, known))
