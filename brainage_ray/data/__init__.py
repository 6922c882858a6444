"""Scans and who they belong to, preprocessing, splits, ledgers and the slice store."""

from brainage_ray.data.exclusions import (
    Exclusion,
    check_exclusions,
    exclude,
    include,
    leave_out,
    make_exclusions,
    nearest_scan,
    read_exclusions,
)
from brainage_ray.data.files import atomic_folder, atomic_write, no_space, sha256_of
from brainage_ray.data.ledger import Ledger, TestLedger, code_version, read_ledger
from brainage_ray.data.prepare import PreparedScan, prepare_scan
from brainage_ray.data.preprocessing import PREPROCESSING_VERSION, Slices, preprocess_scan
from brainage_ray.data.scan import Scan
from brainage_ray.data.splits import (
    SPLITS,
    Assignment,
    assign_splits,
    check_no_leakage,
    people_in_two_splits,
    split_cases,
    split_subjects,
)
from brainage_ray.data.store import POSITION_UNIT_MM, SliceStore, StoredSplit
from brainage_ray.data.store_write import StoreRow, write_store
from brainage_ray.data.volumes import MODALITIES

__all__ = [
    "MODALITIES",
    "POSITION_UNIT_MM",
    "PREPROCESSING_VERSION",
    "SPLITS",
    "Assignment",
    "Exclusion",
    "Ledger",
    "PreparedScan",
    "Scan",
    "SliceStore",
    "Slices",
    "StoreRow",
    "StoredSplit",
    "TestLedger",
    "assign_splits",
    "atomic_folder",
    "atomic_write",
    "check_exclusions",
    "check_no_leakage",
    "code_version",
    "exclude",
    "include",
    "leave_out",
    "make_exclusions",
    "nearest_scan",
    "no_space",
    "people_in_two_splits",
    "prepare_scan",
    "preprocess_scan",
    "read_exclusions",
    "read_ledger",
    "sha256_of",
    "split_cases",
    "split_subjects",
    "write_store",
]
