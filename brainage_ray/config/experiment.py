"""An experiment: arms that differ in architecture and pre-training and in nothing else."""

from __future__ import annotations

from itertools import combinations
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from brainage_ray.config.base import FrozenModel, matching
from brainage_ray.config.data import DataConfig
from brainage_ray.config.model import (
    BackboneConfig,
    Diagnoses,
    OptimizerConfig,
    ResNetConfig,
    ScheduleConfig,
    TrainingConfig,
    UNetConfig,
    each_once,
)
from brainage_ray.config.search import SearchConfig

Name = Annotated[
    str,
    matching("[A-Za-z0-9][A-Za-z0-9_.+-]{0,79}", "a name: a letter or digit, then up to 79 of those and _ . + -"),
]
Aggregate = Literal["median", "mean"]
Seeds = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1), AfterValidator(each_once)]

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


def _https(uri: str) -> str:
    if "://" in uri and not uri.startswith("https://"):
        raise ValueError(f"weights cannot be fetched from {uri}; write a local path or an https address")
    return uri


class ImportedWeights(FrozenModel):
    """Encoder weights made elsewhere: torchvision's ResNet-50, nnU-Net's 2D checkpoints, our own files and models."""

    kind: Literal["weights"]
    uri: Annotated[str, AfterValidator(_https)]
    """A local path or an https address of a file; or models: a folder that `brainage pull` made,
    WORKSPACE/EXPERIMENT/ARM, or models:/EXPERIMENT@ALIAS of this workspace's MLflow."""
    sha256: Annotated[str, matching("[0-9a-f]{8,64}", "a checksum: 8 to 64 of the digits 0-9 and a-f")]
    """Checksum of the file, or its first digits (8 at least), as torchvision puts them into its file names; of models
    that of their model.json."""


class SegmentationPretraining(FrozenModel):
    """Training of encoder and decoder on tumour segmentation, from which the encoder goes on."""

    kind: Literal["segmentation"]
    cohorts: Annotated[tuple[str, ...], AfterValidator(each_once)] = ()
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


class RefitConfig(FrozenModel):
    """The final models, on train + validation with the chosen settings and epochs."""

    seeds: Seeds = (0, 1, 2, 3, 4)
    """One model each; the seed drives initialisation, shuffling and augmentation."""
    workers: Annotated[int, Field(ge=1)] = 1
    """Ray Train workers."""
    parallel: Literal["share", "ddp"] = "share"
    """share: the workers share out the seeds; ddp: they fit each seed together."""


class EvaluationConfig(FrozenModel):
    """From slices to one brain age per scan, and which scans count."""

    aggregate: Aggregate = "median"
    """Over a scan's slices."""
    diagnoses: Diagnoses = ("CN", "MCI", "AD")
    """Groups of the delta table."""
    one_scan_per_subject: Literal["baseline", "all"] = "baseline"
    """baseline takes each person's first scan; all counts repeat visits as if independent."""


class StatisticsConfig(FrozenModel):
    """Comparisons of the brain-age delta between diagnoses."""

    correction: Literal["holm", "none"] = "holm"
    """Of the p-values over the pairs of diagnoses."""
    adjust_for: Annotated[tuple[Literal["age", "sex", "site"], ...], AfterValidator(each_once)] = ("age", "sex", "site")
    """Covariates of the adjusted contrasts between diagnoses."""
    bias_correction: Literal["none", "cole", "de_lange"] = "de_lange"
    """Takes regression towards the mean out of the delta, as far as the validation split shows it; the raw delta
    always stands beside it."""
    draws: Annotated[int, Field(ge=1000)] = 10_000
    """Of every bootstrap and permutation."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of the same."""


def _gpus(count: float) -> float:
    if count > 1 and not count.is_integer():
        raise ValueError(f"Ray does not give out {count:g} GPUs; write a whole number, or less than 1 to share a GPU")
    return count


Gpus = Annotated[float, Field(ge=0), AfterValidator(_gpus)]


