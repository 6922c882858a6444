"""An experiment: arms that differ in architecture and pre-training and in nothing else."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from brainage_ray.config.base import FrozenModel
from brainage_ray.config.data import DataConfig, Diagnosis
from brainage_ray.config.model import BackboneConfig, OptimizerConfig, ResNetConfig, ScheduleConfig, TrainingConfig
from brainage_ray.config.space import SearchSpace

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$", max_length=80)]
Aggregate = Literal["median", "mean"]

NNUNET_TRAINING = TrainingConfig(
    optimizer=OptimizerConfig(name="sgd", lr=0.01, momentum=0.99),
    schedule=ScheduleConfig(name="poly"),
    batch_size=32,
    max_epochs=50,
)


class ArmConfig(FrozenModel):
    """An architecture plus an ordered chain of pre-training stages, nothing else."""

    backbone: BackboneConfig
    pretraining: tuple[Name, ...] = ()
    """Names of stages under `pretraining`, in the order in which they are applied."""


class ImportedWeights(FrozenModel):
    """Encoder weights made elsewhere, in torchvision's format of ResNet-50 or as our own safetensors."""

    kind: Literal["weights"]
    uri: str
    """A local path or an https address."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{8,64}$")]
    """Checksum of the file, or its first digits (8 at least), as torchvision puts them into its file names."""


class SegmentationPretraining(FrozenModel):
    """Training of encoder and decoder on tumour segmentation, from which the encoder goes on."""

    kind: Literal["segmentation"]
    cohorts: tuple[str, ...] = ()
    """Cohorts with segmentations to use; none named: all."""
    training: TrainingConfig = NNUNET_TRAINING
    """Dice + cross-entropy with deep supervision; nnU-Net's SGD and poly schedule by default."""
    seeds: Annotated[int, Field(ge=1)] = 1
    """Repeats; repeat i of the fine-tuning starts from repeat i modulo this."""
    workers: Annotated[int, Field(ge=1)] = 1
    """Ray Train workers."""
    parallel: Literal["share", "ddp"] = "share"
    """share: the workers share out the runs; ddp: they fit each run together."""


PretrainingConfig = Annotated[ImportedWeights | SegmentationPretraining, Field(discriminator="kind")]


class SearchConfig(FrozenModel):
    """Ray Tune with Optuna, once per arm, on the validation split."""

    space: SearchSpace
    """What the search may change: a path of a YAML file, or the space itself."""
    sampler: Literal["grid", "random", "tpe"] = "tpe"
    """grid tries every combination of categorical parameters; tpe is Optuna's multivariate TPE."""
    scheduler: Literal["none", "asha"] = "none"
    """asha stops trials early that are not in the better half of those that came as far."""
    grace_epochs: Annotated[int, Field(ge=1)] | None = None
    """Epochs that asha gives every trial; default: a quarter of max_epochs, so that a warm-up is over."""
    trials: Annotated[int, Field(ge=1)] = 20
    """Trials per arm; not for grid, which has as many as it has points."""
    seeds_per_trial: Annotated[int, Field(ge=1)] = 1
    """Repeats of each trial, trained side by side; the trial's value is their mean."""
    objective: Literal["validation_mae"] = "validation_mae"
    """Mean absolute error of the scans' brain ages on the validation split, years."""
    smooth_epochs: Annotated[int, Field(ge=1)] = 1
    """Window of the moving average over the epochs' values, before the best epoch is taken."""
    max_concurrent: Annotated[int, Field(ge=1)] | None = None
    """Trials at a time; default: as many as the resources hold."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of the sampler and of the trials' networks."""


class RefitConfig(FrozenModel):
    """The final models, on train + validation with the chosen settings and epochs."""

    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = (0, 1, 2, 3, 4)
    """One model each; the seed drives initialisation, shuffling and augmentation."""
    workers: Annotated[int, Field(ge=1)] = 1
    """Ray Train workers."""
    parallel: Literal["share", "ddp"] = "share"
    """share: the workers share out the seeds; ddp: they fit each seed together."""


class EvaluationConfig(FrozenModel):
    """From slices to one brain age per scan, and which scans count."""

    aggregate: Aggregate = "median"
    """Over a scan's slices."""
    diagnoses: Annotated[tuple[Diagnosis, ...], Field(min_length=1)] = ("CN", "MCI", "AD")
    """Groups of the delta table."""
    one_scan_per_subject: Literal["baseline", "all"] = "baseline"
    """baseline takes each person's first scan; all counts repeat visits as if independent."""


class StatisticsConfig(FrozenModel):
    """Comparisons of the brain-age delta between diagnoses."""

    correction: Literal["holm", "none"] = "holm"
    """Of the p-values over the pairs of diagnoses."""


class ResourcesConfig(FrozenModel):
    """What one unit of work holds while it runs."""

    cpus_per_scan: Annotated[float, Field(gt=0)] = 1
    """Of a preparation task."""
    cpus_per_trial: Annotated[float, Field(gt=0)] = 1
    """Of a search trial; also its torch threads."""
    gpus_per_trial: Annotated[float, Field(ge=0)] = 0
    """Of a search trial; 0.25 lets four share a GPU."""
    cpus_per_worker: Annotated[float, Field(gt=0)] = 1
    """Of a Ray Train worker; also its torch threads."""
    gpus_per_worker: Annotated[float, Field(ge=0)] = 0
    """Of a Ray Train worker."""


class Experiment(FrozenModel):
    """The whole of an experiment file."""

    name: Name
    """Names the folder in the workspace and the experiment in MLflow."""
    description: str = ""
    """For the report's head."""
    data: DataConfig
    arms: Annotated[dict[Name, ArmConfig], Field(min_length=1)]
    pretraining: dict[Name, PretrainingConfig] = {}
    training: TrainingConfig = TrainingConfig()
    search: SearchConfig
    refit: RefitConfig = RefitConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    statistics: StatisticsConfig = StatisticsConfig()
    resources: ResourcesConfig = ResourcesConfig()

    @model_validator(mode="after")
    def _arms_fit(self) -> Self:
        for name, arm in self.arms.items():
            for i, stage in enumerate(arm.pretraining):
                self._check_stage(name, arm, i, stage)
        if len(set(self.refit.seeds)) < len(self.refit.seeds):
            raise ValueError(f"refit.seeds {list(self.refit.seeds)} names a seed twice; name each once")
        return self

    def _check_stage(self, name: str, arm: ArmConfig, i: int, stage: str) -> None:
        if stage not in self.pretraining:
            known = ", ".join(self.pretraining) or "none"
            raise ValueError(f'arm {name} wants the pre-training "{stage}", which pretraining does not have ({known})')
        config = self.pretraining[stage]
        if config.kind != "weights":
            return
        if i > 0:
            raise ValueError(f"arm {name} puts the imported weights {stage} after another stage; they come first")
        if not isinstance(arm.backbone, ResNetConfig):
            raise ValueError(f"arm {name} imports ResNet-50 weights into a {arm.backbone.kind}; use resnet50")
