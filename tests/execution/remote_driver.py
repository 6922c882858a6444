"""A driver that searches in a workspace at a URI, on two nodes of a cluster that have only caches of their own."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

sys.path += [str(Path(__file__).parent), str(Path(__file__).parent.parent / "training")]

from engine_plans import LR_RANGE, Heard, make_plan
from ray.cluster_utils import Cluster as Nodes
from training_stores import age_store, make_run, sealed_store

from brainage_ray.data.mirror import Mirror
from brainage_ray.data.node_files import local_root, send_now, set_driver
from brainage_ray.data.remote import RemoteFolder
from brainage_ray.execution import Cluster, run_study


def main() -> None:
    """Search four trials, two at a time; print what came of them."""
    folder, uri = Path(sys.argv[1]), sys.argv[2]
    root = local_root(uri)
    train = [50 + 40 * i / 15 for i in range(16)]
    store = age_store(root / "store" / "age", {"train": train, "validation": train[1::4]})
    sealed_store(root / "store" / "test", train[::4])
    mirror = Mirror(root, RemoteFolder(uri), writer="driver")
    set_driver(mirror)
    send_now()
    nodes = Nodes(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "include_dashboard": False, "temp_dir": str(folder / "ray")},
    )
    for name in ("a", "b"):
        nodes.add_node(num_cpus=1, env_vars={"BRAINAGE_CACHE": str(folder / name)})
    plan = make_plan(root, LR_RANGE, epochs=2, trials=4, max_concurrent=2, sampler="random")
    plan = replace(plan, run=make_run(store, root, {"max_epochs": 2}, keep_weights=False))
    with Cluster(nodes.address) as cluster:
        result = run_study(cluster, plan, Heard())
    send_now()
    best = min(result.trials, key=lambda trial: trial.best_value or 1e9)
    left = sorted(path.name for path in (plan.folder / "trials" / f"{best.number:03d}" / "seed-0").iterdir())
    states = [trial.state for trial in result.trials]
    sys.stdout.write(json.dumps({"states": states, "reasons": [t.reason for t in result.trials], "left": left}) + "\n")
    nodes.shutdown()


if __name__ == "__main__":
    main()
