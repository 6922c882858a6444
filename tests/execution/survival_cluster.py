"""A Ray cluster of several raylets on this machine, in a process of its own that obeys lines on its standard input."""

from __future__ import annotations

import sys

from ray.cluster_utils import Cluster


def main() -> None:
    """Start a head without CPUs and a node of two; "add" starts another, "remove" takes the oldest away."""
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "temp_dir": sys.argv[1], "include_dashboard": False},
    )
    nodes = [cluster.add_node(num_cpus=2)]
    print(cluster.address, flush=True)
    for line in sys.stdin:
        if line.strip() == "add":
            nodes.append(cluster.add_node(num_cpus=2))
        else:
            cluster.remove_node(nodes.pop(0), allow_graceful=False)
        print("done", flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main()
