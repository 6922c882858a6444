from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from brainage_ray.config import EvaluationConfig, StatisticsConfig
from brainage_ray.errors import DataError
from brainage_ray.evaluation.predictions import COLUMNS, baseline_scans, pivot_predictions
from brainage_ray.evaluation.summary import summarise

SHIFT = {"CN": 0.0, "MCI": 2.0, "AD": 5.0}


def predictions_of(arms=("unet", "unet+brats"), seeds=(0, 1), people=8):
    rng = np.random.default_rng(1)
    rows = []
    for i in range(3 * people):
        diagnosis = ["CN", "MCI", "AD"][i % 3]
        scan = {"cohort": "ADNI", "subject": f"s{i:03d}", "session": "2006-01-01", "image": f"I{i}", "person": f"p{i}"}
        scan |= {"site": "002", "split": "test", "diagnosis": diagnosis, "sex": "F", "age_years": 60.0 + i}
        for arm in arms:
            for seed in seeds:
                brain_age = scan["age_years"] + SHIFT[diagnosis] + rng.normal()
                delta = brain_age - scan["age_years"]
                rows.append(
                    scan | {"arm": arm, "seed": seed, "brain_age_years": brain_age, "brain_age_delta_years": delta}
                )
    return pd.DataFrame(rows, columns=COLUMNS)


def summarised(table, **settings):
    training_ages = np.array([60.0, 70.0, 80.0])
    return summarise(table, EvaluationConfig(**settings), StatisticsConfig(), training_ages)


def test_numbers_of_each_arm_from_its_own_rows():
    table = predictions_of()
    summary = summarised(table)
    assert [arm.arm for arm in summary.arms] == ["unet", "unet+brats"]
    rows = table[(table.arm == "unet") & (table.seed == 1)]
    healthy = rows[rows.diagnosis == "CN"]
    arm = summary.arm("unet")
    assert arm.mae.per_seed_years[1] == pytest.approx(healthy.brain_age_delta_years.abs().mean())
    assert [group.diagnosis for group in arm.deltas] == ["CN", "MCI", "AD"]
    for group in arm.deltas:
        own = rows[rows.diagnosis == group.diagnosis].brain_age_delta_years
        assert group.per_seed_mean_years[1] == pytest.approx(own.mean())
    assert arm.pair("CN", "AD").auc_mean > 0.9
    assert arm.pair("AD", "CN") is None
    assert summary.null.age_years == 70.0
    assert summary.null.mae_years == pytest.approx((healthy.age_years - 70).abs().mean())


def test_order_of_rows_and_of_seeds_does_not_matter():
    table = predictions_of()
    shuffled = table.sample(frac=1, random_state=3)
    shuffled = pd.concat([shuffled[shuffled.arm == "unet"], shuffled[shuffled.arm != "unet"]])
    assert summarised(shuffled).to_json() == summarised(table).to_json()


def test_baseline_is_the_earliest_scan_whatever_its_session_is_called_and_a_later_visit_does_not_count():
    table = predictions_of().assign(session="6")
    visit = table[table["person"] == "p0"].assign(session="12", brain_age_years=150.0, image="I")
    visit["age_years"] += 0.5
    once, first = summarised(table), summarised(pd.concat([visit, table]))
    assert first.arms == once.arms
    assert first.n_repeat_scans == 1
    every = summarised(pd.concat([table, visit]), one_scan_per_subject="all")
    assert every.arms[0].mae.n_scans == once.arms[0].mae.n_scans + 1
    assert every.arms[0].mae.mean_years > once.arms[0].mae.mean_years


def test_two_images_of_one_session_give_the_smaller_id():
    scans = pd.DataFrame({"person": ["a", "a", "b"], "session": ["1", "1", "2"], "image": ["I2", "I1", "I3"]})
    assert baseline_scans(scans.assign(age_years=70.0))["image"].tolist() == ["I1", "I3"]


def test_matrices_hold_each_seeds_ages_in_the_order_of_the_scans():
    table = predictions_of(people=2).sample(frac=1, random_state=0)
    pivoted = pivot_predictions(table, "baseline")
    for i, subject in enumerate(pivoted.scans["subject"]):
        for j, seed in enumerate(pivoted.seeds["unet"]):
            row = table[(table.subject == subject) & (table.seed == seed) & (table.arm == "unet")]
            assert pivoted.brain_ages["unet"][j, i] == row.brain_age_years.item()


def test_a_cohort_of_one_diagnosis_says_why_the_other_cells_are_empty():
    summary = summarised(predictions_of().query("diagnosis == 'CN'"))
    assert [group.reason for group in summary.arms[0].deltas] == ["", "no MCI scans", "no AD scans"]
    assert all(pair.reason for pair in summary.arms[0].pairs)


def test_patients_only_have_no_mae_but_a_delta():
    summary = summarised(predictions_of().query("diagnosis != 'CN'"))
    assert summary.arms[0].mae.mean_years is None
    assert summary.null.mae_years is None
    assert summary.arms[0].pair("MCI", "AD").p_mean < 0.05


def test_scans_whose_diagnosis_is_in_no_table_are_counted():
    table = predictions_of()
    table.loc[table["person"] == "p2", "diagnosis"] = ""
    assert summarised(table).n_ungrouped_scans == 1


def test_summary_is_json():
    text = json.dumps(summarised(predictions_of()).to_json(), allow_nan=False)
    assert json.loads(text)["arms"][1]["arm"] == "unet+brats"


def test_unknown_arm_is_named():
    with pytest.raises(DataError, match='no arm "resnet"'):
        summarised(predictions_of()).arm("resnet")


def test_arms_may_have_different_seeds():
    table = predictions_of()
    some = table[~((table.arm == "unet+brats") & (table.seed == 1))]
    assert summarised(some).arm("unet+brats").mae.seeds == (0,)


def breaks(table, column, value):
    table.loc[table.index[7], column] = value
    return table


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda t: t.drop(columns="person"), "lack the column person"),
        (lambda t: t.iloc[:0], "no rows"),
        (lambda t: breaks(t, "split", "train"), "mix the splits test, train"),
        (lambda t: breaks(t, "brain_age_years", np.nan), "arm unet\\+brats, seed 1 has brain_age_years nan"),
        (lambda t: breaks(t, "age_years", np.inf), "age_years inf"),
        (lambda t: breaks(t, "person", ""), "belongs to no person"),
        (lambda t: pd.concat([t, t.iloc[[0]]]), "ADNI/s000/2006-01-01/I0, arm unet, seed 0 is there twice"),
        (lambda t: t.drop(index=t.index[0]), "has 3 predictions, but there are 4 models"),
    ],
)
def test_a_table_that_would_give_wrong_numbers_is_refused(damage, message):
    with pytest.raises(DataError, match=message):
        summarised(damage(predictions_of()))
