"""Differences of the brain-age delta between diagnoses at equal age, sex and site.

Ordinary least squares (statsmodels) of the delta, averaged over the seeds, on diagnosis + age + sex + site. Standard
errors allow unequal variances: HC3 (MacKinnon and White, J Econometrics 29:305, 1985; Long and Ervin, Am Stat 54:217,
2000) with Student's t of scans - coefficients degrees of freedom. Where people have several scans they are
cluster-robust by person (Liang and Zeger, Biometrika 73:13, 1986) with the correction and the people - 1 degrees of
freedom of Cameron and Miller, J Hum Resour 50:317 (2015); with fewer than some 40 people those are a little small.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from statsmodels.regression.linear_model import OLS

from brainage_ray.errors import DataError
from brainage_ray.evaluation.comparisons import adjust_p
from brainage_ray.evaluation.group_tests import (
    CONFIDENCE,
    all_equal,
    check_ages,
    check_deltas,
    count_scans,
    number_people,
)

MAX_MISSING = 0.1
"""A sex or site that more than this share of the scans lacks is left out; else those scans are."""
OTHER = "(other)"
"""The pool of levels with one scan."""


@dataclass(frozen=True)
class Covariates:
    """What the contrasts are adjusted for; None for what is not known."""

    age: NDArray[Any] | None = None
    """[n_scans], chronological, years."""
    sex: NDArray[Any] | None = None
    """[n_scans]; None, NaN or an empty text for a scan without."""
    site: NDArray[Any] | None = None
    """[n_scans], as sex."""
    age_squared: bool = False
    """Adjust for the square of the age too."""


@dataclass(frozen=True)
class AdjustedContrast:
    """Two diagnoses at equal covariates."""

    first: str
    second: str
    n_first: int
    """Scans in the model."""
    n_second: int
    estimate_years: float | None = None
    """Delta of `second` less that of `first`."""
    interval_years: tuple[float, float] | None = None
    """95 % confidence interval."""
    p: float | None = None
    """Two-sided."""
    p_adjusted: float | None = None
    """Corrected over the pairs."""
    reason: str = ""
    """Why the numbers are missing."""


@dataclass(frozen=True)
class AdjustedContrasts:
    """Every pair of diagnoses, and the model that they come from."""

    contrasts: tuple[AdjustedContrast, ...]
    adjusted_for: tuple[str, ...]
    """Of age, age squared, sex, site: those in the model."""
    left_out: tuple[tuple[str, str], ...]
    """The others, and why."""
    pooled_sites: tuple[str, ...]
    """Sites with one scan, which share one coefficient."""
    standard_errors: Literal["HC3", "cluster"]
    """Cluster: by person."""
    n_scans: int
    """In the model."""
    n_people: int
    n_left_out: int
    """Scans of these diagnoses that are not: without sex or site, alone in their level, or alone in their diagnosis."""
    reason: str = ""
    """Why there is no model."""


def adjusted_contrasts(
    deltas: NDArray[Any],
    diagnosis: NDArray[Any],
    diagnoses: Sequence[str],
    covariates: Covariates,
    person: NDArray[Any] | None = None,
    correction: Literal["holm", "none"] = "holm",
) -> AdjustedContrasts:
    """Estimate the difference of each pair of diagnoses at equal age, sex and site; see the module for the method.

    Args:
        deltas: [n_seeds, n_scans], years.
        diagnosis: [n_scans].
        diagnoses: the groups; `first` of a pair is the one named earlier.
        covariates: those that do not vary are left out. So is a sex or site that more than a tenth of the scans lacks;
            of one that fewer lack, those scans are left out.
        person: [n_scans], whose scan it is; None where each is of another person.
        correction: of p over the pairs.

    Returns:
        The contrasts; a diagnosis of fewer than two scans or people, collinear covariates, too few people or deltas
        without variance give contrasts without numbers that say why.

    Raises:
        DataError: shapes that differ, or a delta or age that is not finite.
    """
    values, labels, groups = check_deltas(deltas, diagnosis), np.asarray(diagnosis, dtype=object), tuple(diagnoses)
    people = np.arange(labels.size) if person is None else number_people(person, labels.size)
    known, unknown = _known(covariates, np.isin(labels, groups))
    kept = _settle(labels, people, known, groups)
    terms = {name: term[kept] for name, term in known.items()}
    blocks, constant = _blocks(labels[kept], groups, terms, covariates.age_squared)
    several = np.unique(people[kept]).size < kept.sum()
    model = AdjustedContrasts(
        contrasts=tuple(_empty(pair, labels, people, kept) for pair in combinations(groups, 2)),
        adjusted_for=tuple(blocks)[1:],
        left_out=unknown + constant,
        pooled_sites=_pool(terms["site"])[1] if "site" in terms else (),
        standard_errors="cluster" if several else "HC3",
        n_scans=int(kept.sum()),
        n_people=int(np.unique(people[kept]).size),
        n_left_out=int((np.isin(labels, groups) & ~kept).sum()),
    )
    reason = _why_no_model(values[:, kept], blocks, model)
    if reason:
        contrasts = tuple(replace(pair, reason=pair.reason or reason) for pair in model.contrasts)
        return replace(model, contrasts=contrasts, reason=reason)
    fit = _fit(values[:, kept].mean(axis=0), np.hstack(list(blocks.values())), people[kept] if several else None)
    return replace(model, contrasts=_fill(fit, [g for g in groups if g in labels[kept]], model.contrasts, correction))


def _fit(y: NDArray[np.float64], design: NDArray[np.float64], person: NDArray[np.int64] | None) -> Any:
    """Return statsmodels' result, with standard errors by person, or HC3 where each scan is of another one."""
    robust = {"cov_type": "HC3"} if person is None else {"cov_type": "cluster", "cov_kwds": {"groups": person}}
    return OLS(y, design, hasconst=True).fit(use_t=True, **robust)  # the columns of the diagnoses sum to a constant


