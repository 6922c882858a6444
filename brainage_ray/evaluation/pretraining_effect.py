"""Does pre-training help? A linear mixed model of the absolute error, with what arms are made of as factors."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.linalg import null_space
from scipy.stats import t as student
from statsmodels.regression.mixed_linear_model import MixedLM

from brainage_ray.config import ArmConfig, BackboneConfig
from brainage_ray.config.experiment import PretrainingConfig
from brainage_ray.errors import DataError
from brainage_ray.evaluation.arms import NO_SPREAD_YEARS, person_errors, satterthwaite

BACKBONE = "backbone"
ROUNDING = 1e-9
"""A component below this is rounding."""


@dataclass(frozen=True)
class ArmFactors:
    """What each arm is made of."""

    table: pd.DataFrame
    """One row an arm (the index): backbone, a word; then one column of 0 and 1 for each pre-training stage."""
    kinds: Mapping[str, str]
    """Of each stage: weights or segmentation."""


@dataclass(frozen=True)
class FactorEffect:
    """What one factor adds to the MAE, the others being equal."""

    factor: str
    """backbone, or the name of a stage."""
    level: str
    """The two backbones that are compared, or the stage's kind."""
    years: float | None = None
    """Below 0: it helps."""
    interval: tuple[float, float] | None = None
    """95 % confidence interval over persons and seeds, years."""
    p: float | None = None
    """Two-sided."""
    note: str = ""
    """Where the factor is nested: in which backbones it varies."""
    reason: str = ""
    """Why a number is None."""


@dataclass(frozen=True)
class PretrainingEffect:
    """The mixed model."""

    effects: tuple[FactorEffect, ...]
    n_persons: int
    n_arms: int
    person_sd_years: float | None = None
    """Of the random intercepts: how much harder some persons are than others for every arm."""
    residual_sd_years: float | None = None
    """Of a person's mean error in one arm, averaged over its seeds."""
    reason: str = ""
    """Why there are no estimates."""


@dataclass(frozen=True)
class _Design:
    """The fixed effects that are fitted."""

    columns: tuple[str, ...]
    """The intercept, then one name an effect."""
    matrix: NDArray[np.float64]
    """[n_arms, n_columns], of full rank."""

    @property
    def estimators(self) -> NDArray[np.float64]:
        """[n_columns, n_arms]: the estimates are these times the arms' errors, as by least squares."""
        return np.asarray(np.linalg.pinv(self.matrix), dtype=np.float64)


def factors_of(arms: Mapping[str, ArmConfig], pretraining: Mapping[str, PretrainingConfig]) -> ArmFactors:
    """Read the factors off an experiment's arms.

    Backbones that differ in width or depth are different levels. A stage is a factor by its name, whatever its place
    in the chain; stages that no arm uses are none.

    Args:
        arms: of the experiment.
        pretraining: of the experiment, the stages by name.

    Raises:
        DataError: an arm names a stage that pretraining does not have, or that is named backbone.
    """
    used = {stage for arm in arms.values() for stage in arm.pretraining}
    if used - set(pretraining):
        stage = min(used - set(pretraining))
        raise DataError(f'there is no pre-training stage "{stage}"', f"There is {', '.join(pretraining) or 'none'}.")
    if BACKBONE in used:
        raise DataError(f'a pre-training stage is named "{BACKBONE}", as a factor is', "Give it another name.")
    stages = [stage for stage in pretraining if stage in used]
    rows = [
        {BACKBONE: _backbone(arm.backbone)} | {stage: int(stage in arm.pretraining) for stage in stages}
        for arm in arms.values()
    ]
    table = pd.DataFrame(rows, index=list(arms), columns=[BACKBONE, *stages])
    return ArmFactors(table, {stage: pretraining[stage].kind for stage in stages})


