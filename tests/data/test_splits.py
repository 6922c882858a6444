from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainage_ray.config import SplitConfig
from brainage_ray.config.base import digest
from brainage_ray.data.scan import Scan
from brainage_ray.data.splits import (
    Assignment,
    assign_splits,
    check_no_leakage,
    people_in_two_splits,
    split_cases,
    split_subjects,
)
from brainage_ray.errors import LeakageError, MetadataError

LABELS = {"CN": "CN", "MCI": "MCI", "EMCI": "MCI", "AD": "AD", "SMC": None}
BY_SUBJECT = SplitConfig()
BY_TABLE = SplitConfig(rule="table")
FEW = 40
DEFAULTS = {"cohort": "C", "session": "1", "age_years": 70.0, "diagnosis": "CN"}


def scan(subject, image="", **facts):
    image = image or f"{subject}-{facts.get('session', '1')}-{facts.get('given_split', '')}"
    return Scan(subject=subject, image=image, files={"t1": Path(image)}, **{**DEFAULTS, **facts})


def given_splits(*pairs, **facts):
    return [scan(subject, given_split=split, **facts) for subject, split in pairs]


def assign(scans, config=BY_SUBJECT, diagnoses=("CN", "MCI", "AD")):
    return assign_splits(scans, config, LABELS, diagnoses)


people = st.lists(
    st.tuples(
        st.integers(0, 400).map("P{:03d}".format),
        st.floats(40, 95).map(lambda age: round(age, 1)),
        st.sampled_from(["CN", "EMCI", "AD"]),
        st.integers(1, 3),
    ),
    min_size=1,
    max_size=60,
    unique_by=lambda p: p[0],
)
fractions = st.sampled_from([(0.7, 0.15, 0.15), (0.8, 0.1, 0.1), (0.34, 0.33, 0.33), (0.6, 0.1, 0.3)])


def scans_of(drawn):
    return [
        scan(subject, session=str(visit), age_years=age + visit, diagnosis=diagnosis)
        for subject, age, diagnosis, visits in drawn
        for visit in range(visits)
    ]


def rule(shares, seed=0):
    return SplitConfig(fractions=dict(zip(("train", "validation", "test"), shares, strict=True)), seed=seed)


@given(drawn=people, shares=fractions, seed=st.integers(0, 5))
@settings(deadline=None, max_examples=50)
def test_nobody_is_in_two_splits_and_each_split_has_its_share(drawn, shares, seed):
    assignments = assign(scans_of(drawn), rule(shares, seed))
    assert not people_in_two_splits(assignments)
    assert all(a.split for a in assignments)
    for diagnosis in ("CN", "MCI", "AD"):
        group = {a.scan.person: a.split for a in assignments if a.diagnosis == diagnosis}
        sizes = Counter(group.values())
        off = 1 if len(drawn) >= FEW else 2  # among few people, one or two more move so that no split is empty
        for name, share in zip(("train", "validation", "test"), shares, strict=True):
            assert abs(sizes[name] - share * len(group)) <= off + 1e-9, (diagnosis, name, sizes)


@given(drawn=people, shares=fractions, seed=st.integers(0, 5))
@settings(max_examples=50)
def test_no_split_is_empty_as_soon_as_there_are_three_people(drawn, shares, seed):
    found = {a.split for a in assign(scans_of(drawn), rule(shares, seed))}
    assert len(found) == min(3, len(drawn)) or len(drawn) == 2


@pytest.mark.parametrize(
    ("n", "sizes"), [(1, [1, 0, 0]), (2, [2, 0, 0]), (3, [1, 1, 1]), (4, [2, 1, 1]), (5, [3, 1, 1])]
)
def test_the_sizes_of_few_people(n, sizes):
    found = Counter(a.split for a in assign([scan(f"P{i}", age_years=50.0 + i) for i in range(n)]))
    assert [found[name] for name in ("train", "validation", "test")] == sizes


def test_the_split_of_many_people_is_what_it_was():
    """Of a published table: another draw for the same seed would be another experiment."""
    labels = ["CN", "MCI", "AD"]
    subjects = pd.DataFrame(
        {
            "subject": [f"P{i:03d}" for i in range(150)],
            "age_years": [40 + i * 37 % 50 for i in range(150)],
            "diagnosis": [labels[i * i % 3] for i in range(150)],
        }
    )
    splits = split_subjects(subjects, {"train": 0.7, "validation": 0.15, "test": 0.15}, 0)
    assert digest(splits) == "bae1db84686dfe8d"


