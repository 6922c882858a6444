from __future__ import annotations

import warnings
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.genmod.cov_struct import Exchangeable
from statsmodels.regression.mixed_linear_model import MixedLM

from brainage_ray.config import ArmConfig
from brainage_ray.config.experiment import ImportedWeights, SegmentationPretraining
from brainage_ray.errors import DataError
from brainage_ray.evaluation.pretraining_effect import factors_of, pretraining_effect

STAGES = {
    "imagenet": ImportedWeights(kind="weights", uri="x.pth", sha256="0676ba61"),
    "brats": SegmentationPretraining(kind="segmentation"),
    "unused": SegmentationPretraining(kind="segmentation"),
}
SIX = {
    "unet": ("unet",),
    "unet+brats": ("unet", "brats"),
    "resnet": ("resnet50",),
    "resnet+brats": ("resnet50", "brats"),
    "resnet+imagenet": ("resnet50", "imagenet"),
    "resnet+imagenet+brats": ("resnet50", "imagenet", "brats"),
}


def arms_of(names):
    return {
        name: ArmConfig.model_validate({"backbone": {"kind": SIX[name][0]}, "pretraining": SIX[name][1:]})
        for name in names
    }


def factors(names=tuple(SIX)):
    return factors_of(arms_of(names), STAGES)


def experiment(rng, effects=(0.0, 0.0, 0.0), spreads=(0.5, 0.3, 0.3, 0.1), persons=60, names=tuple(SIX)):
    """Errors around 8 years; the spreads are those of the three effects over persons, and of the seeds."""
    table = factors(tuple(SIX)).table.loc[list(names)]
    design = np.column_stack([table["backbone"] == "resnet50", table["imagenet"], table["brats"]]).astype(float)
    own = np.array(effects) + rng.normal(size=(persons, 3)) * spreads[:3]
    error = 8 + rng.normal(0, 1, (persons, 1)) + own @ design.T
    age = rng.uniform(60, 90, persons)
    brain_ages = {
        arm: age + error[:, i] + rng.normal(0, spreads[3], (4, 1)) + rng.normal(0, 0.5, (4, persons))
        for i, arm in enumerate(names)
    }
    return brain_ages, age, np.arange(persons)


def long_table(brain_ages, age):
    rows = factors(tuple(brain_ages)).table.reset_index(drop=True)
    parts = [
        pd.DataFrame({"error": np.abs(values - age).mean(axis=0), "person": np.arange(len(age)), **rows.loc[i]})
        for i, values in enumerate(brain_ages.values())
    ]
    return pd.concat(parts, ignore_index=True)


FORMULA = "error ~ C(backbone, Treatment('unet')) + imagenet + brats"


def test_estimates_are_those_of_statsmodels_formula():
    """statsmodels.formula.api.mixedlm."""
    brain_ages, age, person = experiment(np.random.default_rng(0), (0.5, 0.1, -0.4))
    found = pretraining_effect(brain_ages, age, person, factors())
    table = long_table(brain_ages, age).sample(frac=1, random_state=0)
    table["imagenet"], table["brats"] = table["imagenet"].astype(float), table["brats"].astype(float)
    fit = smf.mixedlm(FORMULA, table, groups="person").fit()
    assert [effect.years for effect in found.effects] == pytest.approx(list(fit.fe_params[1:]), abs=1e-6)
    assert found.person_sd_years == pytest.approx(np.sqrt(fit.cov_re.iloc[0, 0]), rel=1e-3)
    assert found.residual_sd_years == pytest.approx(np.sqrt(fit.scale), rel=1e-3)
    assert (found.n_persons, found.n_arms, found.reason) == (60, 6, "")


def test_with_seeds_alike_errors_are_the_sandwich_over_persons():
    """statsmodels GEE, exchangeable, robust, with its n in the denominator made n - 1; t with 59 degrees of freedom."""
    brain_ages, age, person = experiment(np.random.default_rng(1), (0.5, 0.1, -0.4))
    alike = {arm: np.repeat(rows[:1], 3, axis=0) for arm, rows in brain_ages.items()}
    table = long_table(alike, age)
    table["imagenet"], table["brats"] = table["imagenet"].astype(float), table["brats"].astype(float)
    fit = smf.gee(FORMULA, "person", table.sort_values("person"), cov_struct=Exchangeable()).fit()
    for effect, se in zip(pretraining_effect(alike, age, person, factors()).effects, fit.bse.iloc[1:], strict=True):
        half = stats.t.ppf(0.975, 59) * se * np.sqrt(60 / 59)
        assert effect.interval == pytest.approx((effect.years - half, effect.years + half), abs=1e-6)


