"""Published results, as data in reference.yaml, for experiments that repeat them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.resources import files
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict


class Published(BaseModel):
    """A published number: its mean over repeats, and their standard deviation or maximum."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mean: float
    sd: float | None = None
    max: float | None = None


class PublishedArm(BaseModel):
    """One row of the published tables."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    search_validation_mae: Published
    """Years."""
    refit_test_mae: Published
    """Years; fitted on training and validation."""
    refit_test_p: Published
    """MCI against AD, two-sided Mann-Whitney U on the brain-age delta."""


class Reference(BaseModel):
    """The published tables."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    citation: str
    data: str
    """What the numbers were measured on."""
    arms: Mapping[str, PublishedArm]
    literature_test_mae: Mapping[str, float]
    """Years, by work."""


def reference_for(arms: Iterable[str]) -> Reference | None:
    """Return the published results where an experiment has exactly the published arms, else None."""
    data: Any = yaml.safe_load((files("brainage_ray.report") / "reference.yaml").read_text(encoding="utf-8"))
    reference = Reference.model_validate(data)
    return reference if set(arms) == set(reference.arms) else None
