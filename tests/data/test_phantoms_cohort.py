from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from brainage_ray.data.phantoms.cohort import draw_person
from brainage_ray.data.phantoms.roles import CYCLE, MAX_SUBJECTS, ROLES, slots
from brainage_ray.data.sources.adni_ids import parse_subject, phase_of
from brainage_ray.errors import ConfigError

PEOPLE = [draw_person(0, index) for index in range(CYCLE)]
VISITS = [(person, visit) for person in PEOPLE for visit in person.visits]


def rolled_over(person) -> bool:
    return len({visit.phase for visit in person.visits}) > 1


def test_sixty_people_fill_every_role():
    assert len(slots()) == CYCLE == 60
    assert Counter(slot.role for slot in slots()) == {role: role.count for role in ROLES}


def test_the_test_set_has_all_groups_and_validation_has_healthy_people():
    counts = Counter((person.training, person.diagnosis) for person in PEOPLE)
    assert counts == {
        (None, "CN"): 32, (0, "CN"): 8, (1, "CN"): 6, (0, "MCI"): 6, (0, "AD"): 6, (None, "MCI"): 1, (None, "AD"): 1,
    }  # fmt: skip


def test_a_dozen_people_hold_every_role_that_an_experiment_needs():
    roles = {(slot.role.training, slot.role.diagnosis) for slot in slots()[:12]}
    assert roles >= {(None, "CN"), (0, "CN"), (1, "CN"), (0, "MCI"), (0, "AD")}


def test_a_person_is_the_same_at_every_draw_and_another_at_another_seed():
    assert draw_person(0, 7) == PEOPLE[7]
    assert draw_person(1, 7).scatter != PEOPLE[7].scatter


def test_ids_are_unique_over_many_cycles():
    people = [draw_person(5, index) for index in range(0, MAX_SUBJECTS, 7)]
    assert len({person.rid for person in people}) == len(people)
    images = [visit.image for person in people for visit in person.visits]
    assert len(set(images)) == len(images)


def test_more_people_than_ids_are_refused():
    draw_person(0, MAX_SUBJECTS - 1)
    with pytest.raises(ConfigError, match=f"Ask for {MAX_SUBJECTS}"):
        draw_person(0, MAX_SUBJECTS)


@pytest.mark.parametrize("index", [0, 59, 60, MAX_SUBJECTS - 60, MAX_SUBJECTS - 1])
def test_visits_read_back_as_the_phase_that_they_are_of(index):
    for visit in draw_person(2, index).visits:
        subject = parse_subject(visit.subject, "")
        assert phase_of(visit.name, subject.rid, "") == visit.phase
        assert str(subject) == visit.subject


def test_every_phase_and_both_kinds_of_doubtful_names_occur():
    assert {visit.phase for _, visit in VISITS} == {"ADNI-1", "ADNI-GO", "ADNI-2", "ADNI-3"}
    assert {visit.phase for _, visit in VISITS if visit.name == "ADNI Screening"} == {"ADNI-1", "ADNI-3"}
    names = {visit.name for _, visit in VISITS}
    assert {"ADNI1/GO Month 12", "ADNI2 Year 1 Visit", "ADNI3 Year 2 Visit", "ADNIGO Screening MRI"} <= names


def test_groups_are_those_of_their_phase():
    groups = {(visit.phase, visit.group) for _, visit in VISITS}
    assert {("ADNI-GO", "EMCI"), ("ADNI-2", "LMCI"), ("ADNI-1", "MCI"), ("ADNI-2", "AD")} <= groups
    assert {group for _, group in groups} == {"CN", "EMCI", "LMCI", "MCI", "AD"}


def test_people_roll_over_out_of_validation_and_test_some_to_another_site():
    rolled = [person for person in PEOPLE if rolled_over(person)]
    assert Counter((p.training, p.diagnosis) for p in rolled) == {(0, "CN"): 2, (1, "CN"): 1, (0, "MCI"): 1}
    sites = [len({visit.subject for visit in person.visits}) for person in rolled]
    assert sorted(sites) == [1, 1, 2, 2]
    for person in rolled:
        assert {parse_subject(visit.subject, "").rid for visit in person.visits} == {person.rid}


def test_some_people_come_two_or_three_times_a_year_apart():
    counts = Counter(len(person.visits) for person in PEOPLE)
    assert counts[2] >= 5
    assert counts[3] >= 3
    for person in PEOPLE:
        days = [visit.day for visit in person.visits]
        assert days == sorted(days)
        assert all((b - a).days > 300 for a, b in pairwise(days))


def test_people_age_as_the_calendar_goes():
    for person in PEOPLE:
        first = person.visits[0]
        for visit in person.visits:
            years = (visit.day - first.day).days / 365.25
            assert visit.age_years - first.age_years == pytest.approx(years, abs=0.011)


@pytest.mark.parametrize("seed", range(5))
def test_ages_span_fifty_five_to_ninety_and_are_alike_in_all_groups(seed):
    people = [draw_person(seed, index) for index in range(CYCLE)]
    ages = [visit.age_years for person in people for visit in person.visits]
    assert 54.5 < min(ages) < 58
    assert 87 < max(ages) <= 90
    for training, diagnosis in ((None, "CN"), (0, "CN"), (1, "CN"), (0, "MCI"), (0, "AD")):
        group = [p.visits[0].age_years for p in people if (p.training, p.diagnosis) == (training, diagnosis)]
        assert np.mean(group) == pytest.approx(72, abs=5)
