"""A brain, a tumour case and a small store on disk."""

from __future__ import annotations

import pytest
from brains import brain, save, scan_of, write_tumour
from hypothesis import settings
from stores import CONFIG, age_rows, open_rows, tested_rows

from brainage_ray.config import PreprocessingConfig
from brainage_ray.data.store_write import write_store, write_test

settings.register_profile("untimed", deadline=None)  # a busy machine is no mistake of the code
settings.load_profile("untimed")


@pytest.fixture
def config():
    """20 slices from 16 to 56 mm of the grid."""
    return PreprocessingConfig(slice_range_mm=(16.0, 56.0), slice_shape=(48, 40))


@pytest.fixture
def scan(tmp_path):
    return scan_of(save(tmp_path / "scans" / "brain.nii.gz", brain()))


@pytest.fixture
def tumour(tmp_path):
    return write_tumour(tmp_path / "cases", "T1")


@pytest.fixture
def rows(tmp_path):
    """Nine scans of an age store: five train, two validate, two test."""
    return age_rows(tmp_path / "cache")


@pytest.fixture
def store(rows, tmp_path):
    """Those that train and validate."""
    return write_store(tmp_path / "store", open_rows(rows), "age", CONFIG)


@pytest.fixture
def sealed(rows, tmp_path):
    """Those that test."""
    return write_test(tmp_path / "sealed", tested_rows(rows), CONFIG)
