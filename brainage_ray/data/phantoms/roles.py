"""Who is in the invented cohort: sixty slots, ordered so that the first few already hold every kind of person."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

_FIRST_RID = {"ADNI-1": 3, "ADNI-GO": 2002, "ADNI-2": 4010, "ADNI-3": 6005}


@dataclass(frozen=True)
class Role:
    """A kind of person in the cohort."""

    diagnosis: str
    """CN, MCI or AD."""
    training: int | None
    """TRAINING in CROSSVAL.csv for ADNI-1 people; None for people of later phases."""
    count: int
    """Of sixty."""
    rolled_over: tuple[int, ...] = ()
    """Which of them, counted within the role, come back in a later phase."""


ROLES = (
    Role("CN", None, 32),
    Role("CN", 0, 8, rolled_over=(1, 4)),
    Role("CN", 1, 6, rolled_over=(2,)),
    Role("MCI", 0, 6, rolled_over=(3,)),
    Role("AD", 0, 6),
    Role("MCI", None, 1),
    Role("AD", None, 1),
)
CYCLE = sum(role.count for role in ROLES)
"""People after whom the roles begin anew."""
MAX_SUBJECTS = 75 * CYCLE
"""More people would not find RIDs in the range of ADNI-1."""


@dataclass(frozen=True)
class Slot:
    """A place in the cohort."""

    role: Role
    nth: int
    """Of its role within the cycle, from 0."""
    phase: str
    """In which the person entered ADNI."""
    rank: int
    """Of its phase within the cycle, from 0."""
    per_cycle: int
    """People of the same phase in a cycle."""

    @property
    def rolled_over(self) -> bool:
        """Whether the person comes back in a later phase."""
        return self.nth in self.role.rolled_over

    def rid(self, cycle: int) -> int:
        """Return the participant's number, in the range that ADNI gave to the phase."""
        return _FIRST_RID[self.phase] + cycle * self.per_cycle + self.rank


@lru_cache(maxsize=1)
def slots() -> tuple[Slot, ...]:
    """Return the cycle of slots: at each place the role that is furthest behind its share."""
    counts: Counter[Role] = Counter()
    drawn: list[tuple[Role, int, str]] = []
    for place in range(1, CYCLE + 1):
        role = max(ROLES, key=lambda r: r.count * place / CYCLE - counts[r])
        drawn.append((role, counts[role], _phase(role, counts[role])))
        counts[role] += 1
    sizes = Counter(phase for _, _, phase in drawn)
    ranks: Counter[str] = Counter()
    found = []
    for role, nth, phase in drawn:
        found.append(Slot(role, nth, phase, ranks[phase], sizes[phase]))
        ranks[phase] += 1
    return tuple(found)


def _phase(role: Role, nth: int) -> str:
    if role.training is not None:
        return "ADNI-1"
    if role.diagnosis == "MCI":
        return "ADNI-GO"
    return ("ADNI-2", "ADNI-3")[nth % 2]
