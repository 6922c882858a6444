"""Which scan goes to which split: by chance within strata or by the rule of a study; nobody in two."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from brainage_ray.config import SplitConfig
from brainage_ray.data.scan import Scan
from brainage_ray.errors import LeakageError, MetadataError

SPLITS = ("train", "validation", "test")
"""All splits, in the order of use."""

_LISTED = 10


@dataclass(frozen=True)
class Assignment:
    """What becomes of one scan."""

    scan: Scan
    split: str | None
    """train, validation or test; None leaves the scan out."""
    diagnosis: str
    """CN, MCI or AD; empty where the label map has none, and for segmentation scans."""
    reason: str = ""
    """Why the scan is left out."""


def split_subjects(subjects: pd.DataFrame, fractions: Mapping[str, float], seed: int) -> dict[str, str]:
    """Divide people into splits, stratified by diagnosis and age.

    Within a diagnosis people are ordered by age and cut into blocks of neighbours; the
    order inside a block is drawn by chance, and each person goes to the split that is
    furthest behind its share. So every split covers every age, and its size is exact to one in each diagnosis.
    Where that leaves a split empty, among few people, it gets one from the split that is furthest ahead.

    Args:
        subjects: one row a person: ``subject``, ``age_years``, ``diagnosis``.
        fractions: share of each split by name; they sum to 1.
        seed: of the order inside the blocks.

    Returns:
        The split's name by subject.
    """
    rng = np.random.default_rng(seed)
    block = round(1 / min(share for share in fractions.values() if share > 0))
    assigned: dict[str, str] = {}
    for _, group in subjects.groupby("diagnosis", sort=True):
        ordered = group.sort_values(["age_years", "subject"])["subject"].to_numpy()
        counts = dict.fromkeys(fractions, 0)
        for start in range(0, len(ordered), block):
            for subject in rng.permutation(ordered[start : start + block]):
                split = _furthest_behind(counts, fractions)
                counts[split] += 1
                assigned[str(subject)] = split
    return _without_empty_splits(assigned, fractions)


def _without_empty_splits(assigned: dict[str, str], fractions: Mapping[str, float]) -> dict[str, str]:
    wanted = [split for split, share in fractions.items() if share > 0]
    if len(assigned) < len(wanted):
        return assigned
    counts = Counter(assigned.values())
    for empty in (split for split in wanted if not counts[split]):
        giver = max((s for s in wanted if counts[s] > 1), key=lambda s: counts[s] - fractions[s] * len(assigned))
        moved = [subject for subject, split in assigned.items() if split == giver][-1]
        assigned = {**assigned, moved: empty}
        counts = Counter(assigned.values())
    return assigned


def assign_splits(
    scans: Sequence[Scan],
    config: SplitConfig,
    label_map: Mapping[str, str | None],
    training_diagnoses: Collection[str] = ("CN",),
) -> tuple[Assignment, ...]:
    """Give each scan its split, or the reason why it is left out.

    Args:
        scans: of brain-age cohorts; the order does not change who goes where.
        config: the rule, and what to do with people whom it puts into training and elsewhere.
        label_map: diagnosis as a source writes it -> CN, MCI, AD or None to leave the scan out.
        training_diagnoses: whose scans may train; others are left out of the training split.

    Returns:
        One assignment a scan, in the order of `scans`.

    Raises:
        MetadataError: a diagnosis is not in the label map, or a source names an unknown split.
        LeakageError: the rule puts a person into validation and test, or into training and one of them where the
            config does not say what to do.
    """
    allowed = place_scans(scans, config, label_map, training_diagnoses)
    _check_chosen_and_tested(allowed)
    settled = _settle_rollovers(allowed, config)
    if config.rollover != "as_published":
        check_no_leakage(settled)
    return tuple(settled)


def place_scans(
    scans: Sequence[Scan],
    config: SplitConfig,
    label_map: Mapping[str, str | None],
    training_diagnoses: Collection[str] = ("CN",),
) -> list[Assignment]:
    """Give each scan the split that the rule alone gives it, whoever is in two of them; see assign_splits.

    Raises:
        MetadataError: a diagnosis is not in the label map, or a source names an unknown split.
    """
    labelled = [_label(scan, label_map) for scan in scans]
    placed = _by_subject(labelled, config) if config.rule == "by_subject" else [_as_given(a) for a in labelled]
    return [_train_on(a, training_diagnoses) for a in placed]


def split_cases(scans: Sequence[Scan], validation_fraction: float, seed: int) -> tuple[Assignment, ...]:
    """Divide segmentation cases into train and validation, by person and within each cohort.

    Args:
        scans: with segmentations.
        validation_fraction: share of the people kept aside, exact to one in each cohort.
        seed: of the draw.

    Returns:
        One assignment a scan, in the order of `scans`.
    """
    people = pd.DataFrame(sorted({(s.person, s.cohort) for s in scans}), columns=["subject", "diagnosis"])
    fractions = {"train": 1 - validation_fraction, "validation": validation_fraction}
    splits = split_subjects(people.assign(age_years=0.0), fractions, seed)
    return tuple(Assignment(scan, splits[scan.person], "") for scan in scans)


def people_in_two_splits(assignments: Iterable[Assignment]) -> dict[str, tuple[str, ...]]:
    """Return the splits of each person who is in more than one, by person in alphabetical order."""
    found: dict[str, set[str]] = {}
    for a in assignments:
        if a.split is not None:
            found.setdefault(a.scan.person, set()).add(a.split)
    return {
        person: tuple(s for s in SPLITS if s in found[person]) for person in sorted(found) if len(found[person]) > 1
    }


def check_no_leakage(assignments: Iterable[Assignment]) -> None:
    """Check that nobody is in two splits.

    Raises:
        LeakageError: somebody is; up to ten of them are named.
    """
    if found := people_in_two_splits(assignments):
        raise LeakageError(
            f"{len(found)} people are in more than one split: {_listed(found)}", "Give each person one split."
        )


def _label(scan: Scan, label_map: Mapping[str, str | None]) -> Assignment:
    where = f"{scan.cohort} {scan.subject}, image {scan.image}"
    if scan.diagnosis not in label_map:
        if not scan.diagnosis:
            return Assignment(scan, None, "", "the source gives no diagnosis")
        problem = f'{where} has the diagnosis "{scan.diagnosis}", which data.label_map does not have'
        fix = f"Add {scan.diagnosis} to data.label_map: CN, MCI or AD, or null to leave such scans out."
        raise MetadataError(problem, fix)
    diagnosis = label_map[scan.diagnosis]
    if diagnosis is None:
        return Assignment(scan, None, "", f"diagnosis {scan.diagnosis} is null in label_map")
    if scan.age_years is None:
        return Assignment(scan, None, diagnosis, "the source gives no age")
    return Assignment(scan, "", diagnosis)


def _by_subject(assignments: Sequence[Assignment], config: SplitConfig) -> list[Assignment]:
    usable = [
        (a.scan.person, a.scan.session, a.scan.image, a.scan.age_years, a.diagnosis) for a in _usable(assignments)
    ]
    people = pd.DataFrame(usable, columns=["subject", "session", "image", "age_years", "diagnosis"])
    baseline = people.sort_values(["subject", "age_years", "session", "image"]).drop_duplicates("subject")
    fractions = {str(split): share for split, share in config.fractions.items()}
    splits = split_subjects(baseline, fractions, config.seed)
    return [a if a.split is None else replace(a, split=splits[a.scan.person]) for a in assignments]


def _as_given(a: Assignment) -> Assignment:
    given = a.scan.given_split
    if a.split is None or given in SPLITS:
        return a if a.split is None else replace(a, split=given)
    if not given:
        return replace(a, split=None, reason="the source gives no split")
    problem = f'{a.scan.cohort} {a.scan.subject}, image {a.scan.image} has the split "{given}"'
    raise MetadataError(problem, f"Write one of {', '.join(SPLITS)}, or nothing to leave the scan out.")


def _train_on(a: Assignment, diagnoses: Collection[str]) -> Assignment:
    if a.split != "train" or a.diagnosis in diagnoses:
        return a
    return replace(a, split=None, reason=f"diagnosis {a.diagnosis} does not train (training.diagnoses)")


def _check_chosen_and_tested(assignments: Sequence[Assignment]) -> None:
    """Nobody may help to choose the settings and be tested on: no published split does, no setting allows it."""
    found = {
        p: splits for p, splits in people_in_two_splits(assignments).items() if {"validation", "test"} <= {*splits}
    }
    if found:
        problem = f"{len(found)} people are in validation and test: {_listed(found)}"
        raise LeakageError(problem, "Give each of them one of the two.")


def _settle_rollovers(assignments: list[Assignment], config: SplitConfig) -> list[Assignment]:
    rollovers = {person: s for person, s in people_in_two_splits(assignments).items() if "train" in s}
    if not rollovers or config.rollover == "as_published":
        return assignments
    if config.rollover == "refuse":
        problem = f"the rule {config.rule} trains on {len(rollovers)} people whom it also validates or tests"
        fix = (
            "Set data.split.rollover: exclude_from_training to drop their training scans, or as_published to keep "
            "them and have the report say so."
        )
        raise LeakageError(f"{problem}: {_listed(rollovers)}", fix)
    return [
        replace(a, split=None, reason=f"the person is also in {' and '.join(rollovers[a.scan.person][1:])}")
        if a.split == "train" and a.scan.person in rollovers
        else a
        for a in assignments
    ]


def _usable(assignments: Sequence[Assignment]) -> list[Assignment]:
    return [a for a in assignments if a.split is not None]


def _listed(people: Mapping[str, Sequence[str]]) -> str:
    names = [f"{person} ({', '.join(splits)})" for person, splits in list(people.items())[:_LISTED]]
    more = len(people) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")


def _furthest_behind(counts: Mapping[str, int], fractions: Mapping[str, float]) -> str:
    total = sum(counts.values()) + 1
    return max(fractions, key=lambda name: fractions[name] * total - counts[name])