class ResourcesConfig(FrozenModel):
    """What one unit of work holds while it runs."""

    cpus_per_scan: Annotated[float, Field(gt=0)] = 1
    """Of a preparation task."""
    memory_gib_per_scan: Annotated[float, Field(gt=0)] = 2
    """Of the process of a preparation task, GiB: so many run at once as fit into the memory that Ray has, and a scan
    that needs more fails, on the record. `python -m benchmarks preparation` measures what scans need."""
    cpus_per_trial: Annotated[float, Field(gt=0)] = 1
    """Of a search trial; also its torch threads."""
    gpus_per_trial: Gpus = 0
    """Of a search trial; 0.25 lets four share a GPU."""
    memory_gib_per_trial: Annotated[float, Field(gt=0)] | None = None
    """Of the process of a search trial (or of each worker of a wide one), GiB: Ray places no more of them on a node
    than its memory holds. Default: measured, before the search, on the largest network of its space."""
    cpus_per_worker: Annotated[float, Field(gt=0)] = 1
    """Of a Ray Train worker; also its torch threads."""
    gpus_per_worker: Gpus = 0
    """Of a Ray Train worker."""

    def gpus_of_trial(self, workers: int) -> float:
        """Return the GPUs, or the share of one, that a search trial holds that so many workers fit together."""
        return self.gpus_per_trial if workers == 1 else workers * self.gpus_per_worker


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
            self.check_slices(name, arm.backbone)
        self._check_differ()
        return self

    @model_validator(mode="after")
    def _delta_is_of_others(self) -> Self:
        if self.search.delta_is_objective and "AD" in self.training.diagnoses:
            raise ValueError(
                "search.objective has validation_delta_auc, which tells AD from those that the model learns from, and "
                "training.diagnoses has AD; take one of them out"
            )
        return self

    @model_validator(mode="after")
    def _one_gpu_a_rank(self) -> Self:
        gpus = self.resources.gpus_per_worker
        jobs: dict[str, RefitConfig | SegmentationPretraining] = {"refit": self.refit} | {
            f"pretraining.{name}": stage for name, stage in self.pretraining.items() if stage.kind == "segmentation"
        }
        for key, job in jobs.items():
            if job.parallel == "ddp" and job.workers > 1 and 0 < gpus < 1:
                raise ValueError(
                    f"{key}.parallel is ddp and resources.gpus_per_worker is {gpus:g}, which puts two workers of one "
                    f"run on one GPU, and NCCL refuses that; set resources.gpus_per_worker: 1, or {key}.parallel: share"
                )
        return self

    @model_validator(mode="after")
    def _trials_hold_what_they_need(self) -> Self:
        workers, held = self.search.workers_per_trial, self.resources
        if workers > 1 and 0 < held.gpus_per_worker < 1:
            raise ValueError(
                f"search.workers_per_trial is {workers} and resources.gpus_per_worker is {held.gpus_per_worker:g}, "
                "which puts two workers of one trial on one GPU, and NCCL refuses that; set "
                "resources.gpus_per_worker: 1, or search.workers_per_trial: 1 and a share in resources.gpus_per_trial"
            )
        if workers > 1 and held.gpus_per_trial > 0 and held.gpus_per_worker == 0:
            raise ValueError(
                f"search.workers_per_trial is {workers}, so that a trial holds {workers} times "
                f"resources.gpus_per_worker, which is 0, and not resources.gpus_per_trial: {held.gpus_per_trial:g}; "
                "set resources.gpus_per_worker"
            )
        if self.search.budget.max_gpu_hours is not None and held.gpus_of_trial(workers) == 0:
            raise ValueError(
                "search.budget.max_gpu_hours would never be spent: a trial holds no GPU; set max_hours, or "
                f"resources.{'gpus_per_trial' if workers == 1 else 'gpus_per_worker'}"
            )
        return self

    def check_slices(self, name: str, backbone: BackboneConfig) -> None:
        """Refuse a U-Net that leaves one pixel of a slice, which instance norm would set to 0.

        Args:
            name: of the arm, for the message.
            backbone: the arm's, or what a search makes of it.

        Raises:
            ValueError: naming the arm and the shape.
        """
        height, width = self.data.preprocessing.slice_shape
        if isinstance(backbone, UNetConfig) and max(height, width) <= (stride := 2 ** (backbone.depth - 1)):
            raise ValueError(
                f"arm {name} shrinks slices of {height} x {width} pixels to one pixel in {backbone.depth} stages; "
                f"set data.preprocessing.slice_shape above {stride} or lower backbone.depth"
            )

    def _check_differ(self) -> None:
        for (first, one), (second, other) in combinations(self.arms.items(), 2):
            if one.backbone == other.backbone and self._chain(one) == self._chain(other):
                raise ValueError(
                    f"an arm is an architecture plus a chain of pre-training; {first} and {second} are the same; "
                    f"take one out"
                )

    def _chain(self, arm: ArmConfig) -> list[ImportedWeights | SegmentationPretraining]:
        return [self.pretraining[stage] for stage in arm.pretraining]

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
