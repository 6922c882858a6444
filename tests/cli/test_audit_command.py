"""`brainage audit` as a user types it: 0 where the data are clean, 3 where they leak."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
import yaml


@pytest.fixture
def brainage(commands):
    return commands.run


@pytest.fixture
def experiment(tmp_path):
    """Four people; the image of one who trains is that of one who is tested, written anew."""
    rows = []
    for i, split in enumerate(["train", "validation", "test", "train"]):
        voxels = np.random.default_rng(min(i, 2) if i < 3 else 2).uniform(1, 9, (8, 8, 8)).astype(np.float32)
        name = f"{i}.nii" if i == 3 else f"{i}.nii.gz"
        nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / name)
        rows.append(f"s{i},6{i},F,CN,{name},{split}")
    (tmp_path / "people.csv").write_text("\n".join(["subject,age_years,sex,diagnosis,image,split", *rows]) + "\n")
    content = {
        "name": "small",
        "data": {"sources": [{"kind": "table", "table": "people.csv", "cohort": "X"}], "split": {"rule": "table"}},
        "arms": {"unet": {"backbone": {"kind": "unet"}}},
        "search": {"space": {"parameters": {"training.optimizer.lr": {"type": "float", "low": 1e-4, "high": 0.01}}}},
    }
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_a_leak_is_exit_code_3_with_names_ways_out_and_a_file_for_machines(brainage, experiment, tmp_path):
    out = tmp_path / "audit.json"
    done = brainage("audit", experiment, "--workspace", tmp_path / "runs", "--json", out)
    assert (done.returncode, done.stderr) == (3, "")
    for words in ("same image under two names", "X/s2, X/s3", "train, test", "1 leak", "A run refuses to start"):
        assert words in done.stdout
    found = json.loads(out.read_text())
    assert (found["leaks"], found["rollover"], found["experiment"]) == (1, "refuse", "small")
    assert found["findings"][0]["people"] == ["X/s2", "X/s3"]
    assert [path.name for path in (tmp_path / "runs").rglob("*") if path.is_file()] == ["contents.jsonl"]


def test_as_published_leaks_all_the_same_and_says_what_follows(brainage, experiment, tmp_path):
    done = brainage("audit", experiment, "--workspace", tmp_path, "--set", "data.split.rollover=as_published")
    assert done.returncode == 3
    assert "marks each of its tables" in done.stdout


def test_clean_data_are_exit_code_0_and_say_what_was_left_out(brainage, experiment, tmp_path):
    done = brainage("audit", experiment, "--workspace", tmp_path, "--set", "data.split.rollover=exclude_from_training")
    assert (done.returncode, done.stderr) == (0, "")
    assert "It found no leak." in done.stdout
    assert "Left out by exclude_from_training: 1, the person has the same image as X 2.nii.gz of test" in done.stdout


def test_a_run_on_the_leak_does_not_start(brainage, experiment, tmp_path):
    rows = (tmp_path / "people.csv").read_text().replace("s3,", "s2,")
    (tmp_path / "people.csv").write_text(rows)
    done = brainage("run", experiment, "--workspace", tmp_path / "runs")
    assert done.returncode == 3
    assert done.stderr.startswith("brainage: ")
    assert "X/s2 (train, test)" in " ".join(done.stderr.split())
