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

from brainage_ray.data.provenance import TrainedOn, hash_person

COLUMNS = ("use", "cohort", "subject", "person", "image", "split", "contents")
"""Of the table: use is age or pretraining; contents are content hashes, see data.contents, joined by a space, or
empty where they are not known."""
ROLES = ("train", "validation", "test", "pretraining")
"""What a scan is for: the split of a brain-age scan, or pre-training, whatever its split there."""
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

LEAK_REASONS = ("the person is also in", "the same image as")
"""How the reasons of scans that are left out for a leak begin."""

_BIT = {role: 1 << i for i, role in enumerate(ROLES)}
_STAYS = [_BIT[role] for role in ("test", "validation", "train", "pretraining")]
"""Of two scans that may not both stay, the one whose role comes first does."""
_SPLITS = _BIT["train"] | _BIT["validation"] | _BIT["test"]


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
    indexed = _Indexed(table)
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
            found += [indexed.finding(kind, rows) for rows in groups[:LISTED]]  # type: ignore[arg-type]
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
    indexed = _Indexed(table)
    reasons = pd.Series("", index=table.index, dtype=object)
    whole = _BIT["test"] | _BIT["validation"]
    for rows in indexed.contents_of_two_people():
        rows = sorted(rows, key=lambda i: (_STAYS.index(indexed.role[i]), indexed.name(i)))
        kept = rows[0]
        for row in rows[1:]:
            if indexed.person[row] == indexed.person[kept] or indexed.role[row] & whole:
                continue
            same = f"the same image as {indexed.name(kept)} of {indexed.role_name(kept)}"
            theirs = indexed.person == indexed.person[row] if indexed.role[kept] & whole else np.zeros(0, bool)
            training = np.flatnonzero(theirs)[(indexed.role[theirs] & whole) == 0] if theirs.size else []
            reasons.iloc[[row, *training]] = same
    mask = indexed.mask[indexed.person]
    for role, others in (("train", ("test", "validation")), ("pretraining", ("test",))):
        for other in others:
            leaves = (indexed.role == _BIT[role]) & ((mask & _BIT[other]) > 0)
            reasons[leaves & (reasons == "").to_numpy()] = f"the person is also in {other}"
    return reasons


class _Indexed:
    """The table as numbers: who, what for, and which contents."""

    def __init__(self, table: pd.DataFrame) -> None:
        self.table = table.reset_index(drop=True)
        split = self.table["split"].where(self.table["use"] == "age", "pretraining")
        self.role: NDArray[np.uint8] = np.zeros(len(table), np.uint8)
        for role, bit in _BIT.items():
            self.role[(split == role).to_numpy()] = bit
        self.person, self.people = pd.factorize(self.table["person"])
        self.mask: NDArray[np.uint8] = np.zeros(len(self.people), np.uint8)
        for bit in _BIT.values():
            self.mask[self.person[self.role == bit]] |= bit
        self.known: NDArray[np.bool_] = (self.table["contents"] != "").to_numpy(dtype=bool)
        self.rows, texts = _one_a_row(self.table["contents"])
        self.content, self.contents = pd.factorize(texts)

    def people_where(self, wrong: Any) -> list[list[int]]:
        """Return the rows of each person whose roles are wrong, by name."""
        bad = np.flatnonzero(wrong(self.mask))
        rows = np.flatnonzero(np.isin(self.person, bad)) if len(bad) else np.zeros(0, np.int64)
        return self._groups(self.person[rows], rows)

    def contents_of_two_people(self) -> list[list[int]]:
        """Return the rows of each content that has the names of two people or more."""
        first = np.zeros(len(self.contents), np.int64)
        first[self.content] = self.person[self.rows]
        differs = self.person[self.rows] != first[self.content]
        return self._groups_of_contents(np.unique(self.content[differs]))

    def duplicates(self) -> list[list[int]]:
        """Return the rows of each content that one person has twice in one role and under no other name."""
        keys = (self.content.astype(np.int64) * len(self.people) + self.person[self.rows]) * 16 + self.role[self.rows]
        repeated = pd.Series(keys).duplicated(keep=False).to_numpy()
        two_names = {i for rows in self.contents_of_two_people() for i in rows}
        groups = _once(self._groups(keys[repeated], self.rows[repeated]))
        return [rows for rows in groups if len(rows) > 1 and not two_names.intersection(rows)]

    def unreadable(self) -> list[list[int]]:
        """Return each row without contents, where others have them."""
        return [[int(i)] for i in np.flatnonzero(~self.known)] if self.known.any() else []

    def name(self, row: int) -> str:
        """Return cohort and image."""
        return f"{self.table['cohort'].iloc[row]} {self.table['image'].iloc[row]}"

    def role_name(self, row: int) -> str:
        """Return what a row is for."""
        return ROLES[int(self.role[row]).bit_length() - 1]

    def finding(self, kind: Kind, rows: Sequence[int]) -> Finding:
        """Describe a group of rows, in an order of their own."""
        people = sorted({str(self.people[self.person[i]]) for i in rows})
        roles = {self.role_name(i) for i in rows}
        places = tuple(role for role in ROLES if role in roles)
        return Finding(kind, tuple(people), places, tuple(sorted(self.name(i) for i in rows)))

    def _groups_of_contents(self, bad: NDArray[np.int64]) -> list[list[int]]:
        mine = np.isin(self.content, bad) if len(bad) else np.zeros(len(self.content), bool)
        return _once(self._groups(self.content[mine], self.rows[mine]))

    def _groups(self, keys: NDArray[np.int64], rows: NDArray[np.int64]) -> list[list[int]]:
        """Gather the rows of equal keys; the groups are ordered by the names in them."""
        if not len(rows):
            return []
        order = np.argsort(keys, kind="stable")
        starts = np.flatnonzero(np.diff(keys[order])) + 1
        groups = [sorted({int(i) for i in part}) for part in np.split(rows[order], starts)]
        person, cohort, image = (self.table[c].to_numpy() for c in ("person", "cohort", "image"))
        return sorted(groups, key=lambda part: min((str(person[i]), str(cohort[i]), str(image[i])) for i in part))


def _once(groups: Sequence[Sequence[int]]) -> list[list[int]]:
    """Drop repeated groups: four modalities of a copied case are one finding."""
    return [list(rows) for rows in dict.fromkeys(tuple(rows) for rows in groups)]


def _one_a_row(contents: pd.Series) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Return the row of each content, and the contents; most rows have one."""
    several = contents.str.contains(" ", regex=False).to_numpy(dtype=bool)
    single = np.flatnonzero(~several & (contents != "").to_numpy(dtype=bool))
    split = contents[several].str.split(" ").explode()
    rows = np.concatenate([single, split.index.to_numpy(dtype=np.int64)])
    return rows, np.concatenate([contents.to_numpy(dtype=object)[single], split.to_numpy(dtype=object)])


def _in_two_splits(mask: NDArray[np.uint8]) -> NDArray[np.bool_]:
    splits = mask & _SPLITS
    return (splits & (splits - 1).astype(np.uint8)) > 0


def _both(mask: NDArray[np.uint8], *roles: str) -> NDArray[np.bool_]:
    wanted = sum(_BIT[role] for role in roles)
    return np.asarray((mask & wanted) == wanted)


def _chosen_and_pretrained(mask: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return _both(mask, "validation", "pretraining") & ~_both(mask, "test")


def _weights_findings(indexed: _Indexed, weights: Sequence[Weights]) -> Iterator[Finding]:
    who = indexed.table["person"].to_numpy(dtype=object)
    tested = indexed.role == _BIT["test"]
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
