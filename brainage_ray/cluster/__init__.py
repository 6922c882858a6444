"""From a laptop to a cluster that `ray up` started: ssh, tunnels, jobs on its head."""

from brainage_ray.cluster.doctor import examine_cluster
from brainage_ray.cluster.head import Head, find_head
from brainage_ray.cluster.tunnel import Tunnel

__all__ = ["Head", "Tunnel", "examine_cluster", "find_head"]
