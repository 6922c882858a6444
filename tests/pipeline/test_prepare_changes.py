"""What a change of one thing redoes, and whether the store's hash tells of it; on real files, through the stage."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from fuzz_cohorts import PEOPLE, experiment_of, people_table, serial_map
from sessions import session_of

from brainage_ray.data.preprocessing import preprocess_scan
from brainage_ray.pipeline.prepare import prepare

ALL = {f"s {i}.nii.gz" for i in range(PEOPLE)}


class Study:
    """Eight people, prepared again and again in one workspace."""

    def __init__(self, folder, monkeypatch):
        self.folder, self.cut = folder, []
        monkeypatch.setattr("brainage_ray.pipeline.prepare.parallel_map", serial_map)
        monkeypatch.setattr("brainage_ray.data.prepare.preprocess_scan", self._preprocess)
        people_table(folder)
        source = {"kind": "table", "table": str(folder / "people.csv"), "cohort": "X"}
        self.experiment = experiment_of(folder, [source], "changes")

    def _preprocess(self, scan, config):
        self.cut.append(scan.files["t1"].name)
        return preprocess_scan(scan, config)

    def prepare(self):
        """Return the hash of all data, the names of the files that were cut for it, and how many scans are cached."""
        self.cut.clear()
        done = prepare(session_of(self.experiment, self.folder / "runs"))
        assert (done.ledger["status"] == "done").sum() == len(done.manifest)
        cached = {path.name.split(".")[0] for path in (self.folder / "runs" / "cache" / "scans").rglob("*.npy")}
        return done.data_hash, set(self.cut), len(cached)

    def set(self, part, **values):
        data = self.experiment.data
        changed = getattr(data, part).model_copy(update=values)
        self.experiment = self.experiment.model_copy(update={"data": data.model_copy(update={part: changed})})

    def write(self, old, new):
        table = self.folder / "people.csv"
        assert old in table.read_text()
        table.write_text(table.read_text().replace(old, new))


@pytest.fixture
def study(tmp_path, monkeypatch):
    return Study(tmp_path, monkeypatch)


def rewrite(path, change):
    image = nib.load(path)
    array = np.asarray(image.dataobj).copy()
    change(array)
    nib.save(nib.Nifti1Image(array, image.affine, image.header), path)


def test_the_same_again_cuts_nothing(study):
    first, cut, _ = study.prepare()
    assert cut == ALL
    assert study.prepare() == (first, set(), PEOPLE)


@pytest.mark.parametrize("where", ["brain", "corner"])
def test_one_changed_voxel_redoes_that_scan_alone(study, where):
    first, _, _ = study.prepare()
    scan = study.folder / "s 3.nii.gz"
    array = np.asarray(nib.load(scan).dataobj)
    place = tuple(np.argwhere(array > 0)[len(np.argwhere(array > 0)) // 2]) if where == "brain" else (0, 0, 0)

    def change(voxels):
        voxels[place] += 1

    rewrite(scan, change)
    assert (np.asarray(nib.load(scan).dataobj) != array).sum() == 1
    second, cut, cached = study.prepare()
    assert second != first
    assert cut == {"s 3.nii.gz"}
    assert cached == PEOPLE + 1  # what is of the old file is still there


def test_the_old_file_again_is_the_old_store_and_cuts_nothing(study):
    scan = study.folder / "s 3.nii.gz"
    before = scan.read_bytes()
    first, _, _ = study.prepare()
    rewrite(scan, lambda voxels: np.multiply(voxels, 1.5, out=voxels, casting="unsafe"))
    assert study.prepare()[0] != first
    scan.write_bytes(before)
    assert study.prepare()[:2] == (first, set())


def test_a_file_that_was_only_touched_changes_nothing(study):
    first, _, _ = study.prepare()
    (study.folder / "s 3.nii.gz").touch()
    assert study.prepare() == (first, set(), PEOPLE)


@pytest.mark.parametrize(("old", "new"), [("P3,63.5", "P3,64.5"), ("P3,63.5,F", "P3,63.5,M"), ("P3,", "P33,")])
def test_what_the_table_says_of_a_person_changes_the_hash_and_cuts_nothing(study, old, new):
    first, _, _ = study.prepare()
    study.write(old, new)
    second, cut, _ = study.prepare()
    assert second != first
    assert cut == set()


@pytest.mark.parametrize("values", [{"slice_step_mm": 4.0}, {"slice_shape": (48, 40)}, {"voxel_mm": 8.0}])
def test_a_setting_of_the_preprocessing_redoes_every_scan(study, values):
    first, _, _ = study.prepare()
    study.set("preprocessing", **values)
    second, cut, _ = study.prepare()
    assert second != first
    assert cut == ALL


def test_a_setting_of_the_split_changes_the_hash_and_cuts_nothing(study):
    first, _, _ = study.prepare()
    study.set("split", seed=1)
    second, cut, _ = study.prepare()
    assert second != first
    assert cut == set()


def test_a_new_person_is_cut_alone(study):
    first, _, _ = study.prepare()
    (study.folder / "new.nii.gz").write_bytes((study.folder / "s 3.nii.gz").read_bytes())
    rewrite(study.folder / "new.nii.gz", lambda voxels: voxels.__setitem__((12, 14, 11), 99))
    study.write("P7,67.5,F,CN,s 7.nii.gz", "P7,67.5,F,CN,s 7.nii.gz\nP8,70,M,CN,new.nii.gz")
    second, cut, _ = study.prepare()
    assert second != first
    assert cut == {"new.nii.gz"}


def test_resources_change_nothing(study):
    first, _, _ = study.prepare()
    resources = study.experiment.resources.model_copy(update={"cpus_per_scan": 2.0, "memory_gib_per_scan": 3.0})
    study.experiment = study.experiment.model_copy(update={"resources": resources})
    assert study.prepare() == (first, set(), PEOPLE)
