"""The invented people of the ADNI-like tree: when they were scanned, how old they were, under which names."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from brainage_ray.data.phantoms.ageing import draw_scatter
from brainage_ray.data.phantoms.roles import CYCLE, MAX_SUBJECTS, Slot, slots
from brainage_ray.errors import ConfigError

_SITES = ("002", "011", "023", "031", "094", "100", "128", "141", "301", "941")
_AGES = (55.0, 90.0)
_GOLDEN = 0.6180339887
_START = {
    "ADNI-1": date(2005, 11, 1),
    "ADNI-GO": date(2010, 3, 1),
    "ADNI-2": date(2011, 6, 1),
    "ADNI-3": date(2017, 2, 1),
}
_FIRST_VISIT = {
    "ADNI-1": "ADNI Screening",
    "ADNI-GO": "ADNIGO Screening MRI",
    "ADNI-2": "ADNI2 Screening MRI-New Pt",
    "ADNI-3": "ADNI Screening",  # as in ADNI-1: only the RID tells them apart
}
_LATER_VISIT = {
    "ADNI-1": "ADNI1/GO Month {months}",
    "ADNI-GO": "ADNI1/GO Month {months}",
    "ADNI-2": "ADNI2 Year {years} Visit",
    "ADNI-3": "ADNI3 Year {years} Visit",
}
_RETURNS = (("ADNI-GO", "ADNIGO Month 60", 60), ("ADNI-2", "ADNI2 Initial Visit-Cont Pt", 66))
_GROUP = {("MCI", "ADNI-GO"): "EMCI", ("MCI", "ADNI-2"): "LMCI"}


@dataclass(frozen=True)
class Visit:
    """One scan of one person, as a download names it."""

    subject: str
    phase: str
    name: str
    """Visit identifier, as LONI writes it."""
    group: str
    """Research group, as LONI writes it."""
    day: date
    age_years: float
    image: int
    """Image id, unique in the tree."""


@dataclass(frozen=True)
class Person:
    """An invented participant."""

    index: int
    rid: int
    sex: str
    diagnosis: str
    """CN, MCI or AD."""
    training: int | None
    """TRAINING in CROSSVAL.csv; None for people of later phases."""
    scatter: tuple[float, float, float]
    """See `ageing.draw_scatter`."""
    visits: tuple[Visit, ...]


def person_rng(seed: int, index: int, stream: int) -> np.random.Generator:
    """Return a generator of the person's own: a child of the seed that depends on nobody else.

    Args:
        seed: of the whole tree.
        index: of the person or case.
        stream: what it is for.
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index, stream)))


def draw_person(seed: int, index: int) -> Person:
    """Draw the person of an index: the same one, however many there are.

    Raises:
        ConfigError: the index is not below MAX_SUBJECTS.
    """
    if index >= MAX_SUBJECTS:
        raise ConfigError(f"there is no phantom subject {index}", f"Ask for {MAX_SUBJECTS} subjects at most.")
    cycle, place = divmod(index, CYCLE)
    slot = slots()[place]
    rng = person_rng(seed, index, stream=0)
    sex = "MF"[int(rng.integers(2))]
    age = _first_age(seed, slot, cycle) + rng.uniform(-1, 1)
    visits = _visits(slot, cycle, age, 10000 + 10 * index, rng)
    return Person(index, slot.rid(cycle), sex, slot.role.diagnosis, slot.role.training, draw_scatter(rng), visits)


def _visits(slot: Slot, cycle: int, age: float, first_image: int, rng: np.random.Generator) -> tuple[Visit, ...]:
    plan = _plan(slot)
    age = min(max(age, _AGES[0]), _AGES[1] - plan[-1][2] / 12 - 0.1)
    first = _START[slot.phase] + timedelta(days=int(rng.integers(500)))
    site = int(rng.integers(len(_SITES)))
    visits = []
    for i, (phase, name, months) in enumerate(plan):
        day = first + timedelta(days=round(30.44 * months + rng.uniform(-9, 9) * (i > 0)))
        moved = phase != slot.phase and slot.nth % 2 == 1  # to another site, which leaves only the RID the same
        subject = f"{_SITES[(site + moved) % len(_SITES)]}_S_{slot.rid(cycle):04d}"
        group = _GROUP.get((slot.role.diagnosis, phase), slot.role.diagnosis)
        age_then = round(age + (day - first).days / 365.25, 2)
        visits.append(Visit(subject, phase, name, group, day, age_then, first_image + i))
    return tuple(visits)


def _plan(slot: Slot) -> list[tuple[str, str, int]]:
    """Return (phase, visit, months since the first) of a person's scans, in order."""
    plan = [(slot.phase, _FIRST_VISIT[slot.phase], 0)]
    for year in range(1, 1 + _repeats(slot)):
        plan.append((slot.phase, _LATER_VISIT[slot.phase].format(months=12 * year, years=year), 12 * year))
    if slot.rolled_over:
        plan.append(_RETURNS[slot.nth % 2])
    return plan


def _repeats(slot: Slot) -> int:
    """Return how many more scans follow, a year apart: one for every third person, two for some."""
    if slot.role.training is not None:
        return int(slot.nth % 3 == 2)
    return int(slot.nth % 3 == 1) + int(slot.nth % 9 == 4)


def _first_age(seed: int, slot: Slot, cycle: int) -> float:
    """Spread each role evenly over the ages, however few its people are, by the golden ratio."""
    start = np.random.default_rng(np.random.SeedSequence(seed)).uniform()
    nth = slot.nth + cycle * slot.role.count
    low, high = _AGES
    return float(low + (high - low) * ((start + _GOLDEN * (nth + 1)) % 1))