def pretraining_effect(
    brain_ages: Mapping[str, NDArray[Any]], age: NDArray[Any], person: NDArray[Any], factors: ArmFactors
) -> PretrainingEffect:
    """Estimate what the backbone and each pre-training stage add to the absolute error.

    The model is error ~ backbone + stages + (1 | person), fitted by REML on one row a person and arm: the mean over
    the person's scans, who is the unit that is sampled, and over the arm's seeds. Seeds are averaged because a seed's
    model is crossed with persons, which MixedLM fits only as one dense group; their spread comes back in the standard
    error, which has three parts as in evaluation.arms.compare_arms: persons + seeds - their interaction.

    The part of the persons is the sandwich over persons (Liang and Zeger, Biometrika 73:13, 1986), since the model's
    own one takes a stage to help everybody alike; every person is in every arm, so it is the spread of the estimates
    that each person gives alone. Student's t has Satterthwaite's degrees of freedom.

    The model is additive: a stage's effect is its mean over the arms that differ in it. A factor that does not vary,
    or that cannot be told from others, is left out and says so.

    Args:
        brain_ages: by arm: [n_seeds, n_scans], years.
        age: [n_scans], chronological, years.
        person: [n_scans], who was scanned.
        factors: of the same arms.

    Raises:
        DataError: an arm without factors, shapes that do not fit, no scans, a value that is not finite, or a scan
            without a person.
    """
    unknown = [arm for arm in brain_ages if arm not in factors.table.index]
    if unknown:
        raise DataError(f"arm {unknown[0]} has no factors", f"They are of {', '.join(map(str, factors.table.index))}.")
    sums = person_errors(brain_ages, age, person)
    by_seed = [seeds / sums.n_scans for seeds in sums.sums_years.values()]
    table = factors.table.loc[list(brain_ages)]
    design, effects = _design(table, factors.kinds)
    fit = _fit(design, np.stack([seeds.mean(axis=0) for seeds in by_seed], axis=1))
    if isinstance(fit, str):
        effects = [effect if effect.reason else replace(effect, reason=fit) for effect in effects]
        return PretrainingEffect(tuple(effects), len(sums.n_scans), len(table), reason=fit)
    estimates, person_sd, residual_sd = fit
    errors = _standard_errors(design, by_seed)
    alone = [str(arm) for arm, seeds in zip(table.index, by_seed, strict=True) if len(seeds) < 2]
    done = [
        effect if effect.reason else _estimate(effect, estimates[_column(effect)], errors[_column(effect)], alone)
        for effect in effects
    ]
    return PretrainingEffect(tuple(done), len(sums.n_scans), len(table), person_sd, residual_sd)


def _backbone(config: BackboneConfig) -> str:
    changed = config.model_dump(exclude_defaults=True, exclude={"kind"})
    settings = ", ".join(f"{name} {value}" for name, value in changed.items())
    return f"{config.kind} ({settings})" if settings else config.kind


def _column(effect: FactorEffect) -> str:
    return f"{effect.factor}: {effect.level}" if effect.factor == BACKBONE else effect.factor


def _design(table: pd.DataFrame, kinds: Mapping[str, str]) -> tuple[_Design, list[FactorEffect]]:
    """Code the factors, and say of each effect why it cannot be estimated, if so."""
    backbones = list(dict.fromkeys(table[BACKBONE]))
    effects = [FactorEffect(BACKBONE, f"{level} instead of {backbones[0]}") for level in backbones[1:]]
    columns = [table[BACKBONE] == level for level in backbones[1:]]
    if not effects:
        effects, columns = [FactorEffect(BACKBONE, backbones[0], reason="all arms have it")], [table[BACKBONE] == ""]
    for stage, kind in kinds.items():
        inside = [b for b in backbones if table.loc[table[BACKBONE] == b, stage].nunique() > 1]
        where = f"varies in {', '.join(inside)} only" if inside and len(inside) < len(backbones) else ""
        constant = "" if table[stage].nunique() > 1 else f"{'all arms have' if table[stage].all() else 'no arm has'} it"
        effects.append(FactorEffect(stage, kind, note=where, reason=constant))
        columns.append(table[stage] == 1)
    varying = [(e, c.to_numpy(dtype=np.float64)) for e, c in zip(effects, columns, strict=True) if not e.reason]
    names = ["", *(_column(effect) for effect, _ in varying)]
    matrix = np.column_stack([np.ones(len(table)), *(column for _, column in varying)])
    confounded = _confounded(names, matrix)
    return _independent(names, matrix), [
        replace(effect, reason=confounded.get(_column(effect), "")) if not effect.reason else effect
        for effect in effects
    ]


def _confounded(names: Sequence[str], matrix: NDArray[np.float64]) -> dict[str, str]:
    """Say of each coefficient that the arms do not determine which others it cannot be told from.

    A coefficient is estimable if no vector that the design maps to 0 has a part in it (Searle, Linear Models, 1971).
    """
    loose = np.abs(null_space(matrix)) > ROUNDING
    reasons = {}
    for i in map(int, np.flatnonzero(loose.any(axis=1))):
        others = map(int, np.flatnonzero(loose[:, loose[i]].any(axis=1)))
        rest = [names[j] for j in others if j != i and names[j]]
        reasons[names[i]] = f"confounded with {', '.join(rest) or 'the mean'}: no two arms differ in it alone"
    return reasons