def _fill(
    fit: Any, names: list[str], pairs: tuple[AdjustedContrast, ...], correction: Literal["holm", "none"]
) -> tuple[AdjustedContrast, ...]:
    """Fill in the pairs that the fitted model has."""
    filled = list(pairs)
    tested = []
    for i, pair in enumerate(pairs):
        if pair.reason:
            continue
        weights = np.zeros(fit.params.size)
        weights[names.index(pair.first)], weights[names.index(pair.second)] = -1, 1
        if weights @ fit.cov_params() @ weights <= 1e-18:
            filled[i] = replace(pair, reason="the deltas do not vary within these diagnoses")
            continue
        test = fit.t_test(weights)
        low, high = test.conf_int(alpha=1 - CONFIDENCE)[0]
        filled[i] = replace(
            pair,
            estimate_years=float(np.squeeze(test.effect)),
            interval_years=(float(low), float(high)),
            p=float(np.squeeze(test.pvalue)),
        )
        tested.append(i)
    adjusted = adjust_p(np.array([[filled[i].p] for i in tested], dtype=np.float64), correction)
    for i, row in zip(tested, adjusted, strict=True):
        filled[i] = replace(filled[i], p_adjusted=float(row[0]))
    return tuple(filled)


def _known(
    covariates: Covariates, counts: NDArray[np.bool_]
) -> tuple[dict[str, NDArray[Any]], tuple[tuple[str, str], ...]]:
    """Return the covariates that can be used, missing levels as None, and the others with their reason."""
    known: dict[str, NDArray[Any]] = {}
    left_out = []
    for name in ("age", "sex", "site"):
        given = getattr(covariates, name)
        if given is None:
            left_out.append((name, "not given"))
            continue
        if np.shape(given) != counts.shape:
            raise DataError(f"{name} {np.shape(given)} and {counts.size} scans do not fit", f"Give one {name} a scan.")
        term = check_ages(given, counts.size) if name == "age" else _texts(given)
        missing = int((pd.isna(term) & counts).sum())
        if missing > MAX_MISSING * counts.sum():
            left_out.append((name, f"missing for {missing} of {int(counts.sum())} scans"))
        else:
            known[name] = term
    return known, tuple(left_out)


