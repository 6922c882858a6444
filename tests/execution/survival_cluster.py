"""A Ray cluster of several raylets on this machine, in a process of its own that obeys lines on its standard input."""

from __future__ import annotations

import sys
from pathlib import Path

from ray.cluster_utils import Cluster


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Start a head without CPUs and a node of two; "add" starts another, "remove" takes the oldest away."""
    (Path(sys.argv[1]) / "ray").mkdir()  # for the note of Ray's where this cluster is
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "include_dashboard": False, "temp_dir": f"{sys.argv[1]}/ray"},
    )
    nodes = [cluster.add_node(num_cpus=2)]
    say(cluster.address)
    for line in sys.stdin:
        if line.strip() == "add":
            nodes.append(cluster.add_node(num_cpus=2))
        else:
            cluster.remove_node(nodes.pop(0), allow_graceful=False)
        say("done")
    cluster.shutdown()


if __name__ == "__main__":
    main()
