"""What must hold of the data, asked before hours go into it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import get_args

from brainage_ray.config import Experiment, SegmentationPretraining
from brainage_ray.config.data import Split
from brainage_ray.config.read import nearest
from brainage_ray.data import Found, Rejected, Scan
from brainage_ray.errors import ConfigError, DataError, MetadataError

NAMED_FAILURES = 3
"""How many reasons a message gives."""

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


def reject_unknown_labels(found: Found, label_map: Mapping[str, str | None]) -> Found:
    """Reject scans whose diagnosis the label map does not know: what is written there may be a slip of one row."""
    known, rejected = [], list(found.rejected)
    for scan in found.scans:
        if scan.segmentation is not None or not scan.diagnosis or scan.diagnosis in label_map:
            known.append(scan)
        else:
            where = f"{scan.cohort} {scan.subject}, image {scan.image}"
            problem = f'{where} has the diagnosis "{scan.diagnosis}", which data.label_map does not have'
            fix = f"Add {scan.diagnosis} to data.label_map: CN, MCI or AD, or null to leave such scans out."
            rejected.append(Rejected(scan.cohort, scan.subject, scan.session, scan.image, f"{problem}. {fix}"))
    return replace(found, scans=tuple(known), rejected=tuple(rejected))


def check_rejected(experiment: Experiment, found: Found) -> None:
    """Check that the sources do not reject more inputs than may fail.

    Raises:
        MetadataError: they do; the first are named with file, line and fix.
    """
    count = len(found.rejected)
    if count > experiment.data.max_failures:
        reasons = [rejected.reason for rejected in found.rejected]
        problem = reasons[0] if count == 1 else f"{count} inputs cannot be used: {first_of(reasons)}"
        without = "it" if count == 1 else "them"
        raise MetadataError(problem, f"To go on without {without}, on the record: --set data.max_failures={count}.")


def first_of(reasons: Iterable[str]) -> str:
    """Return the first reasons, and how many more there are."""
    reasons = [reason.rstrip(".") for reason in reasons]
    more = f"; and {len(reasons) - NAMED_FAILURES} more" if len(reasons) > NAMED_FAILURES else ""
    return "; ".join(reasons[:NAMED_FAILURES]) + more


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
    if experiment.search.delta_is_objective and not there["validation", "AD"]:
        raise DataError(
            f"search.objective has validation_delta_auc, but the validation split has no scan of AD; there are "
            f"{_listed(there)}",
            f"{_FIXES[experiment.data.split.rule]}, or set search.objective: validation_mae.",
        )


def _listed(there: Counter[tuple[str, str]]) -> str:
    splits: Sequence[Split] = get_args(Split)
    return "; ".join(f"{split}: {_of_split(there, split)}" for split in splits)


def _of_split(there: Counter[tuple[str, str]], split: str) -> str:
    return ", ".join(f"{n} {diagnosis}" for (name, diagnosis), n in sorted(there.items()) if name == split) or "none"
