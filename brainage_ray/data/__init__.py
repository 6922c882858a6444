"""Scans and who they belong to, preprocessing, splits, ledgers and the slice store."""

from brainage_ray.data.audit import AuditReport, Finding, Weights, audit_manifest, reasons_to_leave_out
from brainage_ray.data.contents import ContentCache, content_hash, images_of
from brainage_ray.data.exclusions import (
    Exclusion,
    check_exclusions,
    exclude,
    excuse,
    include,
    leave_out,
    make_exclusions,
    nearest_scan,
    read_exclusions,
)
from brainage_ray.data.files import (
    atomic_folder,
    atomic_write,
    no_space,
    refuse_full,
    remove_partials,
    sha256_of,
    sharing,
)
from brainage_ray.data.ledger import PACKED_COMMIT, Ledger, TestLedger, code_version, read_ledger
from brainage_ray.data.prepare import PreparedScan, prepare_on_node, prepare_scan
from brainage_ray.data.preprocessing import PREPROCESSING_VERSION, Slices, preprocess_scan
from brainage_ray.data.provenance import PROVENANCE, TrainedOn, read_provenance, trained_on, write_provenance
from brainage_ray.data.safety import inside, map_array, read_parquet
from brainage_ray.data.scan import Found, Rejected, Scan
from brainage_ray.data.splits import (
    SPLITS,
    Assignment,
    assign_splits,
    check_no_leakage,
    people_in_two_splits,
    place_scans,
    split_cases,
    split_subjects,
)
from brainage_ray.data.store import POSITION_UNIT_MM, SCHEMA_VERSION, SealedTest, SliceStore, StoredSplit
from brainage_ray.data.store_write import StoreRow, write_store, write_test
from brainage_ray.data.volumes import MODALITIES

__all__ = [
    "MODALITIES",
    "PACKED_COMMIT",
    "POSITION_UNIT_MM",
    "PREPROCESSING_VERSION",
    "PROVENANCE",
    "SCHEMA_VERSION",
    "SPLITS",
    "Assignment",
    "AuditReport",
    "ContentCache",
    "Finding",
    "Found",
    "Exclusion",
    "Ledger",
    "PreparedScan",
    "Rejected",
    "Scan",
    "SealedTest",
    "SliceStore",
    "Slices",
    "StoreRow",
    "StoredSplit",
    "TestLedger",
    "TrainedOn",
    "Weights",
    "assign_splits",
    "atomic_folder",
    "atomic_write",
    "audit_manifest",
    "check_no_leakage",
    "code_version",
    "content_hash",
    "images_of",
    "check_exclusions",
    "exclude",
    "excuse",
    "include",
    "inside",
    "leave_out",
    "make_exclusions",
    "map_array",
    "nearest_scan",
    "no_space",
    "people_in_two_splits",
    "place_scans",
    "prepare_on_node",
    "prepare_scan",
    "preprocess_scan",
    "read_exclusions",
    "read_ledger",
    "read_parquet",
    "read_provenance",
    "reasons_to_leave_out",
    "refuse_full",
    "remove_partials",
    "sha256_of",
    "sharing",
    "split_cases",
    "split_subjects",
    "trained_on",
    "write_provenance",
    "write_store",
    "write_test",
]