def test_with_persons_alike_errors_are_those_of_the_seeds():
    """Two arms whose persons nearly agree: scipy.stats.ttest_ind(equal_var=False) of the seeds' MAEs."""
    rng = np.random.default_rng(2)
    age = rng.uniform(60, 90, 30)
    a, b = np.array([[3.0], [3.4], [3.1]]), np.array([[3.2], [3.9], [3.6], [3.5]])
    noise = rng.normal(0, 1e-4, 30)
    predicted = {"unet": age + a + noise, "unet+brats": age + b + rng.normal(0, 1e-4, 30)}
    effect = pretraining_effect(predicted, age, np.arange(30), factors(tuple(predicted))).effects[1]
    expected = stats.ttest_ind(b[:, 0], a[:, 0], equal_var=False)
    assert effect.p == pytest.approx(expected.pvalue, rel=1e-3)
    assert effect.interval == pytest.approx(tuple(expected.confidence_interval()), abs=1e-3)


def test_planted_effects_are_recovered():
    found = pretraining_effect(*experiment(np.random.default_rng(6), (0.6, 0.0, -0.5), persons=300), factors())
    backbone, imagenet, brats = found.effects
    for effect, planted in zip(found.effects, (0.6, 0.0, -0.5), strict=True):
        assert effect.interval[0] < planted < effect.interval[1]
    assert (backbone.p < 0.001, imagenet.p > 0.05, brats.p < 0.001) == (True, True, True)
    assert (backbone.factor, backbone.level) == ("backbone", "resnet50 instead of unet")
    assert [effect.level for effect in (imagenet, brats)] == ["weights", "segmentation"]
    assert [effect.note for effect in (imagenet, brats)] == ["varies in resnet50 only", ""]


@pytest.mark.slow
def test_type_1_error_is_five_percent_where_persons_and_seeds_differ():
    """200 null experiments; the random intercept alone would call the backbone 15 to 20 times in 100."""
    rng = np.random.default_rng(5)
    p = [[e.p for e in pretraining_effect(*experiment(rng, persons=25), factors()).effects] for _ in range(200)]
    assert ((np.array(p) < 0.05).mean(axis=0) < 0.09).all()
    assert (np.array(p) < 0.05).mean() == pytest.approx(0.05, abs=0.025)


def test_factors_of_the_published_arms():
    found = factors()
    assert list(found.table.columns) == ["backbone", "imagenet", "brats"]
    assert list(found.table["backbone"]) == ["unet"] * 2 + ["resnet50"] * 4
    assert list(found.table["imagenet"]) == [0, 0, 0, 0, 1, 1]
    assert list(found.table["brats"]) == [0, 1, 0, 1, 0, 1]
    assert found.kinds == {"imagenet": "weights", "brats": "segmentation"}


def test_backbones_of_other_sizes_are_other_levels():
    arms = {
        "small": ArmConfig.model_validate({"backbone": {"kind": "unet", "width": 0.5}}),
        "large": ArmConfig.model_validate({"backbone": {"kind": "unet"}}),
    }
    assert list(factors_of(arms, {}).table["backbone"]) == ["unet (width 0.5)", "unet"]


@pytest.mark.parametrize(
    ("names", "reasons"),
    [
        (["unet", "unet+brats"], {"backbone": "all arms have it", "brats": ""}),
        (["unet+brats", "resnet+brats"], {"backbone": "", "brats": "all arms have it"}),
        (
            ["unet", "resnet+imagenet"],
            {
                "backbone": "confounded with imagenet: no two arms differ in it alone",
                "imagenet": "confounded with backbone: resnet50 instead of unet: no two arms differ in it alone",
            },
        ),
        (["unet", "resnet+imagenet", "resnet+imagenet+brats"], {"backbone": "confounded", "brats": ""}),
    ],
)
def test_what_the_arms_do_not_tell_apart_is_left_out(names, reasons):
    found = pretraining_effect(*experiment(np.random.default_rng(0), names=names), factors(names))
    effects = {effect.factor: effect for effect in found.effects}
    for factor, reason in reasons.items():
        assert effects[factor].reason.startswith(reason)
        numbers = (effects[factor].years, effects[factor].interval, effects[factor].p)
        assert all(n is None for n in numbers) if reason else all(n is not None for n in numbers)


def test_a_confounded_factor_does_not_change_those_that_can_be_told():
    names = ["unet", "resnet+imagenet", "resnet+imagenet+brats"]
    brain_ages, age, person = experiment(np.random.default_rng(0), names=names)
    effect = pretraining_effect(brain_ages, age, person, factors(names)).effects[-1]
    mae = {arm: np.abs(rows - age).mean() for arm, rows in brain_ages.items()}
    assert effect.years == pytest.approx(mae["resnet+imagenet+brats"] - mae["resnet+imagenet"])
    assert effect.note == "varies in resnet50 only"