def test_a_share_of_nothing_takes_nobody():
    subjects = pd.DataFrame({"subject": list("abcde"), "age_years": 50.0, "diagnosis": "CN"})
    assert set(split_subjects(subjects, {"train": 1.0, "validation": 0.0}, 0).values()) == {"train"}


@given(drawn=people, shares=fractions, data=st.data())
@settings(deadline=None, max_examples=50)
def test_the_order_of_the_scans_does_not_matter(drawn, shares, data):
    scans = scans_of(drawn)
    shuffled = data.draw(st.permutations(scans))
    expected = {a.scan.image: a for a in assign(scans, rule(shares))}
    found = assign(shuffled, rule(shares))
    assert [a.scan.image for a in found] == [s.image for s in shuffled]
    assert {a.scan.image: a for a in found} == expected


def test_every_split_covers_every_age():
    ages = {f"P{i:03d}": i for i in range(200)}
    subjects = pd.DataFrame({"subject": list(ages), "age_years": list(ages.values()), "diagnosis": "CN"})
    splits = split_subjects(subjects, {"train": 0.7, "validation": 0.15, "test": 0.15}, 0)
    tested = sorted(ages[subject] for subject, split in splits.items() if split == "test")
    assert len(tested) == 30
    assert max(b - a for a, b in itertools.pairwise(tested)) <= 14


def test_another_seed_is_another_draw():
    scans = [scan(f"P{i}", age_years=50.0 + i) for i in range(40)]
    draws = [[a.split for a in assign(scans, rule((0.7, 0.15, 0.15), seed))] for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]


def test_the_baseline_visit_stratifies():
    """A person who turns from CN to AD counts as CN, whichever visit comes first in the list."""
    scans = [scan("P1", session="2", diagnosis="AD"), scan("P1", session="1"), scan("P2", age_years=71.0)]
    config = rule((0.4, 0.4, 0.2))
    splits = {a.scan.person: a.split for a in assign(scans, config)}
    assert sorted(splits.values()) == ["train", "validation"]


def test_the_baseline_visit_is_the_earliest_whatever_its_name():
    """Month 12 comes before month 6 in the alphabet, and the person was CN then."""
    scans = [
        scan("P1", session="12", age_years=71.0, diagnosis="AD"),
        scan("P1", session="6", age_years=70.5),
        scan("P2", age_years=70.6),
    ]
    splits = {a.scan.person: a.split for a in assign(scans, rule((0.4, 0.4, 0.2)))}
    assert sorted(splits.values()) == ["train", "validation"], "two people of one stratum"


def test_labels_are_mapped_and_null_leaves_out():
    first, second, third, fourth = assign(
        [
            scan("P1", diagnosis="EMCI"),
            scan("P2", diagnosis="SMC"),
            scan("P3", diagnosis=""),
            scan("P4", age_years=None),
        ]
    )
    assert (first.diagnosis, first.split) == ("MCI", "train")
    assert (second.split, second.reason) == (None, "diagnosis SMC is null in label_map")
    assert (third.split, third.reason) == (None, "the source gives no diagnosis")
    assert (fourth.split, fourth.reason) == (None, "the source gives no age")


def test_an_unknown_label_is_named():
    with pytest.raises(MetadataError) as caught:
        assign([scan("P1"), scan("301_S_6056", image="I99", diagnosis="Dementia")])
    assert '301_S_6056, image I99 has the diagnosis "Dementia"' in caught.value.problem
    assert "data.label_map" in caught.value.fix


def test_only_some_diagnoses_train():
    pairs = [("P1", "train"), ("P2", "validation"), ("P3", "test")]
    sick, *kept = assign(given_splits(*pairs, diagnosis="AD"), BY_TABLE, ("CN",))
    assert sick.split is None
    assert "AD does not train" in sick.reason
    assert [a.split for a in kept] == ["validation", "test"]


@pytest.mark.parametrize("name", ["table", "adni_standard"])
def test_the_source_gives_the_split(name):
    scans = given_splits(("P1", "train"), ("P2", "validation"), ("P3", "test"), ("P4", ""))
    assignments = assign(scans, SplitConfig(rule=name))
    assert [a.split for a in assignments] == ["train", "validation", "test", None]
    assert assignments[3].reason == "the source gives no split"


