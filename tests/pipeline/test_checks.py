from __future__ import annotations

from pathlib import Path

import pytest

from brainage_ray.config import load_experiment
from brainage_ray.data import Scan
from brainage_ray.errors import ConfigError, DataError
from brainage_ray.pipeline.checks import check_cohorts, require_scans

QUICKSTART = Path(__file__).resolve().parents[2] / "experiments" / "quickstart.yaml"
ALL = [("train", "CN"), ("validation", "CN"), ("test", "CN"), ("test", "AD")]


def experiment_with(*changes):
    return load_experiment(QUICKSTART, changes)


def case(cohort, segmented=True):
    return Scan(cohort, "s", "1", "i", {}, segmentation=Path("seg.nii.gz") if segmented else None)


@pytest.mark.parametrize(
    ("left_out", "words"),
    [
        ({("train", "CN")}, r"The train split has no scan of CN \(training\.diagnoses\); there are train: none; val"),
        ({("validation", "CN")}, r"The validation split .* train: 1 CN; validation: none; test: 1 AD, 1 CN"),
        ({("test", "CN"), ("test", "AD")}, r"The test split has no scan of CN or MCI or AD \(evaluation\.diagnoses\)"),
    ],
)
def test_a_split_without_scans_that_count_is_named_with_what_there_is(left_out, words):
    with pytest.raises(DataError, match=words):
        require_scans(experiment_with(), [pair for pair in ALL if pair not in left_out])


def test_one_scan_that_counts_is_enough():
    require_scans(experiment_with(), ALL)
    require_scans(experiment_with('training.diagnoses=["CN", "MCI"]', 'evaluation.diagnoses=["AD"]'), ALL)


def test_scans_of_others_do_not_make_up_for_it():
    with pytest.raises(DataError, match="no scan of MCI"):
        require_scans(experiment_with('evaluation.diagnoses=["MCI"]'), ALL)


@pytest.mark.parametrize(("rule", "fix"), [("by_subject", "fractions"), ("adni_standard", "CROSSVAL"),
                                           ("table", "column split")])  # fmt: skip
def test_the_fix_is_that_of_the_rule(rule, fix):
    with pytest.raises(DataError, match=fix):
        require_scans(experiment_with(f"data.split.rule={rule}"), ALL[1:])


def test_a_cohort_that_there_is_not_is_named_with_the_nearest():
    experiment = experiment_with('pretraining.brats.cohorts=["BraTs"]')
    with pytest.raises(ConfigError, match=r'pretraining\.brats\.cohorts has "BraTs".* Did you mean "BraTS"\?'):
        check_cohorts(experiment, [case("BraTS"), case("ADNI", segmented=False)])
    check_cohorts(experiment_with('pretraining.brats.cohorts=["BraTS"]'), [case("BraTS")])


def test_a_cohort_without_segmentations_cannot_be_segmented():
    with pytest.raises(ConfigError, match=r"ADNI.*Add a source"):
        check_cohorts(experiment_with('pretraining.brats.cohorts=["ADNI"]'), [case("ADNI", segmented=False)])


def test_a_stage_that_no_arm_uses_may_name_what_is_not_there():
    arms = 'arms={"unet": {"backbone": {"kind": "unet"}}}'
    check_cohorts(experiment_with(arms, 'pretraining.brats.cohorts=["BraTs"]'), [case("BraTS")])