def _settle(
    diagnosis: NDArray[Any], person: NDArray[np.int64], terms: Mapping[str, NDArray[Any]], diagnoses: tuple[str, ...]
) -> NDArray[np.bool_]:
    """Return which scans make the model: [n_scans].

    A scan that is alone in its level would be fitted exactly by the coefficient of that level: it says nothing of the
    contrasts and HC3 has no value for it.
    """
    kept = np.isin(diagnosis, list(diagnoses))
    for term in terms.values():
        kept &= ~pd.isna(term)
    before = -1
    while before != kept.sum():
        before = kept.sum()
        for name in diagnoses:
            if np.unique(person[kept & (diagnosis == name)]).size < 2:
                kept &= diagnosis != name
        for name in [name for name in terms if name != "age"]:
            levels, counts = np.unique(_pool(terms[name][kept])[0], return_counts=True)
            lone = np.isin(_pool(terms[name][kept])[0], levels[counts == 1])
            kept[np.flatnonzero(kept)[lone]] = False
    return kept


def _blocks(
    diagnosis: NDArray[Any], diagnoses: tuple[str, ...], terms: Mapping[str, NDArray[Any]], age_squared: bool
) -> tuple[dict[str, NDArray[np.float64]], tuple[tuple[str, str], ...]]:
    """Return the columns of the diagnoses and of each covariate, and the covariates that do not vary."""
    present = [name for name in diagnoses if name in diagnosis]
    blocks = {"diagnosis": np.array([diagnosis == name for name in present], dtype=np.float64).T}
    for name, term in terms.items():
        if name == "age":
            centred = (term - (term.mean() if term.size else 0.0))[:, None]
            n_ages = np.unique(np.round(term, 9)).size
            blocks["age"] = centred[:, : n_ages > 1]
            if age_squared:  # the square of an age that takes two values is a line
                blocks["age squared"] = centred[:, : n_ages > 2] ** 2
        else:
            blocks[name] = pd.get_dummies(_pool(term)[0], drop_first=True, dtype=float).to_numpy()
    constant = [name for name, block in blocks.items() if block.size == 0 and name != "diagnosis"]
    varying = {name: block for name, block in blocks.items() if name not in constant}
    return varying, tuple((name, "does not vary") for name in constant)


def _pool(levels: NDArray[Any]) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Give levels with one scan one name; return the levels of the scans and those that were pooled."""
    names, counts = np.unique(levels.astype(str), return_counts=True)
    rare = tuple(map(str, names[counts == 1]))
    return np.where(np.isin(levels.astype(str), rare), OTHER, levels.astype(str)), rare


def _why_no_model(
    values: NDArray[np.float64], blocks: Mapping[str, NDArray[np.float64]], model: AdjustedContrasts
) -> str:
    if len(values) == 0 or blocks["diagnosis"].shape[-1] < 2:
        return "fewer than two diagnoses have two people" if len(values) else "no seeds"
    design = np.hstack([block / np.linalg.norm(block, axis=0) for block in blocks.values()])
    if model.n_people <= design.shape[1]:
        return f"only {model.n_people} people for {design.shape[1]} coefficients"
    q, r = np.linalg.qr(design)
    width = 0
    for name, block in blocks.items():
        width += block.shape[1]
        if np.linalg.matrix_rank(r[:, :width], tol=1e-9) < width:
            return f"{name} is collinear with {', '.join(list(blocks)[: list(blocks).index(name)])}"
    y = values.mean(axis=0)
    if all_equal(y) or all_equal(y - q @ (q.T @ y)):
        return "all deltas are equal" if all_equal(y) else "the model fits every delta exactly"
    alone = model.standard_errors == "HC3" and bool(((q**2).sum(axis=1) > 1 - 1e-9).any())
    return "one scan alone decides a coefficient, HC3 has no value" if alone else ""


def _empty(
    pair: tuple[str, str], diagnosis: NDArray[Any], person: NDArray[np.int64], kept: NDArray[np.bool_]
) -> AdjustedContrast:
    """Return a contrast without numbers, with the reason where one of its diagnoses is not in the model."""
    n_first, n_second = (int((kept & (diagnosis == name)).sum()) for name in pair)
    for name, n in zip(pair, (n_first, n_second), strict=True):
        if n == 0:
            of_name = person[diagnosis == name]
            several = (
                f"fewer than two {name} people" if np.unique(of_name).size < 2 else f"too few {name} scans are left"
            )
            return AdjustedContrast(*pair, n_first, n_second, reason=count_scans(of_name.size, name) or several)
    return AdjustedContrast(*pair, n_first, n_second)


def _texts(values: NDArray[Any]) -> NDArray[Any]:
    """Return texts, None for what is missing or empty."""
    return np.array([None if pd.isna(value) or str(value) == "" else str(value) for value in values], dtype=object)
