"""1,000 trials that do nothing over simulated nodes: what the driver of a search costs as the cluster grows.

    python -m benchmarks nodes                          1 to 20 nodes, and docs/nodes.png
    python -m benchmarks.nodes 5 --trials 50            one cluster of five nodes, as JSON, for a try
    python -m benchmarks.nodes 5 --trials 50 --keep     the same, added to what was measured before, and drawn
    python -m benchmarks.nodes 20 --profile             and where the driver's own thread spends its time

Each node is a raylet of its own with one CPU, so as many trials run at once as there are nodes. The searcher, the study
in its journal, Ray Tune and MLflow on SQLite are those of `brainage run`; only the training is none. All nodes share
this machine's cores: the curve shows what a trial costs the driver and the engine, not what more machines gain.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import platform
import pstats
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.measure import Row
from benchmarks.search_cost import SPACE, no_work
from brainage_ray.config import SearchConfig, SearchSpace, TrainingConfig, TrainingRun, UNetConfig
from brainage_ray.config.read import validate

NODES = (1, 2, 5, 10, 20)
TRIALS, EPOCHS = 1000, 4
STORE_BYTES = 80 * 2**20
"""Shared memory of a node: as little as Ray takes."""
HERE = Path(__file__).parent
RESULTS = HERE / "results" / f"nodes-cpu-{platform.machine()}-{os.cpu_count()}-cores.json"
FIGURE = HERE.parent / "docs" / "nodes.png"
_TICKS = os.sysconf("SC_CLK_TCK")
_SHOWN = 25


@dataclass(frozen=True)
class Load:
    """What was measured on one cluster."""

    nodes: int
    trials: int
    seconds: float
    """Wall clock of the search."""
    flush_seconds: float
    """Until MLflow had all, after the search."""
    lost: int
    """Events that MLflow did not get."""
    cpu_seconds: float
    """Processor time of the driver: all of its threads, flush included."""
    cpu_by_thread: dict[str, float]
    """The same of the thread of the search, of MLflow's and of all others, which are Ray's."""
    memory_mib: float
    """Most that was resident in the driver."""
    calls: dict[str, int]
    """To MLflow, by name."""
    machine_load: float
    """Processes that wanted to run before the nodes were started: 0 on a machine that does nothing else."""

    @property
    def calls_per_second(self) -> float:
        """Over the search and the flush after it."""
        return sum(self.calls.values()) / (self.seconds + self.flush_seconds)


def measure() -> list[Row]:
    """Measure each size of cluster in a process of its own, keep each as it is there, and draw the curve."""
    return [row for nodes in NODES for row in _rows(spawn(nodes))]


def spawn(nodes: int, trials: int = TRIALS) -> Load:
    """Measure in a new process."""
    command = [sys.executable, "-m", "benchmarks.nodes", str(nodes), f"--trials={trials}", "--keep"]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return Load(**json.loads(output.strip().splitlines()[-1]))


def main() -> None:
    """Measure one cluster in this process, and print it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nodes", type=int)
    parser.add_argument("--trials", type=int, default=TRIALS)
    parser.add_argument("--keep", action="store_true", help=f"in {RESULTS.name}, and draw {FIGURE.name}")
    parser.add_argument("--profile", action="store_true", help="on standard error")
    arguments = parser.parse_args()
    machine_load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="bn", dir="/tmp", ignore_cleanup_errors=True) as name:  # Ray still ends
        found = search(Path(name), arguments.nodes, arguments.trials, arguments.profile)
    load = replace(found, machine_load=machine_load)
    if arguments.keep:
        draw(keep(load))
    print(json.dumps(asdict(load)))


def keep(load: Load) -> list[Load]:
    """Put a measurement in the place of the one of as many nodes and trials, and return all that there are."""
    known = [Load(**each) for each in json.loads(RESULTS.read_text())["loads"]] if RESULTS.is_file() else []
    others = [each for each in known if (each.nodes, each.trials) != (load.nodes, load.trials)]
    loads = sorted([*others, load], key=lambda each: (each.trials, each.nodes))
    about = {"command": "python -m benchmarks nodes", "epochs": EPOCHS, "loads": [asdict(each) for each in loads]}
    RESULTS.write_text(json.dumps(about, indent=1) + "\n")
    return loads


def search(folder: Path, nodes: int, trials: int, profile: bool = False) -> Load:
    """Start so many nodes, search on them once to warm up and once for the clock."""
    os.environ["RAY_TMPDIR"] = str(folder)  # for the note of Ray's where this cluster is
    os.environ.setdefault("RAY_raylet_start_wait_time_s", "300")  # many start at once; read as Ray is loaded
    from ray.cluster_utils import Cluster as Nodes

    from brainage_ray.execution import Cluster
    from brainage_ray.tracking import MlflowTracker

    ray = {"num_cpus": 0, "include_dashboard": False, "temp_dir": str(folder / "ray")}
    small = {"object_store_memory": STORE_BYTES, "include_log_monitor": False}
    (folder / "ray").mkdir()
    raylets = Nodes(initialize_head=True, head_node_args=ray | small)
    try:
        for _ in range(nodes):
            raylets.add_node(num_cpus=1, **small)
        calls = _count_calls()
        with Cluster(raylets.address) as cluster, MlflowTracker(folder, "warm") as tracker:
            _study(cluster, folder / "warm", nodes, 2 * nodes, tracker)
        with Cluster(raylets.address) as cluster:
            tracker = MlflowTracker(folder, "measured")
            work = lambda: _study(cluster, folder / "measured", nodes, trials, tracker)  # noqa: E731
            return _clocked(work, tracker, calls, nodes, trials, profile)
    finally:
        raylets.shutdown()


