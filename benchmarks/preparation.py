"""Volumes a minute of each preprocessing chain on one and on two Ray workers, and the memory that a worker takes."""

from __future__ import annotations

import os
import resource
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np

from benchmarks.measure import Row
from brainage_ray.config import PreprocessingConfig, TableSource
from brainage_ray.data import Scan, prepare_scan
from brainage_ray.data.phantoms import write_phantoms
from brainage_ray.data.sources.brats import Brats, BratsSource
from brainage_ray.data.sources.table import Table
from brainage_ray.execution import Cluster, parallel_map

SHARED = Path(os.environ.get("BRAINAGE_SHARED", "../shared")) / "data"
WORKERS, ROUNDS, BRAINS, FINE = (1, 2), 2, 80, 16


@dataclass(frozen=True)
class Chain:
    """How a kind of scan is prepared, and the scans to measure it with."""

    name: str
    config: PreprocessingConfig
    scans: Sequence[Scan]


@dataclass(frozen=True)
class Measured:
    """One round."""

    per_minute: float
    cpu_ms: float
    """Processor time of a volume, ms: with more workers it stays, unless they get into each other's way."""
    peak_mb: float
    """Resident memory of a worker process at its highest, the interpreter included, MB."""


def measure() -> list[Row]:
    """Prepare the same scans with an empty cache, once the workers are up; the better of some rounds."""
    with tempfile.TemporaryDirectory() as name:
        rows = []
        for chain in chains(Path(name)):
            one, two = (_best(chain, workers) for workers in WORKERS)
            rows += [
                Row(f"preparation, {chain.name}, 1 worker", "volumes/min", one.per_minute),
                Row(f"preparation, {chain.name}, 2 workers", "volumes/min", two.per_minute, one.per_minute,
                    goal=">= 1.6 x", peer_name="1 worker"),
                Row(f"preparation, {chain.name}, processor time of a volume, 2 workers", "ms", two.cpu_ms,
                    one.cpu_ms, more_is_better=False, peer_name="1 worker"),
                Row(f"preparation, {chain.name}, peak memory of a worker", "MB", max(one.peak_mb, two.peak_mb),
                    more_is_better=False),
            ]  # fmt: skip
        return rows


def chains(folder: Path) -> list[Chain]:
    """Return what is measured: real brains at 2 mm as they are and at 1 mm, and tumour cases of four modalities."""
    plain = PreprocessingConfig(slice_origin="brain_top", slice_range_mm=(0.0, 80.0))
    write_phantoms(folder, subjects=0, tumours=12, seed=0)
    cases = Brats(BratsSource(kind="brats", root=folder / "BraTS")).read().scans
    found = [Chain("tumour phantoms at 2 mm", plain, cases)]
    table = SHARED / "ixi" / "participants.csv"
    if table.is_file():
        brains = Table(TableSource(kind="table", table=table, cohort="IXI")).read().scans
        finer = [_at_1_mm(scan, folder / "fine") for scan in brains[:FINE]]
        found += [Chain("IXI brains at 2 mm", plain, brains[:BRAINS]), Chain("IXI brains at 1 mm", plain, finer)]
    return found


def _at_1_mm(scan: Scan, folder: Path) -> Scan:
    """Write a scan of 2 mm voxels with eight voxels for each of them."""
    image = nib.load(scan.files["t1"])
    array = np.asarray(image.dataobj).repeat(2, 0).repeat(2, 1).repeat(2, 2)
    folder.mkdir(exist_ok=True)
    path = folder / scan.files["t1"].name
    nib.Nifti1Image(array, image.affine @ np.diag([0.5, 0.5, 0.5, 1])).to_filename(path)
    return replace(scan, files={"t1": path})


def _best(chain: Chain, workers: int) -> Measured:
    with Cluster(cpus=workers, gpus=0) as cluster:
        cluster.connect()
        _round(cluster, Chain(chain.name, chain.config, chain.scans[: 2 * workers]))
        rounds = [_round(cluster, chain) for _ in range(ROUNDS)]
    return Measured(max(r.per_minute for r in rounds), min(r.cpu_ms for r in rounds), max(r.peak_mb for r in rounds))


def _round(cluster: Cluster, chain: Chain) -> Measured:
    with tempfile.TemporaryDirectory() as name:
        config, cache = chain.config, Path(name)

        def prepare(scan: Scan) -> tuple[float, float]:
            before = time.process_time()
            prepare_scan(scan, config, cache)
            spent = time.process_time() - before
            return 1000 * spent, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

        start = time.perf_counter()
        results = parallel_map(cluster, prepare, chain.scans)
        seconds = time.perf_counter() - start
    if failures := [result for result in results if isinstance(result, Exception)]:
        raise failures[0]
    cpu_ms, peak_mb = zip(*results, strict=True)
    return Measured(60 * len(results) / seconds, sum(cpu_ms) / len(results), max(peak_mb))
