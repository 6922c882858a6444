"""The audit for leaks: pure functions on a table of scans, one pass over it whatever its size.

Somebody is a person, across sessions, phases and cohorts; and two scans that show the same are one scan, whatever
their names. What may not be: a person in two splits, a person of the test split in anything that pre-trains, one
content under the names of two people, and weights from elsewhere that were trained on the test split.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainage_ray.data.audit_index import BIT, EVALUATED, ROLES, ScanIndex
from brainage_ray.data.provenance import TrainedOn, hash_person

LISTED = 1000
"""Findings of a kind that are kept, the first by name; the counts are of all."""

Kind = Literal[
    "person in two splits",
    "same image under two names",
    "test person in pre-training",
    "test person in imported weights",
    "validation person in pre-training",
    "duplicate within a split",
    "unknown provenance",
    "unreadable image",
]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""All of them."""
LEAKS: tuple[Kind, ...] = (
    "person in two splits",
    "same image under two names",
    "test person in pre-training",
    "test person in imported weights",
)
"""Kinds that an experiment may not start with; the others are warnings."""

LEAK_REASONS = ("the person is also in", "the person has the same image as", "the same image as")
"""How the reasons of scans that are left out for a leak begin."""

_SPLITS = BIT["train"] | EVALUATED


@dataclass(frozen=True)
class Finding:
    """One person, content or file of weights that something is wrong with."""

    kind: Kind
    people: tuple[str, ...]
    places: tuple[str, ...]
    """Roles, in the order of ROLES; for weights the stage of pre-training."""
    scans: tuple[str, ...] = ()
    """Cohort and image of each."""
    note: str = ""

    @property
    def leak(self) -> bool:
        """Whether an experiment may not start with it."""
        return self.kind in LEAKS