def test_one_arm_and_one_person_say_why():
    rng = np.random.default_rng(0)
    alone = pretraining_effect(*experiment(rng, names=["unet+brats"]), factors(["unet+brats"]))
    assert alone.reason == "no factor varies between the arms"
    assert [effect.reason for effect in alone.effects] == ["all arms have it", "all arms have it"]
    single = pretraining_effect(*experiment(rng, persons=1), factors())
    assert single.reason == "one person has no spread"
    assert all(effect.years is effect.p is None and effect.reason for effect in single.effects)


def test_one_seed_leaves_the_estimate_alone():
    brain_ages, age, person = experiment(np.random.default_rng(0))
    brain_ages["resnet"] = brain_ages["resnet"][:1]
    for effect in pretraining_effect(brain_ages, age, person, factors()).effects:
        assert effect.years is not None
        assert effect.interval is effect.p is None
        assert effect.reason == "one seed of resnet: its spread between seeds is unknown"


def test_no_convergence_is_said_and_warns_of_nothing(monkeypatch):
    whole = MixedLM.fit

    def fit(self, *args, **kwargs):
        warnings.warn("Maximum Likelihood optimization failed to converge", UserWarning, stacklevel=1)
        result = whole(self, *args, **kwargs)
        result.converged = False
        return result

    monkeypatch.setattr(MixedLM, "fit", fit)
    found = pretraining_effect(*experiment(np.random.default_rng(0)), factors())
    assert found.reason == "the mixed model did not converge"
    assert all(effect.years is None and effect.reason == found.reason for effect in found.effects)


def test_a_singular_fit_is_said(monkeypatch):
    def fit(self, *args, **kwargs):
        raise np.linalg.LinAlgError("Singular matrix")

    monkeypatch.setattr(MixedLM, "fit", fit)
    found = pretraining_effect(*experiment(np.random.default_rng(0)), factors())
    assert found.reason == "the mixed model could not be fitted: Singular matrix"


def test_persons_without_any_difference_say_so():
    age = np.linspace(60, 90, 20)
    predicted = {arm: np.tile(age + i, (2, 1)) for i, arm in enumerate(SIX)}
    assert pretraining_effect(predicted, age, np.arange(20), factors()).reason == "all persons have the same errors"


def test_bad_input_is_refused():
    brain_ages, age, person = experiment(np.random.default_rng(0))
    with pytest.raises(DataError, match="arm new has no factors"):
        pretraining_effect(brain_ages | {"new": brain_ages["unet"]}, age, person, factors())
    with pytest.raises(DataError, match="brain age nan"):
        pretraining_effect(brain_ages | {"unet": brain_ages["unet"] * np.nan}, age, person, factors())
    with pytest.raises(DataError, match='no pre-training stage "brats"'):
        factors_of(arms_of(["unet+brats"]), {})
    named = ArmConfig.model_validate({"backbone": {"kind": "unet"}, "pretraining": ("backbone",)})
    with pytest.raises(DataError, match='named "backbone"'):
        factors_of({"a": named}, {"backbone": STAGES["brats"]})


LAW = settings(max_examples=10, deadline=None)


def numbers(found):
    return [value for effect in found.effects for value in (effect.years, *effect.interval, effect.p)]


@LAW
@given(seed=st.integers(0, 99), order=st.permutations(range(4)), years=st.integers(-20, 20))
def test_permuting_seeds_or_shifting_ages_changes_nothing(seed, order, years):
    brain_ages, age, person = experiment(np.random.default_rng(seed), persons=20)
    moved = {arm: rows[list(order)] + years for arm, rows in brain_ages.items()}
    before, after = (pretraining_effect(b, a, person, factors()) for b, a in ((brain_ages, age), (moved, age + years)))
    assert numbers(after) == pytest.approx(numbers(before), rel=1e-4, abs=1e-6)


@LAW
@given(seed=st.integers(0, 99))
def test_swapping_the_arms_of_a_factor_flips_its_sign(seed):
    brain_ages, age, person = experiment(np.random.default_rng(seed), persons=20, names=["unet", "unet+brats"])
    swapped = dict(zip(brain_ages, reversed(list(brain_ages.values())), strict=True))
    forth, back = (pretraining_effect(b, age, person, factors(tuple(b))).effects[1] for b in (brain_ages, swapped))
    assert back.years == pytest.approx(-forth.years, abs=1e-6)
    assert back.p == pytest.approx(forth.p, rel=1e-4)
    assert asdict(back)["note"] == ""
