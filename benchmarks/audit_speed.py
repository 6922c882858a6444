"""The audit of a manifest of one million scans, and the opening of a store of 100,000."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.measure import Row, seconds
from brainage_ray.config import PreprocessingConfig
from brainage_ray.data.audit import audit_manifest
from brainage_ray.data.files import sha256_of
from brainage_ray.data.store import MANIFEST_FILE, SCHEMA_VERSION, STORE_FILE, SliceStore

ROWS, SCANS, SLICES, PER_SHARD = 1_000_000, 100_000, 40, 4080
LEAKING = 1000
"""Of a million, so many people are in two splits, and as many images have two names."""


def measure() -> list[Row]:
    """Time both; the memory of the audit is that of a process of its own which reads the table and audits it."""
    table = manifest(ROWS)
    leaking = _with_leaks(table)
    found = audit_manifest(leaking)
    if found.counts != {"person in two splits": LEAKING, "same image under two names": LEAKING}:
        raise AssertionError(f"the audit found {dict(found.counts)}")
    with tempfile.TemporaryDirectory() as name:
        _write_store(Path(name))
        opening = seconds(lambda: SliceStore.open(Path(name)), repeats=3)
        mapping = seconds(lambda: SliceStore.open(Path(name)).split("train"), repeats=3)
    return [
        Row("audit of 1,000,000 scans, clean", "s", seconds(lambda: audit_manifest(table), repeats=2), goal="seconds"),
        Row("audit of 1,000,000 scans, 2,000 leaks", "s", seconds(lambda: audit_manifest(leaking), repeats=2)),
        Row("audit of 1,000,000 scans, peak memory of the process", "MB", _memory_mb(leaking), goal="bounded"),
        Row("opening a store of 100,000 scans", "s", opening, goal="< 1 s"),
        Row("opening it and mapping its training split", "s", mapping),
    ]


def manifest(rows: int) -> pd.DataFrame:
    """Make a clean table: a person has three scans, seven of ten people train, one in ten cases pre-trains."""
    scan = np.arange(rows)
    person = scan // 3
    digits = [f"{i:032x}" for i in range(rows)]
    return pd.DataFrame({
        "use": np.where(person % 10 == 9, "pretraining", "age"), "cohort": "ADNI",
        "subject": [f"{i:03d}_S_{i:06d}" for i in person], "person": [f"ADNI/{i}" for i in person],
        "image": [f"I{i}" for i in scan], "contents": digits,
        "split": np.array(["train"] * 7 + ["validation", "test", "train"])[person % 10],
    })  # fmt: skip


def _with_leaks(table: pd.DataFrame) -> pd.DataFrame:
    """Put people of the training split into the test split, and images of some under the names of others."""
    leaking = table.copy()
    first = np.arange(LEAKING) * 300  # of a person with a training scan; ten people are 30 scans
    leaking.loc[first, "split"] = "test"
    leaking.loc[first + 3, "contents"] = leaking.loc[first + 6, "contents"].to_numpy()
    return leaking


def _memory_mb(table: pd.DataFrame) -> float:
    """Return what a fresh process has at most, MB, interpreter, pandas and the table included."""
    code = (
        "import resource, sys, pandas; from brainage_ray.data.audit import audit_manifest;"
        "audit_manifest(pandas.read_parquet(sys.argv[1]));"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
    )
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / MANIFEST_FILE
        table.to_parquet(file)
        command = [sys.executable, "-c", code, str(file)]
        return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def _write_store(folder: Path) -> None:
    """Write a store as large as a real one, whose arrays are holes: nobody reads a slice to open it."""
    per_shard = PER_SHARD // SLICES
    number = np.arange(SCANS)
    scans = pd.DataFrame({
        "cohort": "ADNI", "subject": [f"S{i:06d}" for i in number], "person": [f"ADNI/{i}" for i in number],
        "session": "2010-01-01", "image": [f"I{i:06d}" for i in number], "age_years": 50.5 + number % 40, "sex": "F",
        "diagnosis": "CN", "site": "002", "phase": "ADNI-2", "split": "train", "shard": number // per_shard,
        "offset": number % per_shard * SLICES, "n_slices": SLICES, "sha256": [f"{i:064x}" for i in number],
        "contents": [f"{i:032x}" for i in number], "brain_volume_ml": 1400.0,
    })  # fmt: skip
    scans.to_parquet(folder / MANIFEST_FILE, index=False)
    (folder / "train").mkdir()
    shape = PreprocessingConfig().slice_shape
    for shard, part in scans.groupby("shard"):
        slices = len(part) * SLICES
        for name, kind, size in (("slices", np.float16, (slices, *shape)), ("positions", np.float32, (slices,))):
            np.lib.format.open_memmap(folder / "train" / f"{name}-{shard:05d}.npy", "w+", kind, size)
    paths = sorted(path for path in folder.rglob("*.*") if path.is_file())
    files = {
        path.relative_to(folder).as_posix(): {
            "bytes": path.stat().st_size,
            "sha256": sha256_of(path) if path.name == MANIFEST_FILE else "0" * 64,
        }
        for path in paths
    }
    about = {
        "schema_version": SCHEMA_VERSION, "kind": "age", "part": "open", "content_hash": "0" * 16,
        "preprocessing": PreprocessingConfig().to_json(), "files": files,
    }  # fmt: skip
    (folder / STORE_FILE).write_text(json.dumps(about))
