"""A run does not start on a leak, unless the experiment names the way out; and trainings never get the test split."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest
from leaky_people import cut_here, people_of
from sessions import session_of

from brainage_ray.config import TrainingRun
from brainage_ray.data import SliceStore, TestLedger, TrainedOn, sha256_of, trained_on, write_provenance
from brainage_ray.errors import LeakageError
from brainage_ray.pipeline.audit import audit_experiment
from brainage_ray.pipeline.fitted import FittedModel
from brainage_ray.pipeline.leaks import what_a_run_does
from brainage_ray.pipeline.model_folder import write_model_folder
from brainage_ray.pipeline.prepare import prepare
from brainage_ray.pipeline.pretrain import Pretrained
from brainage_ray.pipeline.provenance import keep_provenance
from brainage_ray.pipeline.search import age_run, study_plan
from brainage_ray.training import train

EXCLUDE = "data.split.rollover=exclude_from_training"
AS_PUBLISHED = "data.split.rollover=as_published"


@pytest.fixture(autouse=True)
def here(monkeypatch):
    monkeypatch.setattr("brainage_ray.pipeline.prepare.parallel_map", cut_here)


def prepared_of(people, tmp_path, *changes, **more):
    session = session_of(people.experiment(*changes, **more), tmp_path / "runs")
    return session, prepare(session)


def test_clean_data_start_and_the_test_split_lies_apart(tmp_path):
    session, prepared = prepared_of(people_of(tmp_path), tmp_path)
    assert prepared.audit.counts == {}
    assert set(prepared.age.manifest["split"]) == {"train", "validation"}
    assert set(prepared.test.manifest["subject"]) == {"s4", "s5"}
    assert len(prepared.manifest) == 6
    assert prepared.test.folder.parent == prepared.age.folder.parent
    again = prepare(session)
    assert (again.data_hash, again.audit) == (prepared.data_hash, prepared.audit)


def test_a_test_scan_that_changes_changes_the_data_but_not_what_models_train_on(tmp_path):
    people = people_of(tmp_path)
    _, first = prepared_of(people, tmp_path)
    people.rows[5] = people.rows[5].replace(",55,", ",56,")
    _, second = prepared_of(people, tmp_path)
    assert first.age.content_hash == second.age.content_hash
    assert first.data_hash != second.data_hash


COPY = ("copy", "train", 4)


def test_a_copy_of_a_test_scan_under_another_name_and_compression_stops_the_run(tmp_path):
    people = people_of(tmp_path, COPY)
    with pytest.raises(LeakageError, match=r"same image under two names \(1\): X/copy and X/s4") as caught:
        prepared_of(people, tmp_path)
    assert "exclude_from_training" in caught.value.fix
    assert not list((tmp_path / "runs").glob("*/store"))


def test_exclude_from_training_leaves_it_out_on_the_record(tmp_path):
    people = people_of(tmp_path, COPY)
    _, prepared = prepared_of(people, tmp_path, EXCLUDE)
    assert prepared.audit.counts == {}
    ledger = prepared.ledger.set_index("subject")
    assert ledger.loc["copy", "status"] == "excluded"
    assert ledger.loc["copy", "reason"] == "the person has the same image as X scans/4.nii.gz of test"
    assert len(ledger) == 7
    assert "copy" not in set(prepared.manifest["subject"])


def test_as_published_keeps_it_and_has_a_sentence_for_every_table(tmp_path):
    _, prepared = prepared_of(people_of(tmp_path, COPY), tmp_path, AS_PUBLISHED)
    assert "copy" in set(prepared.age.manifest["subject"])
    assert "same image under two names (1)" in prepared.audit.leak_sentence


@pytest.mark.parametrize("rollover", [EXCLUDE, AS_PUBLISHED])
def test_no_setting_allows_one_image_to_validate_and_test(tmp_path, rollover):
    people = people_of(tmp_path, ("copy", "validation", 4))
    with pytest.raises(LeakageError, match="Somebody validates and tests"):
        prepared_of(people, tmp_path, rollover)


@pytest.mark.parametrize("changes", [(), (EXCLUDE,), (AS_PUBLISHED,)])
def test_the_audit_offers_no_way_out_that_a_run_does_not_take(tmp_path, changes):
    found = audit_experiment(people_of(tmp_path, ("s2", "test", 9)).experiment(*changes), tmp_path / "runs")
    does = what_a_run_does(found.rollover, found.report)
    assert "refuses to start, for somebody validates and tests" in does
    assert not [way for way in ("as_published", "exclude_from_training") if way in does]


def test_a_person_in_two_splits_stops_the_run_before_anything_is_cut(tmp_path, monkeypatch):
    monkeypatch.setattr("brainage_ray.pipeline.prepare.parallel_map", lambda *_: pytest.fail("cut"))
    with pytest.raises(LeakageError, match=r"X/s4 \(train, test\)"):
        prepared_of(people_of(tmp_path, ("s4", "train", 9)), tmp_path)


def test_the_audit_says_the_same_before_and_after_preparation(tmp_path):
    people = people_of(tmp_path, COPY, ("s0", "train", 0))
    experiment = people.experiment(AS_PUBLISHED)
    before = audit_experiment(experiment, tmp_path / "runs")
    assert before.source == "the files of the sources"
    assert before.report.counts == {"same image under two names": 1, "duplicate within a split": 1}
    assert sorted(path.name for path in (tmp_path / "runs").rglob("*") if path.is_file()) == ["contents.jsonl"]
    prepare(session_of(experiment, tmp_path / "runs"))
    after = audit_experiment(experiment, tmp_path / "runs")
    assert after.source.startswith("the store")
    assert after.report == before.report


def test_the_audit_counts_what_exclude_from_training_leaves_out(tmp_path):
    experiment = people_of(tmp_path, COPY, ("s4", "train", 9)).experiment(EXCLUDE)
    before = audit_experiment(experiment, tmp_path / "runs").report
    assert before.counts == {}
    assert sum(before.left_out.values()) == 2
    prepare(session_of(experiment, tmp_path / "runs"))
    after = audit_experiment(experiment, tmp_path / "runs").report
    assert (after.counts, sum(after.left_out.values())) == ({}, 2)


def test_an_unreadable_image_is_a_warning(tmp_path):
    people = people_of(tmp_path)
    (tmp_path / "scans" / "0.nii.gz").write_bytes(b"")
    report = audit_experiment(people.experiment(), tmp_path / "runs").report
    assert report.counts == {"unreadable image": 1}
    assert report.leaks == 0


# What trainings are given.


def test_the_plan_of_a_search_names_no_path_to_the_test_split(tmp_path):
    session, prepared = prepared_of(people_of(tmp_path), tmp_path)
    plan = study_plan(session, prepared, Pretrained({}, {}), "resnet")
    assert str(prepared.test.folder) not in json.dumps(plan.run.to_json())
    assert plan.run.store == prepared.age.folder
    assert not [path for path in plan.run.store.rglob("*") if "test" in path.name]
    for folder in (prepared.test.folder, tmp_path / "scans"):
        shutil.rmtree(folder)  # nobody who searches needs them
    assert len(SliceStore.open(plan.run.store).split("train").scans) == 2


ASK = """
import json, sys
from brainage_ray.config import TrainingRun
from brainage_ray.errors import LeakageError
from brainage_ray.training import train
try:
    train(TrainingRun.model_validate_json(sys.stdin.read()))
