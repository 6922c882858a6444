"""Maps of what drives the ages lie on the brain they are about."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from tiny_models import COARSE, write_brain, write_model

from brainage_ray.errors import ConfigError, DataError
from brainage_ray.pipeline import explain
from brainage_ray.pipeline.brain_regions import region_table


@pytest.mark.slow
def test_maps_a_table_and_a_figure_are_written_in_the_scans_space(tmp_path: Path):
    model, brain = write_model(tmp_path / "tiny"), write_brain(tmp_path / "brain.nii.gz")
    found = explain(model, [brain, tmp_path / "missing.nii.gz"], tmp_path / "out")
    assert list(found.failed) == [str(tmp_path / "missing.nii.gz")]
    given, mean, drives = (
        nib.load(p) for p in (brain, tmp_path / "out/brain.nii.gz", tmp_path / "out/occlusion.nii.gz")
    )
    assert np.allclose(given.affine, drives.affine)
    shown = np.asarray(mean.dataobj) != 0
    ends = tuple(slice(0, n) for n in shown.shape)
    assert np.asarray(given.dataobj)[ends][shown].all()  # there is brain where the map says so
    assert np.abs(np.asarray(drives.dataobj)[shown]).max() > 0
    assert {"left CSF", "right grey matter", "left white matter"} <= set(found.regions["region"])
    shares = found.regions.groupby("method")["share"].sum()
    assert shares.to_numpy() == pytest.approx([1, 1], abs=0.01)
    slices = pd.read_csv(tmp_path / "out/slices.csv")
    assert slices["position_mm"].min() >= COARSE.slice_range_mm[0]
    assert (tmp_path / "out/attribution.png").stat().st_size > 1000
    with pytest.raises(ConfigError, match="not empty"):
        explain(model, [brain], tmp_path / "out")


def test_nothing_to_explain_is_an_error(tmp_path: Path):
    with pytest.raises(DataError, match="No scan can be explained"):
        explain(write_model(tmp_path / "tiny"), [tmp_path / "missing.nii.gz"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_region_that_has_it_all_has_the_whole_share():
    inside = np.ones((4, 4, 9), dtype=bool)
    values = np.zeros(inside.shape, np.float32)
    values[:2, :, 6:] = -0.5
    table = region_table({"occlusion": values}, inside, np.diag([2.0, 2, 2, 1]), on_icbm152=False)
    row = table.set_index("region").loc["left upper third"]
    assert (row["share"], row["density"], row["years"], row["ml"]) == (1.0, 6.0, -12.0, 0.2)
    assert table["share"].sum() == 1
