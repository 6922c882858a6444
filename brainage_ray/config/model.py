"""Networks and how they are trained."""

from __future__ import annotations

from typing import Annotated, Literal, Self, TypeVar

from pydantic import AfterValidator, Field, model_validator

from brainage_ray.config.base import FrozenModel
from brainage_ray.config.data import Diagnosis

Fraction = Annotated[float, Field(ge=0, le=1)]
T = TypeVar("T")


def each_once(values: tuple[T, ...]) -> tuple[T, ...]:
    """Refuse a list that names something twice.

    Raises:
        ValueError: naming what.
    """
    twice = next((value for i, value in enumerate(values) if value in values[:i]), None)
    if twice is not None:
        raise ValueError(f"{twice} is named twice; name each once")
    return values


Diagnoses = Annotated[tuple[Diagnosis, ...], Field(min_length=1), AfterValidator(each_once)]


class UNetConfig(FrozenModel):
    """The encoder of the 2D nnU-Net v1: two 3x3 convolutions a stage, instance norm, leaky ReLU."""

    kind: Literal["unet"]
    width: Annotated[float, Field(gt=0, le=4)] = 1.0
    """Factor on the published features 32-64-128-256-480-480."""
    depth: Annotated[int, Field(ge=2, le=6)] = 6
    """Stages, counted from the input."""


class ResNetConfig(FrozenModel):
    """ResNet-50 (He et al. 2015, stride on the 3x3 as in torchvision), or a smaller sibling."""

    kind: Literal["resnet50"]
    width: Annotated[float, Field(gt=0, le=4)] = 1.0
    """Factor on the published features 64-256-512-1024-2048."""
    depth: Literal[14, 26, 50] = 50
    """Layers: 50 has 3-4-6-3 bottleneck blocks, 26 has 2-2-2-2, 14 has 1-1-1-1."""


BackboneConfig = Annotated[UNetConfig | ResNetConfig, Field(discriminator="kind")]


class OptimizerConfig(FrozenModel):
    """The optimizer of torch.optim."""

    name: Literal["adam", "adamw", "sgd"] = "adam"
    """sgd is with Nesterov momentum."""
    lr: Annotated[float, Field(gt=0, le=10)] = 1.0e-4
    """Learning rate at the top of the schedule."""
    weight_decay: Annotated[float, Field(ge=0, le=10)] = 0.0
    """L2 penalty (adam, sgd) or decoupled decay (adamw) per unit of learning rate."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """For sgd."""


class ScheduleConfig(FrozenModel):
    """Learning rate over the steps of max_epochs."""

    name: Literal["constant", "cosine", "poly"] = "constant"
    """cosine falls to 0; poly falls to 0 with power 0.9, as nnU-Net's."""
    warmup_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the steps in which the rate first rises linearly from 0."""


class AugmentationConfig(FrozenModel):
    """Random changes of a training slice, drawn anew each time it is seen; validation sees none."""

    flip_probability: Fraction = 0.0
    """Of a left-right mirror image."""
    rotation_deg: Annotated[float, Field(ge=0, le=180)] = 0.0
    """Largest in-plane rotation, degrees."""
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Largest relative change of size."""
    shear: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Largest shear, a tangent."""
    warp_probability: Fraction = 1.0
    """Share of the slices that are rotated, scaled and sheared, which blurs them a little; the others stay as
    sharp as the slices that are predicted later."""
    translate_px: Annotated[int, Field(ge=0)] = 0
    """Largest shift along each axis, in whole pixels, which blurs nothing."""
    intensity_scale: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Largest relative change of contrast inside the brain."""
    intensity_shift: Annotated[float, Field(ge=0)] = 0.0
    """Largest shift of brightness inside the brain, standard deviations."""
    gamma: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Largest |log2| of the gamma curve inside the brain."""
    noise_sd: Annotated[float, Field(ge=0)] = 0.0
    """Standard deviation of Gaussian noise inside the brain, standard deviations."""


class TargetConfig(FrozenModel):
    """years = output x sd_years + mean_years; where null, the training scans' own mean and sd."""

    mean_years: Annotated[float, Field(ge=0, le=120)] | None = None
    sd_years: Annotated[float, Field(gt=0, le=120)] | None = None


class TrainingConfig(FrozenModel):
    """One training: the same for search trials, refits and pre-training."""

    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    loss: Literal["mse", "l1", "huber"] = "mse"
    """For age, on the standardised target. Segmentation is always Dice + cross-entropy."""
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 64
    """Slices a step, over all workers."""
    max_epochs: Annotated[int, Field(ge=1, le=100000)] = 50
    """Passes over the training slices; the schedule ends here."""
    precision: Literal["float32", "bf16"] = "float32"
    """bf16 runs the network in autocast; head and loss stay in float32."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Of the pooled features, before the regression head."""
    pooling: Literal["last", "all"] = "last"
    """Feature maps whose means the regression head sees: the deepest, as published, or those of every stage, which
    also tell how much of a slice is bright or dark."""
    slice_position: bool = False
    """Feed the slice's height as a second regression input beside the pooled features."""
    augmentation: AugmentationConfig = AugmentationConfig()
    target: TargetConfig = TargetConfig()
    diagnoses: Diagnoses = ("CN",)
    """Whose scans train, validate and count for the MAE."""

    @model_validator(mode="after")
    def _target_whole(self) -> Self:
        if (self.target.mean_years is None) != (self.target.sd_years is None):
            raise ValueError("target needs both mean_years and sd_years, or neither")
        return self