@dataclass(frozen=True)
class AuditReport:
    """What the audit found."""

    findings: tuple[Finding, ...]
    """Leaks first, by kind, then by name; at most LISTED of a kind."""
    counts: Mapping[str, int]
    """All findings by kind; kinds without any are left out."""
    scans: int
    people: int
    compared: int
    """Scans whose content is known."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Scans that exclude_from_training took away, by reason."""

    @property
    def leaks(self) -> int:
        """How many findings are leaks."""
        return sum(n for kind, n in self.counts.items() if kind in LEAKS)

    @property
    def warnings(self) -> int:
        """How many findings are warnings."""
        return sum(n for kind, n in self.counts.items() if kind not in LEAKS)

    @property
    def leak_sentence(self) -> str:
        """Name the leaks and their number, for a note under a table; empty where there are none."""
        parts = [f"{kind} ({self.counts[kind]})" for kind in LEAKS if kind in self.counts]
        return f"The data leak, as published: {', '.join(parts)}; these numbers are not independent." if parts else ""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, with the two totals."""
        findings = [asdict(finding) | {"leak": finding.leak} for finding in self.findings]
        return asdict(self) | {"leaks": self.leaks, "warnings": self.warnings, "findings": findings}


@dataclass(frozen=True)
class Weights:
    """Weights from elsewhere that an experiment starts from."""

    stage: str
    trained_on: TrainedOn | None
    """None where nothing beside the file says so."""


def audit_manifest(table: pd.DataFrame, weights: Sequence[Weights] = ()) -> AuditReport:
    """Look for leaks; the order of the rows changes nothing.

    Args:
        table: one row a scan, columns COLUMNS; only scans that are used.
        weights: that the experiment imports.

    Returns:
        The findings; memory is bounded by that of the table.
    """
    indexed = ScanIndex(table)
    found: list[Finding] = []
    counts: dict[str, int] = {}
    for kind, groups in (
        ("person in two splits", indexed.people_where(_in_two_splits)),
        ("same image under two names", indexed.contents_of_two_people()),
        ("test person in pre-training", indexed.people_where(lambda mask: _both(mask, "test", "pretraining"))),
        ("validation person in pre-training", indexed.people_where(_chosen_and_pretrained)),
        ("duplicate within a split", indexed.duplicates()),
        ("unreadable image", indexed.unreadable()),
    ):
        if groups:
            counts[kind] = len(groups)
            found += [_finding(indexed, kind, rows) for rows in groups[:LISTED]]  # type: ignore[arg-type]
    for finding in _weights_findings(indexed, weights):
        counts[finding.kind] = counts.get(finding.kind, 0) + 1
        found.append(finding)
    found.sort(key=lambda finding: (not finding.leak, LEAKS.index(finding.kind) if finding.leak else 0))
    return AuditReport(tuple(found), counts, len(table), len(indexed.people), int(indexed.known.sum()))


def reasons_to_leave_out(table: pd.DataFrame) -> pd.Series:
    """Say which scans have to leave training and pre-training so that nobody is in two places.

    Two people of whom one image is the same count as one here: one of the names is wrong, and nobody knows which.

    Args:
        table: as that of audit_manifest.

    Returns:
        A reason by row of the table, empty where the scan stays. Validation and test keep all of theirs.
    """
    indexed = ScanIndex(table)
    reasons = np.full(len(table), "", dtype=object)
    groups = indexed.contents_of_two_people()
    for person, (seen, tested) in indexed.linked_to_evaluated(groups).items():
        theirs = (indexed.person == person) & ((indexed.role & EVALUATED) == 0)
        reasons[theirs] = f"the person has the same image as {seen} of {tested}"
    for rows in groups:
        staying = [i for i in rows if not reasons[i] and not indexed.role[i] & EVALUATED]
        staying.sort(key=lambda i: (indexed.role[i] != BIT["train"], indexed.name(i)))
        for row in staying[1:]:
            first = staying[0]
            if indexed.person[row] != indexed.person[first]:
                reasons[row] = f"the same image as {indexed.name(first)} of {indexed.role_name(first)}"
    mask = indexed.mask[indexed.person]
    for role, other in (("train", "validation"), ("train", "test"), ("pretraining", "test")):
        reasons[(indexed.role == BIT[role]) & ((mask & BIT[other]) > 0)] = f"the person is also in {other}"
    return pd.Series(reasons, index=table.index, dtype=object)


def _finding(indexed: ScanIndex, kind: Kind, rows: Sequence[int]) -> Finding:
    """Describe a group of rows, in an order of their own."""
    people = sorted({str(indexed.people[indexed.person[i]]) for i in rows})
    roles = {indexed.role_name(i) for i in rows}
    places = tuple(role for role in ROLES if role in roles)
    return Finding(kind, tuple(people), places, tuple(sorted(indexed.name(i) for i in rows)))


def _in_two_splits(mask: NDArray[np.uint8]) -> NDArray[np.bool_]:
    splits = mask & _SPLITS
    return (splits & (splits - 1).astype(np.uint8)) > 0


def _both(mask: NDArray[np.uint8], *roles: str) -> NDArray[np.bool_]:
    wanted = sum(BIT[role] for role in roles)
    return np.asarray((mask & wanted) == wanted)


def _chosen_and_pretrained(mask: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return _both(mask, "validation", "pretraining") & ~_both(mask, "test")


def _weights_findings(indexed: ScanIndex, weights: Sequence[Weights]) -> Iterator[Finding]:
    who = indexed.table["person"].to_numpy(dtype=object)
    tested = indexed.role == BIT["test"]
    people = {hash_person(str(name)): str(name) for name in pd.unique(who[tested])}
    theirs = tested[indexed.rows]
    shown = indexed.contents[indexed.content[theirs]] if theirs.any() else ()
    contents = dict(zip(shown, who[indexed.rows[theirs]], strict=True))
    for one in sorted(weights, key=lambda one: one.stage):
        unknown = one.trained_on.unknown if one.trained_on else ("the file",)
        if unknown:
            note = f"nothing says whom {', '.join(unknown)} was trained on"
            yield Finding("unknown provenance", (), (one.stage,), (), note)
        if one.trained_on is None:
            continue
        found = {people[key] for key in people.keys() & set(one.trained_on.people)}
        found |= {str(contents[key]) for key in contents.keys() & set(one.trained_on.contents)}
        for person in sorted(found):
            note = f"weights of {one.trained_on.experiment}"
            yield Finding("test person in imported weights", (person,), ("test", one.stage), (), note)
