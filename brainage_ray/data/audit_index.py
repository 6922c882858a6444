"""A table of scans as numbers: who, what for, which images; what the audit asks of it takes one pass each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

COLUMNS = ("use", "cohort", "subject", "person", "image", "split", "contents")
"""Of the table: use is age or pretraining; contents are content hashes, see data.contents, joined by a space, or
empty where they are not known."""
ROLES = ("train", "validation", "test", "pretraining")
"""What a scan is for: the split of a brain-age scan, or pre-training, whatever its split there."""
BIT = {role: 1 << i for i, role in enumerate(ROLES)}
EVALUATED = BIT["validation"] | BIT["test"]
"""What a model may not have been trained on."""


class ScanIndex:
    """The table as numbers: who, what for, and which contents."""

    def __init__(self, table: pd.DataFrame) -> None:
        self.table = table.reset_index(drop=True)
        split = self.table["split"].where(self.table["use"] == "age", "pretraining")
        self.role: NDArray[np.uint8] = np.zeros(len(table), np.uint8)
        for role, bit in BIT.items():
            self.role[(split == role).to_numpy()] = bit
        self.person, self.people = pd.factorize(self.table["person"])
        self.mask: NDArray[np.uint8] = np.zeros(len(self.people), np.uint8)
        for bit in BIT.values():
            self.mask[self.person[self.role == bit]] |= bit
        self.known: NDArray[np.bool_] = (self.table["contents"] != "").to_numpy(dtype=bool)
        self.rows, texts = _one_a_row(self.table["contents"])
        self.content, self.contents = pd.factorize(texts)

    def people_where(self, wrong: Callable[[NDArray[np.uint8]], NDArray[np.bool_]]) -> list[list[int]]:
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

    def linked_to_evaluated(self, groups: Sequence[Sequence[int]]) -> dict[int, tuple[str, str]]:
        """Return the people whom shared images, one after the other, tie to a scan of the test or validation split.

        Args:
            groups: rows of each shared content.

        Returns:
            Name and split of one such scan, by person's number.
        """
        if not groups:
            return {}
        ends = np.array([(self.person[rows[0]], self.person[row]) for rows in groups for row in rows])
        size = len(self.people)
        links = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(size, size))
        component = connected_components(links, directed=False)[1]
        tied = np.isin(component, component[ends])
        evaluated = [int(i) for i in np.flatnonzero(tied[self.person]) if self.role[i] & EVALUATED]
        evaluated.sort(key=lambda i: (self.role[i] != BIT["test"], self.name(i)), reverse=True)
        seen = {component[self.person[i]]: (self.name(i), self.role_name(i)) for i in evaluated}  # the last one counts
        shared = np.unique(ends)
        return {int(person): seen[component[person]] for person in shared if component[person] in seen}

    def duplicates(self) -> list[list[int]]:
        """Return the rows of each content that one person has twice in one role and under no other name."""
        keys = (self.content.astype(np.int64) * len(self.people) + self.person[self.rows]) * 16 + self.role[self.rows]
        repeated = pd.Series(keys).duplicated(keep=False).to_numpy()
        two_names = {i for rows in self.contents_of_two_people() for i in rows}
        groups = _once(self._groups(keys[repeated], self.rows[repeated]))
        return [rows for rows in groups if len(rows) > 1 and not two_names.intersection(rows)]

    def unreadable(self) -> list[list[int]]:
        """Return each row without contents, where others have them."""
        rows = [int(i) for i in np.flatnonzero(~self.known)] if self.known.any() else []
        return [[i] for i in sorted(rows, key=self.name)]

    def name(self, row: int) -> str:
        """Return cohort and image."""
        return f"{self.table['cohort'].iloc[row]} {self.table['image'].iloc[row]}"

    def role_name(self, row: int) -> str:
        """Return what a row is for."""
        return ROLES[int(self.role[row]).bit_length() - 1]

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
