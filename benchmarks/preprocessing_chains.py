"""What each chain of preprocessing steps costs a scan, and how well brain extraction does without weights.

Chains are timed on one real head, one process and one core each, after a first scan has loaded everything. The mask
of each brain extraction is compared with the brain-only copy of the same person, over all heads of ../shared/data/ixi.
`python -m benchmarks.preprocessing_chains` prints the heads one by one.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import Row
from brainage_ray.config import PreprocessingConfig
from brainage_ray.data import Scan, preprocess_scan
from brainage_ray.data.anatomy import Image, dice
from brainage_ray.data.anatomy.extraction import TemplateExtraction, rough_brain
from brainage_ray.data.volumes import read_image

IXI = Path(os.environ.get("BRAINAGE_SHARED", Path(__file__).parents[2] / "shared")) / "data" / "ixi"
CHAINS: Mapping[str, Mapping[str, str]] = {
    "slices alone": {},
    "N4": {"bias_correction": "n4"},
    "rigid": {"registration": "rigid"},
    "affine": {"registration": "affine"},
    "extraction": {"brain_extraction": "template"},
    "extraction, affine": {"brain_extraction": "template", "registration": "affine"},
    "extraction, N4, affine": {"bias_correction": "n4", "brain_extraction": "template", "registration": "affine"},
}
WORKERS = (1, 2)
SCANS_A_WORKER = 1
"""After the first, which loads everything."""


@dataclass(frozen=True)
class HeadResult:
    """One head."""

    head: str
    bet: float
    """Dice of BET alone."""
    template: float
    """Dice of brain_extraction: template."""
    seconds: float
    """Of brain_extraction: template, BET included."""


def measure() -> list[Row]:
    """Time every chain at one and two workers."""
    rows = []
    for name in CHAINS:
        for workers in WORKERS:
            found = _in_processes(name, workers)
            per_minute = sum(60 / one["seconds"] for one in found)
            peak = max(one["peak_mb"] for one in found)
            what = f"preprocessing, {name}, {workers} worker{'s' * (workers > 1)}"
            rows.append(Row(what, "scans/min", per_minute))
            if workers == WORKERS[-1]:
                rows.append(Row(f"preprocessing, {name}, peak memory a worker", "MB", peak))
    return rows


def measure_dice() -> list[Row]:
    """Score brain extraction against the brains of the same people."""
    rows, found = [], score()
    for name in ("bet", "template"):
        values = [getattr(head, name) for head in found]
        rows.append(Row(f"Dice of {name} on {len(found)} heads, mean", "", float(np.mean(values)), goal=">= 0.94"))
        rows.append(Row(f"Dice of {name} on {len(found)} heads, lowest", "", min(values), goal=">= 0.92"))
    return rows


def score() -> list[HeadResult]:
    """Extract every head's brain and compare it with the reference."""
    return [score_head(path) for path in heads()]


def heads() -> list[Path]:
    """Return the files of the whole heads."""
    with (IXI / "heads.csv").open(newline="") as file:
        return [IXI / row["image"] for row in csv.DictReader(file)]


def reference(head: Path) -> np.ndarray:
    """Return the brain mask of the same person: what is not 0 in the brain-only copy, which is on the same grid."""
    array, affine = read_image(head.parent.parent / "t1_brain" / head.name.replace("_T1", "_T1_brain"))
    if not np.allclose(affine, read_image(head)[1]):
        raise AssertionError(f"{head} and its brain are on two grids")
    return array != 0


def score_head(path: Path) -> HeadResult:
    """Extract one head's brain."""
    config = PreprocessingConfig(brain_extraction="template", registration="affine")
    head, brain = Image(*read_image(path)), reference(path)
    bet = rough_brain(head)
    start = time.perf_counter()
    mask = TemplateExtraction(config).mask(head)
    seconds = time.perf_counter() - start
    result = HeadResult(path.name[:6], dice(bet, brain), dice(mask, brain), seconds)
    print(_line(result.head, result), flush=True)
    return result


def time_chain(name: str) -> dict[str, float]:
    """Prepare one scan to load everything, then some; return seconds a scan and the process's peak memory, MB."""
    import resource

    whole = "brain_extraction" in CHAINS[name]
    head = heads()[0]
    path = head if whole else head.parent.parent / "t1_brain" / head.name.replace("_T1", "_T1_brain")
    config = PreprocessingConfig.model_validate(
        {"slice_origin": "brain_top", "slice_range_mm": (20.0, 90.0), **CHAINS[name]}
    )
    scan = Scan("IXI", path.name[:6], "1", path.name, {"t1": path})
    preprocess_scan(scan, config)
    start = time.perf_counter()
    for _ in range(SCANS_A_WORKER):
        preprocess_scan(scan, config)
    seconds = (time.perf_counter() - start) / SCANS_A_WORKER
    return {"seconds": seconds, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def _in_processes(name: str, workers: int) -> list[dict[str, Any]]:
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(lambda _: _child(name), range(workers)))


def _child(chain: str) -> dict[str, Any]:
    """Run time_chain in a process of its own, on one thread."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    command = [sys.executable, "-m", "benchmarks.preprocessing_chains", chain]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=os.environ | threads)
    found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Print the heads, or be a process of `measure`."""
    if sys.argv[1:]:
        print(json.dumps(time_chain(sys.argv[1])))
        return
    print("head     BET    template  s a scan")
    found = score()
    mean = {key: float(np.mean([getattr(one, key) for one in found])) for key in asdict(found[0]) if key != "head"}
    low = {key: min(getattr(one, key) for one in found) for key in mean}
    print(_line("mean", HeadResult("", **mean)), _line("lowest", HeadResult("", **low)), sep="\n")


def _line(name: str, one: HeadResult) -> str:
    return f"{name:8} {one.bet:.3f}  {one.template:.3f}     {one.seconds:.0f}"


if __name__ == "__main__":
    main()
