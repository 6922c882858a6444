"""Run every benchmark, print one table, write benchmarks/results/<machine>.json."""

from __future__ import annotations

import argparse
import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from benchmarks import (
    audit_speed,
    choice,
    data_path,
    gpu_sharing,
    nodes,
    predict_speed,
    preparation,
    preprocessing_chains,
    search_cost,
    search_quality,
    statistics_speed,
    step_time,
    trial_cost,
)
from benchmarks.measure import Row

BENCHMARKS = {
    "audit": audit_speed.measure,
    "choice": choice.measure,
    "data": data_path.measure,
    "gpu-sharing": gpu_sharing.measure,
    "chains": preprocessing_chains.measure,
    "extraction": preprocessing_chains.measure_dice,
    "nodes": nodes.measure,
    "predict": predict_speed.measure,
    "preparation": preparation.measure,
    "trial": trial_cost.measure,
    "search-cost": search_cost.measure,
    "search-memory": search_cost.measure_memory,
    "search-quality": search_quality.measure,
    "step": step_time.measure,
    "statistics": statistics_speed.measure,
}
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Measure what the command line names, or everything."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *BENCHMARKS], help="default: all")
    parser.add_argument("--machine", default=None, help="name of the results file; default: processor and cores")
    arguments = parser.parse_args()
    rows = [row for name in arguments.names or BENCHMARKS for row in BENCHMARKS[name]()]
    Console().print(_table(rows))
    write_results(arguments.machine or machine_name(), rows)


def machine_name() -> str:
    """Return the processor's kind and count, or the GPU's name."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name().lower().replace(" ", "-")
    return f"cpu-{platform.machine()}-{os.cpu_count()}-cores"


def _table(rows: list[Row]) -> Table:
    table = Table(title=f"Benchmarks on {machine_name()}")
    for heading in ("what", "ours", "peer", "ratio", "goal"):
        table.add_column(heading, justify="left" if heading == "what" else "right")
    for row in rows:
        table.add_row(row.what, row.shown(row.ours), row.shown(row.peer), row.ratio_text, row.goal)
    return table


def write_results(machine: str, rows: list[Row]) -> None:
    """Put rows into the results of a machine, in place of those of the same name."""
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{machine}.json"
    old = json.loads(file.read_text())["rows"] if file.is_file() else []
    new = [row.to_json() for row in rows]
    kept = [row for row in old if row["what"] not in {row["what"] for row in new}]
    measured = {
        "machine": machine,
        "date": datetime.now(UTC).date().isoformat(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "rows": kept + new,
    }
    file.write_text(json.dumps(measured, indent=1) + "\n")


if __name__ == "__main__":
    main()