except LeakageError as error:
    print("refused:", error)
"""


@pytest.mark.parametrize("by", ["split", "folder"])
def test_a_trial_process_that_asks_for_the_test_split_is_refused(by, tmp_path):
    session, prepared = prepared_of(people_of(tmp_path), tmp_path)
    run = age_run(session, prepared, session.experiment.arms["resnet"])
    change = {"train_splits": ("train", "test")} if by == "split" else {"store": prepared.test.folder}
    asked = run.model_copy(update={**change, "folder": tmp_path / "trial"})
    done = subprocess.run([sys.executable, "-c", ASK], input=asked.model_dump_json(), capture_output=True, text=True,
                          check=True)  # fmt: skip
    assert done.stdout.startswith("refused: the test split is sealed")
    assert not TestLedger(session.folder / "test_ledger.jsonl").entries()


# Weights from elsewhere.


def imported(path):
    return {"old": {"kind": "weights", "uri": str(path), "sha256": sha256_of(path)}}


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "elsewhere" / "model.safetensors"
    path.parent.mkdir()
    path.write_bytes(b"weights")
    return path


def test_weights_that_saw_a_test_person_stop_the_run_before_anything_is_cut(tmp_path, weights, monkeypatch):
    monkeypatch.setattr("brainage_ray.pipeline.prepare.parallel_map", lambda *_: pytest.fail("cut"))
    write_provenance(trained_on("theirs", ["X/s5"], []), {weights: sha256_of(weights)})
    for change in ([], [EXCLUDE]):
        with pytest.raises(LeakageError, match=r"test person in imported weights \(1\): X/s5") as caught:
            prepared_of(people_of(tmp_path / str(len(change))), tmp_path, *change, pretraining=imported(weights))
        assert "other weights" in caught.value.fix


def test_the_audit_offers_for_leaking_weights_what_mends_them(tmp_path, weights):
    write_provenance(trained_on("theirs", ["X/s5"], []), {weights: sha256_of(weights)})
    found = audit_experiment(people_of(tmp_path).experiment(pretraining=imported(weights)), tmp_path / "runs")
    does = what_a_run_does(found.rollover, found.report)
    assert "Take other weights" in does
    assert "exclude_from_training" not in does


def test_weights_that_saw_a_test_image_under_another_name_stop_the_run(tmp_path, weights):
    _, prepared = prepared_of(people_of(tmp_path / "a"), tmp_path)
    seen = prepared.test.manifest["contents"].iloc[0]
    write_provenance(trained_on("theirs", ["Y/7"], [seen]), {weights: sha256_of(weights)})
    with pytest.raises(LeakageError, match=r"test person in imported weights \(1\): X/s4"):
        prepared_of(people_of(tmp_path / "b"), tmp_path, pretraining=imported(weights))


@pytest.mark.parametrize("known", [None, TrainedOn(experiment="x", unknown=("y.pth",))])
def test_weights_of_unknown_provenance_are_a_warning(tmp_path, weights, known):
    if known is not None:
        write_provenance(known, {weights: sha256_of(weights)})
    _, prepared = prepared_of(people_of(tmp_path / "a"), tmp_path, pretraining=imported(weights))
    assert prepared.audit.counts == {"unknown provenance": 1}
    assert (prepared.audit.leaks, prepared.audit.leak_sentence) == (0, "")


def test_the_models_of_one_experiment_are_recognised_by_the_next(tmp_path):
    """Trained for real; then a study that tests one of their people takes them as its first weights."""
    session, prepared = prepared_of(people_of(tmp_path / "a"), tmp_path, name="first")
    run = age_run(session, prepared, session.experiment.arms["resnet"])
    run = TrainingRun.model_validate(run.model_dump() | {"keep_weights": True, "folder": tmp_path / "fit"})
    fit = train(run)
    keep_provenance("first", [run], {run.key: fit}, prepared.age.manifest)
    folder = tmp_path / "pulled"
    write_model_folder(folder, "first", prepared.age.preprocessing, [FittedModel("resnet", 0, run, fit)])
    weights = folder / "seed-0.safetensors"
    _, clean = prepared_of(people_of(tmp_path / "b"), tmp_path, name="second", pretraining=imported(weights))
    assert clean.audit.counts == {}
    swapped = people_of(tmp_path / "c")
    swapped.rows[0], swapped.rows[4] = (swapped.rows[i].replace(*change) for i, change in
                                        ((0, ("train", "test")), (4, ("test", "train"))))  # fmt: skip
    with pytest.raises(LeakageError, match=r"X/s0 \(test, old\)"):
        prepared_of(swapped, tmp_path, name="third", pretraining=imported(weights))
    _, allowed = prepared_of(swapped, tmp_path, AS_PUBLISHED, name="fourth", pretraining=imported(weights))
    assert "test person in imported weights (1)" in allowed.audit.leak_sentence