def _independent(names: Sequence[str], matrix: NDArray[np.float64]) -> _Design:
    """Keep each column that adds to the rank of those before it; what is estimable does not depend on the choice."""
    kept: list[int] = []
    for i in range(matrix.shape[1]):
        if np.linalg.matrix_rank(matrix[:, [*kept, i]]) > len(kept):
            kept.append(i)
    return _Design(tuple(names[i] for i in kept), matrix[:, kept])


def _fit(design: _Design, by_arm: NDArray[np.float64]) -> tuple[dict[str, float], float, float] | str:
    """Fit the mixed model to [n_persons, n_arms]; return estimates, sd of persons and of the rest, or why not."""
    n_persons, n_arms = by_arm.shape
    if len(design.columns) < 2:
        return "no factor varies between the arms"
    if n_persons < 2:
        return "one person has no spread"
    if np.ptp(by_arm - by_arm.mean(axis=0), axis=0).max() < NO_SPREAD_YEARS:
        return "all persons have the same errors"
    model = MixedLM(by_arm.ravel(), np.tile(design.matrix, (n_persons, 1)), np.repeat(np.arange(n_persons), n_arms))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the optimisers tried in turn; what counts is `converged`
        try:
            result = model.fit(reml=True)
        except (np.linalg.LinAlgError, ValueError) as error:
            return f"the mixed model could not be fitted: {error}"
    if not (result.converged and np.isfinite(result.fe_params).all()):
        return "the mixed model did not converge"
    estimates = dict(zip(design.columns, map(float, result.fe_params), strict=True))
    return estimates, sqrt(max(float(result.cov_re[0, 0]), 0.0)), sqrt(float(result.scale))


def _standard_errors(design: _Design, by_seed: Sequence[NDArray[np.float64]]) -> dict[str, tuple[float, float]]:
    """Return the standard error (years) and degrees of freedom of each estimate; see pretraining_effect."""
    n_persons = by_seed[0].shape[1]
    arms = np.stack([seeds.mean(axis=0) for seeds in by_seed], axis=1)
    spread = np.array([_seed_variances(seeds) for seeds in by_seed])
    freedoms = [n_persons - 1, *(max(len(seeds) - 1, 1) for seeds in by_seed)]
    errors = {}
    for name, row in zip(design.columns, design.estimators, strict=True):
        persons = float(np.var(arms @ row, ddof=1)) / n_persons
        seeds, mixed = row**2 * spread[:, 0], float(row**2 @ spread[:, 1])
        total = max(persons + seeds.sum() - mixed, persons, seeds.sum())
        freedom = satterthwaite([persons, *seeds], freedoms, total) if total > NO_SPREAD_YEARS**2 else 0.0
        errors[name] = (sqrt(total), freedom)
    return errors


def _seed_variances(seeds: NDArray[np.float64]) -> tuple[float, float]:
    """Return the variances of an arm's MAE over seeds, and of that what persons and seeds make together."""
    n_seeds, n_persons = seeds.shape
    if n_seeds < 2:
        return 0.0, 0.0
    by_seed, by_person = seeds.mean(axis=1, keepdims=True), seeds.mean(axis=0, keepdims=True)
    rest = ((seeds - by_seed - by_person + seeds.mean()) ** 2).sum() / ((n_seeds - 1) * (n_persons - 1))
    return float(np.var(by_seed, ddof=1)) / n_seeds, float(rest) / (n_seeds * n_persons)


def _estimate(effect: FactorEffect, years: float, error: tuple[float, float], alone: Sequence[str]) -> FactorEffect:
    se, freedom = error
    if alone:
        return replace(effect, years=years, reason=f"one seed of {alone[0]}: its spread between seeds is unknown")
    if se < NO_SPREAD_YEARS:
        return replace(effect, years=years, reason="neither persons nor seeds differ in the effect")
    margin = float(student.ppf(0.975, freedom)) * se
    p = float(2 * student.sf(abs(years) / se, freedom))
    return replace(effect, years=years, interval=(years - margin, years + margin), p=p)
