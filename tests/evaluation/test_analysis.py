"""All statistics put together: the right scans reach each of them."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from brainage_ray.config import ArmConfig, SegmentationPretraining, UNetConfig
from brainage_ray.evaluation.analysis import analyse
from brainage_ray.evaluation.arm_analysis import How, Predicted
from brainage_ray.evaluation.predictions import COLUMNS
from brainage_ray.evaluation.pretraining_effect import factors_of

OLDER = {"CN": 0.0, "MCI": 3.0, "AD": 6.0}
ARMS = {
    "unet": ArmConfig(backbone=UNetConfig(kind="unet")),
    "unet+brats": ArmConfig(backbone=UNetConfig(kind="unet"), pretraining=("brats",)),
}
FACTORS = factors_of(ARMS, {"brats": SegmentationPretraining(kind="segmentation")})
HOW = How(("CN", "MCI", "AD"), ("CN",), draws=1000)


def predictions(visits: int = 2, people: int = 120, shrink: float = 0.2) -> pd.DataFrame:
    """Each person twice, a year apart; deltas grow by half a year a year; the second arm errs less."""
    rng = np.random.default_rng(0)
    diagnosis = np.array(list(OLDER))[np.arange(people) % 3]
    first = rng.uniform(60, 88, people)
    personal = rng.normal(0, 2, people)
    parts = []
    for spread, arm in ((3.0, "unet"), (1.0, "unet+brats")):
        for seed in (0, 1, 2):
            for visit in range(visits):
                age = first + visit
                delta = -shrink * (age - 74) + personal + 0.5 * visit + [OLDER[d] for d in diagnosis]
                brain = age + delta + rng.normal(0, spread, people)
                parts.append(pd.DataFrame({
                    "cohort": "X", "subject": [f"{i:03d}" for i in range(people)], "session": f"m{12 * visit:02d}",
                    "image": [f"{i}-{visit}" for i in range(people)], "person": [f"X/{i}" for i in range(people)],
                    "site": [f"site{i % 4}" for i in range(people)], "split": "test", "diagnosis": diagnosis,
                    "sex": np.array(["F", "M"])[np.arange(people) // 3 % 2], "age_years": age, "arm": arm,
                    "seed": seed, "brain_age_years": brain, "brain_age_delta_years": brain - age,
                })[COLUMNS])  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def validation(shrink: float = 0.2) -> Predicted:
    age = np.linspace(60, 88, 50)
    scans = pd.DataFrame({"person": [f"v{i}" for i in range(50)], "diagnosis": "CN", "sex": "F", "site": "s",
                          "age_years": age})  # fmt: skip
    return Predicted(scans, np.stack([age - shrink * (age - 74)] * 2), (0, 1))


@pytest.fixture(scope="module")
def analysis():
    return analyse(predictions(), "baseline", {"unet": validation()}, FACTORS, HOW)


def test_it_is_plain_json(analysis):
    assert json.loads(json.dumps(analysis.to_json(), allow_nan=False))["arms"][0]["arm"] == "unet"


def test_first_scans_count_and_later_ones_follow_people_up(analysis):
    arm = analysis.arm("unet")
    assert arm.regression.n_scans == 40
    assert arm.contrasts.n_scans == arm.contrasts.n_people == 120
    assert [pair.n_scans for pair in arm.people] == [(80, 80)] * 3
    assert [slope.mean_years_per_year for slope in arm.slopes] == pytest.approx([0.3] * 3, abs=0.8)
    assert arm.reliability.ensemble.n_persons == 0  # nobody came back within 90 days


def test_planted_differences_are_found(analysis):
    arm = analysis.arm("unet+brats")
    assert arm.trend.p_increasing_max < 1e-6
    assert arm.omnibus.p_max < 1e-6
    assert [pair.estimate_years for pair in arm.contrasts.contrasts] == pytest.approx([3, 6, 3], abs=1.2)
    assert arm.contrasts.adjusted_for == ("age", "sex", "site")
    (comparison,) = analysis.comparisons
    assert comparison.difference_years > 0
    assert comparison.p < 0.05
    (brats,) = [effect for effect in analysis.pretraining.effects if effect.factor == "brats"]
    assert brats.years == pytest.approx(-comparison.difference_years)
    assert "four arms" in analysis.biomarker.reason or "arms" in analysis.biomarker.reason


def test_the_bias_is_corrected_by_the_validation_split_alone(analysis):
    corrected = analysis.arm("unet").corrected
    assert (corrected.correction.split, corrected.correction.n) == ("validation", 50)
    assert corrected.correction.slope == pytest.approx(-0.2)
    raw = {group.diagnosis: group.mean_years for group in analysis.arm("unet").intervals}
    for group in corrected.deltas:
        assert group.mean_years == pytest.approx(raw[group.diagnosis], abs=1.5)
    assert analysis.arm("unet+brats").corrected is None


def test_no_correction_is_made_where_none_is_asked_for():
    how = How(("CN", "MCI", "AD"), ("CN",), bias_correction="none", draws=1000)
    assert analyse(predictions(1, 30), "baseline", {"unet": validation()}, FACTORS, how).arms[0].corrected is None


def test_the_order_of_the_rows_does_not_matter(analysis):
    shuffled = predictions().sample(frac=1, random_state=1)
    ordered = shuffled.sort_values("arm", kind="stable")
    assert analyse(ordered, "baseline", {"unet": validation()}, FACTORS, HOW).to_json() == analysis.to_json()


def test_one_arm_of_one_group_has_no_comparisons():
    table = predictions(1, 30)
    table = table[(table["arm"] == "unet") & (table["diagnosis"] == "CN")]
    alone = analyse(table, "baseline", {}, FACTORS, How(("CN",), ("CN",), draws=1000))
    assert alone.comparisons == ()
    assert alone.biomarker is None
    assert alone.arms[0].people == ()
    assert alone.arms[0].contrasts.contrasts == ()