def _clocked(
    work: Callable[[], None], tracker: Any, calls: Counter[str], nodes: int, trials: int, profile: bool
) -> Load:
    calls.clear()
    before, start = _cpu_by_thread(), time.perf_counter()
    if profile:
        profiler = cProfile.Profile()
        profiler.runcall(work)
        pstats.Stats(profiler, stream=sys.stderr).sort_stats("tottime").print_stats(_SHOWN)
    else:
        work()
    searched = time.perf_counter()
    tracker.flush(600)
    after = _cpu_by_thread()
    flushed = time.perf_counter() - searched
    lost = tracker.close()
    cpu = {name: round(after[name] - before.get(name, 0.0), 2) for name in after}
    return Load(
        nodes, trials, searched - start, flushed, lost, sum(cpu.values()), cpu,
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, dict(calls), 0.0,
    )  # fmt: skip


def _study(cluster: Any, folder: Path, nodes: int, trials: int, recorder: Any) -> None:
    from brainage_ray.execution import StudyPlan, run_study

    run = TrainingRun(
        task="age", backbone=UNetConfig(kind="unet"), training=TrainingConfig(max_epochs=EPOCHS), seed=0,
        store=folder, store_hash="", folder=folder, keep_weights=False,
    )  # fmt: skip
    space = validate(SearchSpace, SPACE, "benchmark")
    config = SearchConfig(space=space, sampler="tpe", scheduler="asha", trials=trials, max_concurrent=nodes)
    run_study(cluster, StudyPlan("noop", run, config, folder), recorder, no_work)


def _count_calls() -> Counter[str]:
    """Count every call to MLflow's client from now on; a call inside another is part of it."""
    from mlflow import MlflowClient

    calls: Counter[str] = Counter()
    inside = threading.local()

    def counted(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            if getattr(inside, "call", False):
                return method(*arguments, **named)
            calls[name] += 1
            inside.call = True
            try:
                return method(*arguments, **named)
            finally:
                inside.call = False

        return call

    for name, method in vars(MlflowClient).items():
        if callable(method) and not name.startswith("_"):
            setattr(MlflowClient, name, counted(name, method))
    return calls


def _cpu_by_thread() -> dict[str, float]:
    """Return the processor time of the threads of this process, seconds, those that ended among "Ray and others"."""
    known = {thread.native_id: thread.name for thread in threading.enumerate()}
    names = {"MainThread": "search", "mlflow-writer": "MLflow"}
    found: Counter[str] = Counter()
    for task in Path("/proc/self/task").iterdir():
        fields = (task / "stat").read_text().rpartition(")")[2].split()
        if name := names.get(known.get(int(task.name), "")):
            found[name] += (int(fields[11]) + int(fields[12])) / _TICKS
    return dict(found) | {"Ray and others": time.process_time() - sum(found.values())}


def _rows(load: Load) -> list[Row]:
    what = f"{load.trials:,} trials that do nothing on {load.nodes} simulated node{'s'[: load.nodes > 1]}"
    each = 1000 / load.trials
    values = {
        "wall clock": ("s", load.seconds),
        "until MLflow had all, after that": ("s", load.flush_seconds),
        "wall clock of a trial": ("ms", load.seconds * each),
        "processor time of the driver, a trial": ("ms", load.cpu_seconds * each),
        **{f"of that, {name}": ("ms", seconds * each) for name, seconds in load.cpu_by_thread.items()},
        "memory of the driver": ("MiB", load.memory_mib),
        "calls to MLflow": ("/s", load.calls_per_second),
        "calls to MLflow, a trial": ("", sum(load.calls.values()) / load.trials),
    }
    return [Row(f"{what}: {name}", unit, value, more_is_better=False) for name, (unit, value) in values.items()]


def draw(loads: list[Load]) -> None:
    """Draw wall clock and processor time of a trial over the number of nodes, of searches of the most common length."""
    from matplotlib.figure import Figure

    [(trials, _)] = Counter(load.trials for load in loads).most_common(1)
    loads = [load for load in loads if load.trials == trials]
    nodes = [load.nodes for load in loads]
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots()
    for label, colour, values in (
        ("wall clock", "black", [load.seconds for load in loads]),
        ("driver's processor, all", "#1f6fb4", [load.cpu_seconds for load in loads]),
        ("of that, the search", "#d08a2c", [load.cpu_by_thread["search"] for load in loads]),
        ("of that, MLflow", "#7f7f7f", [load.cpu_by_thread["MLflow"] for load in loads]),
    ):
        each = [1000 * value / load.trials for value, load in zip(values, loads, strict=True)]
        axes.plot(nodes, each, color=colour, marker="o", label=label)
    axes.set(
        xlabel="simulated nodes, one trial at a time on each",
        ylabel="ms a trial",
        xticks=nodes,
    )
    axes.set_title(f"{trials:,} trials that do nothing", loc="left")
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    figure.savefig(FIGURE, dpi=120)


if __name__ == "__main__":
    main()
