from __future__ import annotations

import pytest
import yaml
from fuzz_cohorts import PEOPLE, experiment_of, image_bytes, people_table, serial_map
from sessions import session_of

from brainage_ray.config import load_experiment
from brainage_ray.data import read_ledger
from brainage_ray.errors import ConfigError, DataError, MetadataError
from brainage_ray.pipeline.exclusions import Where, exclude_images
from brainage_ray.pipeline.inputs import read_inputs, read_scans
from brainage_ray.pipeline.plan import count_data
from brainage_ray.pipeline.prepare import prepare
from brainage_ray.pipeline.session import save_experiment


def spoil(tmp_path, old, new):
    path = tmp_path / "people.csv"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


@pytest.fixture
def session(tmp_path):
    """Of six people in a table, whose scans nobody can read: a check that comes too late fails otherwise."""
    rows = [f"s{i},{50 + i},F,CN,s{i}.nii.gz,train" for i in range(6)]
    (tmp_path / "people.csv").write_text("\n".join(["subject,age_years,sex,diagnosis,image,split", *rows]) + "\n")
    for i in range(6):
        (tmp_path / f"s{i}.nii.gz").write_bytes(b"")
    experiment = {
        "name": "small",
        "data": {"sources": [{"kind": "table", "table": "people.csv", "cohort": "X"}], "split": {"rule": "table"}},
        "arms": {"unet": {"backbone": {"kind": "unet"}, "pretraining": ["brats"]}},
        "pretraining": {"brats": {"kind": "segmentation"}},
        "search": {"space": {"parameters": {"training.optimizer.lr": {"type": "float", "low": 1.0e-4, "high": 0.01}}}},
    }
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(experiment))
    return lambda *changes: session_of(load_experiment(path, changes), tmp_path / "runs")


def test_an_empty_split_is_said_before_anything_is_cut(session, tmp_path):
    with pytest.raises(DataError, match=r"The validation split .* train: 6 CN; validation: none"):
        prepare(session())
    assert not (tmp_path / "runs").exists()


def test_a_misspelt_cohort_is_said_before_anything_is_cut(session, tmp_path):
    with pytest.raises(ConfigError, match=r'pretraining\.brats\.cohorts has "BraTs"'):
        prepare(session('pretraining.brats.cohorts=["BraTs"]', "data.split.rule=by_subject"))
    assert not (tmp_path / "runs").exists()


def test_the_bar_of_the_phantoms_goes_when_they_are_interrupted(session, monkeypatch):
    def interrupted(source, cache, progress):
        progress(1, 5)
        raise KeyboardInterrupt

    monkeypatch.setattr("brainage_ray.pipeline.inputs.read_sources", interrupted)
    begun = session()
    with pytest.raises(KeyboardInterrupt):
        read_scans(begun)
    assert begun.progress.open == 0


class TestRejectedInputs:
    """Of the table of six, whose scans nobody can read; the split is drawn, as by default."""

    def test_one_stops_the_run_before_anything_is_cut_and_is_named(self, session, tmp_path):
        spoil(tmp_path, "s3,53", "s3,999")
        with pytest.raises(MetadataError, match=r"people\.csv, line 5: the age is 999 years.*max_failures=1") as error:
            prepare(session("data.split.rule=by_subject"))
        assert error.value.exit_code == 2
        listed = read_ledger(tmp_path / "runs" / "small" / "failed_scans.csv")
        assert listed[["subject", "image", "status"]].to_numpy().tolist() == [["s3", "s3.nii.gz", "failed"]]
        assert not (tmp_path / "runs" / "cache").exists()

    def test_several_are_counted_and_the_first_named(self, session, tmp_path):
        spoil(tmp_path, ",F,", ",X,")
        with pytest.raises(MetadataError) as error:
            prepare(session("data.split.rule=by_subject"))
        for words in (
            "6 inputs cannot be used",
            "line 2",
            "line 4",
            "and 3 more",
            "max_failures=6",
            "failed_scans.csv",
        ):
            assert words in str(error.value)
        assert "line 5" not in str(error.value)

    def test_as_many_as_are_allowed_do_not_stop_it(self, session, tmp_path):
        spoil(tmp_path, "s3,53", "s3,-1")
        found = read_inputs(session("data.max_failures=1"))
        assert [rejected.image for rejected in found.rejected] == ["s3.nii.gz"]
        assert [scan.image for scan in found.scans] == [f"s{i}.nii.gz" for i in (0, 1, 2, 4, 5)]
        assert read_scans(session()) == list(found.scans)

    def test_they_count_with_the_scans_that_fail(self, session, tmp_path, monkeypatch):
        monkeypatch.setattr("brainage_ray.pipeline.prepare.parallel_map", serial_map)
        spoil(tmp_path, "s3,53", "s3,-1")
        with pytest.raises(DataError, match=r"6 of 6 scans could not be prepared.*max_failures=6"):
            prepare(session("data.split.rule=by_subject", "data.max_failures=3"))
        listed = read_ledger(tmp_path / "runs" / "small" / "failed_scans.csv")
        assert listed["status"].tolist() == ["failed"] * 6
        assert "-1 years" in listed["reason"].tolist()[3]

    def test_an_unknown_label_is_one_of_them(self, session, tmp_path):
        spoil(tmp_path, "s3,53,F,CN", "s3,53,F,Healthy")
        with pytest.raises(MetadataError, match=r's3.*"Healthy", which data\.label_map does not have.*Add Healthy'):
            prepare(session("data.split.rule=by_subject"))
        assert len(read_inputs(session("data.label_map.Healthy=CN")).scans) == 6

    def test_one_that_a_person_excludes_has_not_failed(self, session, tmp_path):
        spoil(tmp_path, "s3,53,F,CN", "s3,,F,Healthy")
        (tmp_path / "qc.csv").write_text("cohort,image,reason\nX,s3.nii.gz,nobody knows the age\n")
        begun = session(f"data.exclusions={tmp_path / 'qc.csv'}", "data.split.rule=by_subject")
        assert read_inputs(begun).rejected == ()
        assert sum(count_data(begun.experiment, tmp_path / "runs").scans.values()) == 5

    def test_planning_says_so_too(self, session, tmp_path):
        spoil(tmp_path, "s3,53", "s3,999")
        with pytest.raises(MetadataError, match="999 years"):
            count_data(session().experiment, tmp_path / "runs")
        assert sum(count_data(session("data.max_failures=1").experiment, tmp_path / "runs").scans.values()) == 5


