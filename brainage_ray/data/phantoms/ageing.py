"""How a phantom's brain ages: a known course, so that a model can be asked whether it has found it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

DISEASE_YEARS = {"CN": 0.0, "SMC": 0.0, "EMCI": 3.0, "MCI": 3.0, "LMCI": 3.0, "AD": 6.0}
"""By how many years a diagnosis makes a brain older than its owner."""
SCATTER_YEARS = 2.0
"""Standard deviation of a healthy person's effective age around the chronological; it stays with the person."""
_VENTRICLE_SCATTER_MM = 0.25
_THINNING_SCATTER = 0.02


@dataclass(frozen=True)
class Course:
    """How far ageing has come in one brain."""

    ventricle_mm: float
    """How far the walls of the lateral ventricles have moved outwards, mm."""
    thinning: float
    """Share of the grey matter beside CSF that has turned into CSF."""
    contrast: float
    """Difference of brightness of white and grey matter, relative to the template's."""


def planted_course(effective_age: float) -> Course:
    """Return the mean course of ageing.

    With t = effective age - 50 years (0 below)::

        ventricle_mm = 0.06 t + 0.0012 t^2        0.3 mm at 55, 4.3 mm at 90
        thinning     = 0.05 + 0.012 t             0.11 at 55, 0.53 at 90
        contrast     = 1 - 0.004 t                0.98 at 55, 0.84 at 90

    Args:
        effective_age: chronological age plus the person's scatter plus the years of the disease.
    """
    t = max(effective_age - 50.0, 0.0)
    return Course(0.06 * t + 0.0012 * t**2, 0.05 + 0.012 * t, 1 - 0.004 * t)


def draw_scatter(rng: np.random.Generator) -> tuple[float, float, float]:
    """Draw what makes a person differ from the mean course: years, ventricles (mm), thinning."""
    years, ventricle, thinning = rng.standard_normal(3) * [SCATTER_YEARS, _VENTRICLE_SCATTER_MM, _THINNING_SCATTER]
    return float(years), float(ventricle), float(thinning)


def personal_course(age_years: float, diagnosis: str, scatter: tuple[float, float, float]) -> Course:
    """Return a person's course at a chronological age, years, given the diagnosis and `draw_scatter`."""
    years, ventricle, thinning = scatter
    mean = planted_course(age_years + years + DISEASE_YEARS[diagnosis])
    return Course(mean.ventricle_mm + ventricle, max(mean.thinning + thinning, 0.0), mean.contrast)