def test_an_unknown_split_is_named():
    with pytest.raises(MetadataError, match=r'P1, image .* has the split "holdout"'):
        assign(given_splits(("P1", "holdout")), BY_TABLE)


def rolled_over(n):
    """People of ADNI-1 who came back under another subject id, so that only the person tells."""
    early = [scan(f"011_S_{i:04d}", given_split="test", person=f"ADNI/{i}") for i in range(n)]
    late = [scan(f"301_S_{i:04d}", given_split="train", person=f"ADNI/{i}", session="2") for i in range(n)]
    return [*early, *late, scan("011_S_9999", given_split="train", person="ADNI/9999")]


def test_rollovers_are_refused_with_the_list_and_the_ways_out():
    with pytest.raises(LeakageError) as caught:
        assign(rolled_over(12), SplitConfig(rule="adni_standard"))
    assert "12 people" in caught.value.problem
    assert "ADNI/0 (train, test)" in caught.value.problem
    assert caught.value.problem.count("ADNI/") == 10
    assert "and 2 more" in caught.value.problem
    assert "exclude_from_training" in caught.value.fix
    assert "as_published" in caught.value.fix


def test_rollovers_leave_training():
    config = SplitConfig(rule="adni_standard", rollover="exclude_from_training")
    assignments = assign(rolled_over(3), config)
    assert Counter(a.split for a in assignments) == {"test": 3, None: 3, "train": 1}
    assert {a.reason for a in assignments if a.split is None} == {"the person is also in test"}
    check_no_leakage(assignments)


def test_rollovers_stay_as_published_and_are_reported():
    config = SplitConfig(rule="adni_standard", rollover="as_published")
    assignments = assign(rolled_over(3), config)
    assert Counter(a.split for a in assignments) == {"test": 3, "train": 4}
    assert people_in_two_splits(assignments) == {f"ADNI/{i}": ("train", "test") for i in range(3)}
    with pytest.raises(LeakageError, match="3 people"):
        check_no_leakage(assignments)


def test_who_does_not_train_does_not_leak():
    scans = [scan("P1", given_split="test"), scan("P1", given_split="train", session="2", diagnosis="MCI")]
    assert [a.split for a in assign(scans, BY_TABLE, ("CN",))] == ["test", None]


@pytest.mark.parametrize("rollover", ["refuse", "exclude_from_training", "as_published"])
@pytest.mark.parametrize("others", [[], [("P1", "train")]])
def test_validation_and_test_never_share_a_person(rollover, others):
    scans = given_splits(("P1", "validation"), ("P1", "test"), *others)
    with pytest.raises(LeakageError, match=r"validation and test.*C/P1"):
        assign(scans, SplitConfig(rule="table", rollover=rollover))


def cases(n, cohort="B"):
    return [Scan(cohort, f"T{i:02d}", "", f"T{i:02d}", {}, Path("seg.nii")) for i in range(n)]


@given(n=st.integers(1, 40), share=st.sampled_from([0.0, 0.1, 0.25, 0.5]), data=st.data())
@settings(deadline=None, max_examples=40)
def test_cases_are_divided_in_each_cohort(n, share, data):
    scans = [*cases(n), *cases(7, "other")]
    assignments = split_cases(scans, share, seed=0)
    for cohort, size in (("B", n), ("other", 7)):
        kept_aside = sum(a.split == "validation" for a in assignments if a.scan.cohort == cohort)
        assert abs(kept_aside - share * size) <= 1
    shuffled = split_cases(data.draw(st.permutations(scans)), share, seed=0)
    assert {(a.scan.person, a.split) for a in shuffled} == {(a.scan.person, a.split) for a in assignments}


def test_cases_of_one_person_stay_together():
    scans = [Scan("B", f"T{i // 2}", str(i % 2), f"T{i}", {}, Path("seg.nii")) for i in range(40)]
    assignments = split_cases(scans, 0.3, seed=1)
    assert not people_in_two_splits(assignments)
    assert {a.split for a in assignments} == {"train", "validation"}


def test_nobody_in_no_split_leaks():
    scans = given_splits(("P1", "train"), ("P1", "test"))
    check_no_leakage([Assignment(scans[0], "train", "CN"), Assignment(scans[1], None, "CN", "left out")])


def test_no_scan_is_no_assignment():
    assert assign([]) == ()
    assert split_cases([], 0.1, 0) == ()
