"""A scan that needs more memory than it may have, among others that do not; on a real cluster."""

from __future__ import annotations

import dataclasses

import nibabel as nib
import numpy as np
import pytest
from fuzz_cohorts import PEOPLE, experiment_of, people_table
from sessions import session_of

from brainage_ray.config import Experiment
from brainage_ray.errors import DataError
from brainage_ray.pipeline.prepare import prepare

EDGE = 650


def huge_volume(path) -> None:
    """Write 1 GiB of float32 in a few hundred kilobytes, in which a small brain lies."""
    array = np.zeros((EDGE,) * 3, np.uint8)
    array[300:340, 300:340, 2:22] = np.random.default_rng(0).integers(50, 150, (40, 40, 20))
    nib.save(nib.Nifti1Image(array, np.diag([3.0, 3.0, 3.0, 1.0])), path)


def with_memory(experiment: Experiment, gib: float, failures: int) -> Experiment:
    resources = experiment.resources.model_copy(update={"memory_gib_per_scan": gib})
    data = experiment.data.model_copy(update={"max_failures": failures})
    return experiment.model_copy(update={"resources": resources, "data": data})


@pytest.mark.ray
@pytest.mark.slow
def test_it_alone_fails_by_name_and_is_done_when_it_may_have_more(cluster, tmp_path):
    people_table(tmp_path)
    huge_volume(tmp_path / "huge.nii.gz")
    with (tmp_path / "people.csv").open("a") as file:
        file.write("Huge,60,F,CN,huge.nii.gz\n")
    source = {"kind": "table", "table": str(tmp_path / "people.csv"), "cohort": "X"}
    experiment = experiment_of(tmp_path, [source], "memory")

    def session(gib: float, failures: int = 0):
        begun = session_of(with_memory(experiment, gib, failures), tmp_path / "runs")
        return dataclasses.replace(begun, cluster=cluster)

    with pytest.raises(DataError, match=r"1 of 9 scans .*huge\.nii\.gz.*memory.*Raise resources\.memory_gib_per_scan"):
        prepare(session(1))
    few = prepare(session(1, failures=1)).ledger
    assert (few["status"] == "done").sum() == PEOPLE
    (reason,) = few.loc[few["status"] == "failed", "reason"]
    assert "huge.nii.gz is too large for the memory" in reason
    assert (prepare(session(4)).ledger["status"] == "done").sum() == PEOPLE + 1
