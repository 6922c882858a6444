"""Published results, as data in reference.yaml."""

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

    name: str
    """As a row of a table has it."""
    citation: str
    data: str
    """What the numbers were measured on."""
    arms: Mapping[str, PublishedArm]
    literature_test_mae: Mapping[str, float]
    """Years, by work."""

    def beside(self, arms: Iterable[str]) -> Mapping[str, PublishedArm]:
        """Return what was published of an experiment's arms: all where they are the published ones, else nothing."""
        return self.arms if set(arms) == set(self.arms) else {}

    def works(self, arms: Iterable[str]) -> list[tuple[str, float]]:
        """Return work and test MAE in years, best first; the tables' own best where they do not stand beside."""
        works = dict(self.literature_test_mae)
        if not self.beside(arms):
            best = min(self.arms, key=lambda arm: self.arms[arm].refit_test_mae.mean)
            works[f"{self.name}, {best}"] = self.arms[best].refit_test_mae.mean
        return sorted(works.items(), key=lambda item: item[1])


def read_reference() -> Reference:
    """Read the published tables, which are part of the package."""
    data: Any = yaml.safe_load((files("brainage_ray.report") / "reference.yaml").read_text(encoding="utf-8"))
    return Reference.model_validate(data)
