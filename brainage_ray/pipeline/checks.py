"""What must hold of the data, asked before hours go into it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import get_args

from brainage_ray.config import Experiment, SegmentationPretraining
from brainage_ray.config.data import Split
from brainage_ray.config.read import nearest
from brainage_ray.data import Scan
from brainage_ray.errors import ConfigError, DataError

_FIXES = {
    "by_subject": "Change data.split.fractions or data.split.seed",
    "adni_standard": "ADNI-1's people whom CROSSVAL.csv names validate and test: add their scans, or choose another "
    "data.split.rule",
    "table": "Correct the column split of the table, or choose another data.split.rule",
}


def check_cohorts(experiment: Experiment, scans: Iterable[Scan]) -> None:
    """Check that every cohort that a pre-training stage of an arm names has segmentations.

    Raises:
        ConfigError: naming the stage, the cohort and what is nearest.
    """
    known = sorted({scan.cohort for scan in scans if scan.segmentation is not None})
    for name in dict.fromkeys(stage for arm in experiment.arms.values() for stage in arm.pretraining):
        stage = experiment.pretraining[name]
        for cohort in stage.cohorts if isinstance(stage, SegmentationPretraining) else ():
            if cohort not in known:
                problem = f'pretraining.{name}.cohorts has "{cohort}", but no source has segmentations of that cohort'
                raise ConfigError(problem, nearest(cohort, known) or "Add a source of such scans to data.sources.")


def require_scans(experiment: Experiment, scans: Iterable[tuple[str, str]]) -> None:
    """Check that there is something to train, to validate and to test on.

    Args:
        experiment: says whose scans count in each split.
        scans: (split, diagnosis) of each brain-age scan.

    Raises:
        DataError: naming the split, what there is and what to change.
    """
    there = Counter(scans)
    healthy = ("training.diagnoses", experiment.training.diagnoses)
    wanted = {"train": healthy, "validation": healthy}
    wanted["test"] = ("evaluation.diagnoses", experiment.evaluation.diagnoses)
    for split, (key, diagnoses) in wanted.items():
        if not any(there[split, diagnosis] for diagnosis in diagnoses):
            raise DataError(
                f"The {split} split has no scan of {' or '.join(diagnoses)} ({key}); there are {_listed(there)}",
                f"{_FIXES[experiment.data.split.rule]}, change {key}, or replace scans that failed.",
            )


def _listed(there: Counter[tuple[str, str]]) -> str:
    splits: Sequence[Split] = get_args(Split)
    return "; ".join(f"{split}: {_of_split(there, split)}" for split in splits)


def _of_split(there: Counter[tuple[str, str]], split: str) -> str:
    return ", ".join(f"{n} {diagnosis}" for (name, diagnosis), n in sorted(there.items()) if name == split) or "none"