def test_a_store_is_made_anew_when_its_ledger_does_not_tell_of_todays_rejections(tmp_path, monkeypatch):
    """The scans are the same, and so is the folder; what is on the record is not."""
    monkeypatch.setattr("brainage_ray.pipeline.prepare.parallel_map", serial_map)
    people_table(tmp_path)
    table = tmp_path / "people.csv"
    sound = table.read_text()
    source = {"kind": "table", "table": str(table), "cohort": "X"}
    begun = session_of(experiment_of(tmp_path, [source], "anew"), tmp_path / "runs")

    def failed(text):
        table.write_text(text)
        ledger = prepare(begun).ledger
        assert (ledger["status"] == "done").sum() == PEOPLE
        return ledger.loc[ledger["status"] == "failed", "reason"].tolist()

    assert failed(sound) == []
    (first,) = failed(sound + "P9,-1,F,CN,x.nii.gz\n")
    assert "x.nii.gz" in first
    (second,) = failed(sound + "P9,60,F,CN,x.nii.gz\n" + "\n")
    assert second == first
    assert len(failed(sound + "P9,60,F,CN,x.nii.gz\nP9,60,F,CN,y.nii.gz\n")) == 2
    assert failed(sound) == []
    assert len(list((tmp_path / "runs" / "anew" / "store").iterdir())) == 1


def test_an_input_that_its_source_rejects_is_excluded_as_a_scan_is(tmp_path, monkeypatch):
    monkeypatch.setattr("brainage_ray.pipeline.prepare.parallel_map", serial_map)
    people_table(tmp_path)
    table = tmp_path / "people.csv"
    table.write_text(table.read_text() + "P8,,F,CN,y.nii.gz\nP9,,F,CN,x.nii.gz\n")
    source = {"kind": "table", "table": str(table), "cohort": "X"}
    experiment = experiment_of(tmp_path, [source], "by-hand")
    data = experiment.data.model_copy(update={"max_failures": 1, "exclusions": tmp_path / "qc.csv"})
    begun = session_of(experiment.model_copy(update={"data": data}), tmp_path / "runs")
    save_experiment(begun)
    (tmp_path / "qc.csv").write_text("cohort,image,reason\n")
    with pytest.raises(MetadataError, match="2 inputs cannot be used"):
        prepare(begun)
    (change,) = exclude_images(["x.nii.gz"], "no age", Where(tmp_path / "runs"))
    assert (change.cohort, change.before) == ("X", None)
    ledger = prepare(begun).ledger
    assert ledger["status"].value_counts().to_dict() == {"done": PEOPLE, "failed": 1, "excluded": 1}
    (row,) = ledger.loc[ledger["status"] == "excluded", ["subject", "image", "reason"]].to_numpy().tolist()
    assert row == ["P9", "x.nii.gz", "quality control: no age"]
    written = (begun.folder / "store").stat().st_mtime_ns
    assert prepare(begun).ledger.equals(ledger)
    assert (begun.folder / "store").stat().st_mtime_ns == written
    table.write_text(table.read_text().replace("P9,,F,CN,x.nii.gz\n", ""))
    with pytest.raises(MetadataError, match=r"excludes X x\.nii\.gz, but the sources have no such scan"):
        prepare(begun)


def test_the_list_of_what_failed_goes_when_it_is_no_longer_true(tmp_path, monkeypatch):
    monkeypatch.setattr("brainage_ray.pipeline.prepare.parallel_map", serial_map)
    people_table(tmp_path)
    source = {"kind": "table", "table": str(tmp_path / "people.csv"), "cohort": "X"}
    experiment = experiment_of(tmp_path, [source], "again")
    strict = experiment.model_copy(update={"data": experiment.data.model_copy(update={"max_failures": 0})})
    begun = session_of(strict, tmp_path / "runs")
    sound = (tmp_path / "s 3.nii.gz").read_bytes()
    (tmp_path / "s 3.nii.gz").write_bytes(b"torn")
    with pytest.raises(DataError, match=r"failed_scans\.csv"):
        prepare(begun)
    (tmp_path / "s 3.nii.gz").write_bytes(sound)
    prepare(begun)
    assert not (begun.folder / "failed_scans.csv").exists()


def test_the_bar_skips_what_an_earlier_run_prepared(tmp_path, monkeypatch):
    monkeypatch.setattr("brainage_ray.pipeline.prepare.parallel_map", serial_map)
    people_table(tmp_path)
    source = {"kind": "table", "table": str(tmp_path / "people.csv"), "cohort": "X"}
    begun = session_of(experiment_of(tmp_path, [source], "bar"), tmp_path / "runs")
    prepare(begun)
    assert begun.progress.skipped == 0
    spoil(tmp_path, ",67.5,", ",77.5,")
    (tmp_path / "s 3.nii.gz").write_bytes(image_bytes(100))
    prepare(begun)
    assert begun.progress.skipped == PEOPLE - 1
